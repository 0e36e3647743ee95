//! An engine that dies at a step, as if its process had been killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_core::{
    Backend, BackendInfo, Health, MemoryBackend, PutOptions, Result, Secret, SecretPath,
    SecretValue, Version, VersionSelector, async_trait,
};

use super::issuer::{Issuer, single_instance_key};
use crate::{IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine, RotationEvent};

/// A part of a process. Once the process is dead, no call reaches the part.
#[derive(Clone, Debug)]
struct Killable<T> {
    part: T,
    is_dead: Arc<AtomicBool>,
}

impl<T> Killable<T> {
    async fn alive(&self) -> &T {
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        &self.part
    }
}

/// An engine of a process that dies when it sends the event of this step, and the key that it manages.
pub(super) fn engine_killed_at(
    step: &'static str,
    store: &Arc<MemoryBackend>,
    issuer: &Issuer,
) -> (RotationEngine, ManagedKey) {
    let is_dead = Arc::new(AtomicBool::new(false));
    let part = Arc::clone(store);
    let store = Killable { part, is_dead: Arc::clone(&is_dead) };
    let rotation =
        single_instance_key(&Killable { part: issuer.clone(), is_dead: Arc::clone(&is_dead) });
    let engine = RotationEngine::new(store).observer(move |event: &RotationEvent| {
        if event.step.name() == step {
            is_dead.store(true, Ordering::Relaxed);
        }
    });
    (engine, rotation)
}

#[async_trait]
impl Backend for Killable<Arc<MemoryBackend>> {
    fn info(&self) -> &BackendInfo {
        self.part.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.alive().await.get(path, version).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.alive().await.put(path, value, options).await
    }

    async fn health(&self) -> Result<Health> {
        self.alive().await.health().await
    }
}

#[async_trait]
impl KeyIssuer for Killable<Issuer> {
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        self.alive().await.issue(current, attempt).await
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        self.alive().await.revoke(key, current).await
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        self.alive().await.verify(key).await
    }

    fn is_idempotent(&self) -> bool {
        self.part.is_idempotent()
    }

    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        self.alive().await.list(current).await
    }
}
