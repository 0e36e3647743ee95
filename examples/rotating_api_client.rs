//! Rotates an API key while a service sends requests with it; no request fails.
//!
//! Run it with `cargo example rotating_api_client --features rotation-http,rotation-reqwest`. It
//! uses a temporary folder and starts an API service with an issuer of keys on this machine.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use strongroom::rotation::{
    HttpIssuer, HttpIssuerConfig, ManagedKey, RotatingKeyMiddleware, RotationEngine, RotationPolicy,
};
use strongroom::{Config, SecretsManager};
use strongroom_testkit::issuer::{Issuer, Options};

/// How many clients send requests concurrently.
const CLIENTS: usize = 20;

type Count = Arc<AtomicU32>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config::new()
        .set("SECRETS_BACKEND", "native")
        .set("SECRETS_NATIVE_PATH", &folder.path().join("secrets.db").to_string_lossy())
        .set("SECRETS_NATIVE_KEY_FILE", &folder.path().join("strongroom.key").to_string_lossy());
    let secrets = SecretsManager::from_config(config).await?;
    let service = Issuer::start(Options::default());
    secrets.put("example/api-key", service.first_key()).await?;
    println!("an API service with an issuer of keys runs at {}", service.base());

    let engine = RotationEngine::new(secrets.clone()).observer(|event| println!("  {event}"));
    let issuer = HttpIssuer::new(&HttpIssuerConfig::new(service.base()))?;
    let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::from_secs(5));
    let key = engine.add(ManagedKey::new("example/api-key", issuer).policy(policy)).await?;

    let (succeeded, failed) = (Count::default(), Count::default());
    let with_key = RotatingKeyMiddleware::new(key.clone()).allow_origin(&service.base())?;
    let client = ClientBuilder::new(reqwest::Client::new()).with(with_key).build();
    let url = format!("{}/work", service.base());
    let one = || send(client.clone(), url.clone(), succeeded.clone(), failed.clone());
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(one())).collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let generation = key.rotate().await?;
        println!("generation {generation} is in use: {}", key.state().fingerprint);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(service.counts().revoked_uses == 0, "a request carried a revoked key");
    println!("no request carried a revoked key; now the key in use leaks");
    let generation = key.rotate_compromised().await?;
    println!("generation {generation} is in use, and the leaked key is revoked");
    tokio::time::sleep(Duration::from_secs(1)).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    engine.shutdown().await;

    let counts = service.counts();
    let (succeeded, failed) = (succeeded.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{succeeded} requests succeeded and {failed} failed; the service rejected the leaked key {} times and \
         the client repeated the request with the new key; live keys at the issuer: {}",
        counts.revoked_uses,
        service.live_keys().len()
    );
    ensure!(failed == 0, "requests failed");
    let stored = secrets.get_field("example/api-key", "key").await?;
    let live = service.live_keys().pop().context("no key is live")?;
    ensure!(stored.constant_time_eq(&live), "the store holds another key");
    secrets.close().await?;
    Ok(())
}

/// Sends one request after the other, each with the key that is current when the request starts.
async fn send(client: ClientWithMiddleware, url: String, succeeded: Count, failed: Count) {
    loop {
        let whole = async {
            let response = client.get(&url).send().await.ok()?.error_for_status().ok()?;
            response.bytes().await.ok()
        };
        let counter = if whole.await.is_some() { &succeeded } else { &failed };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
