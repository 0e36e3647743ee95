//! A rotation engine over a manager.

use strongroom_core::{ErrorKind, Result, SecretValue, async_trait};
use tokio::time::Instant;

use super::store::{Store, ms, text};
use crate::rotation::{IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine};

/// Gives `2`, and revokes nothing.
#[derive(Debug)]
struct Issuer;

#[async_trait]
impl KeyIssuer for Issuer {
    async fn issue(&self, _: &SecretValue, _: &IssueAttempt) -> Result<IssuedKey> {
        Ok(IssuedKey::new("2"))
    }

    async fn revoke(&self, _: &SecretValue, _: &SecretValue) -> Result<()> {
        Ok(())
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn readers_of_the_manager_see_a_new_key_at_once() {
    let (store, secrets) = Store::with_a().await;
    let namespace = secrets.namespace("team").unwrap();
    store.set("team/key", "1").await;
    let engine = RotationEngine::new(namespace.clone());
    let key = engine.add(ManagedKey::new("key", Issuer)).await.unwrap();
    assert_eq!(text(namespace.get("key").await), "1");
    let mut handle = secrets.watch("team/key").await.unwrap();

    key.rotate().await.unwrap();
    let start = Instant::now();
    let read = secrets.get("team/key").await.unwrap();
    assert_eq!(read.field("key").unwrap().expose_text().unwrap(), "2");
    let changed = handle.changed().await.unwrap();
    assert_eq!(changed.field("key").unwrap().expose_text().unwrap(), "2");
    assert_eq!(start.elapsed(), ms(0));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_over_a_closed_manager_fails_with_closed() {
    let (_store, secrets) = Store::with_a().await;
    let engine = RotationEngine::new(secrets.clone());
    let key = engine.add(ManagedKey::new("a", Issuer)).await.unwrap();
    secrets.close().await.unwrap();
    let start = Instant::now();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Closed);
    let added = engine.add(ManagedKey::new("b", Issuer)).await;
    assert_eq!(added.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(start.elapsed(), ms(0));
    // The key stays readable in memory.
    assert_eq!(key.acquire().expose_text().unwrap(), "1");
    engine.shutdown().await;
}
