//! The same service under two values of `SECRETS_BACKEND`.
//!
//! Run it with `cargo example switch_backend`. It starts itself as the service
//! twice, each time with another environment, as an operator would.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use strongroom::{Config, SecretsManager};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::var_os("SECRETS_BACKEND").is_some() {
        return service().await;
    }
    let folder = tempfile::tempdir()?;
    let (store, key) = (folder.path().join("secrets.db"), folder.path().join("strongroom.key"));
    prepare(&store, &key).await?;

    run_service(|service| {
        service.env("SECRETS_BACKEND", "env").env("OPENAI_API_KEY", "sk-from-the-environment")
    })?;
    run_service(|service| {
        service
            .env("SECRETS_BACKEND", "native")
            .env("SECRETS_NATIVE_PATH", &store)
            .env("SECRETS_NATIVE_KEY_FILE", &key)
    })
}

/// The code of the application, which is the same for every store.
async fn service() -> anyhow::Result<()> {
    let secrets = SecretsManager::from_env().await?;
    let key = secrets.get("openai/api-key").await?;
    println!(
        "service: read {} from {} ({}): {} bytes",
        key.path(),
        secrets.backend().kind,
        secrets.backend().instance,
        key.expose_bytes().len()
    );
    secrets.close().await?;
    Ok(())
}

/// The operator puts the secret into the encrypted store once.
async fn prepare(store: &Path, key: &Path) -> anyhow::Result<()> {
    let config = Config::new()
        .set("SECRETS_BACKEND", "native")
        .set("SECRETS_NATIVE_PATH", &store.to_string_lossy())
        .set("SECRETS_NATIVE_KEY_FILE", &key.to_string_lossy());
    let secrets = SecretsManager::from_config(config).await?;
    secrets.put("openai/api-key", "sk-from-the-store").await?;
    secrets.close().await?;
    println!("operator: stored openai/api-key in {}", store.display());
    Ok(())
}

fn run_service(environment: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<()> {
    let mut service = Command::new(std::env::current_exe()?);
    ensure!(environment(&mut service).status()?.success(), "the service failed");
    Ok(())
}
