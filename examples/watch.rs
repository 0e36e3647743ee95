//! A handle gives a service the newest password while an operator replaces it.
//!
//! Run it with `cargo example watch`. It uses a temporary folder and no server. Service and operator
//! open the same store, as two processes would.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use std::time::{Duration, Instant};

use strongroom::{Config, SecretsManager};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config::new()
        .set("SECRETS_BACKEND", "native")
        .set("SECRETS_NATIVE_PATH", &folder.path().join("secrets.db").to_string_lossy())
        .set("SECRETS_NATIVE_KEY_FILE", &folder.path().join("strongroom.key").to_string_lossy())
        .set("SECRETS_WATCH_INTERVAL", "1s");
    let operator = SecretsManager::from_config(config.clone()).await?;
    operator.put("db/password", "first").await?;

    let service = SecretsManager::from_config(config).await?;
    let mut password = service.watch("db/password").await?;
    println!("service: connects with version {}", password.current().version());

    let requests = tokio::spawn({
        let password = password.clone();
        async move { serve(|| password.current().expose_bytes().len()).await }
    });
    operator.put("db/password", "second").await?;
    println!("operator: wrote a new version");
    let start = Instant::now();
    let changed = password.changed().await?;
    assert_eq!(changed.expose_text()?, "second");
    println!("service: received version {} after {:.1?}", changed.version(), start.elapsed());

    let (count, longest) = requests.await?;
    println!(
        "service: {count} requests meanwhile; the slowest read of the password took {longest:?}"
    );
    service.close().await?;
    operator.close().await?;
    Ok(())
}

/// Serves requests for two seconds. Each reads the password, which never waits.
async fn serve(read: impl Fn() -> usize) -> (u32, Duration) {
    let (end, mut count, mut longest) =
        (Instant::now() + Duration::from_secs(2), 0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        assert!(read() > 0);
        longest = longest.max(start.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (count, longest)
}
