//! A process that dies when the test wants it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_core::{
    Backend, BackendInfo, Health, MemoryBackend, PutOptions, Result, Secret, SecretPath,
    SecretValue, Version, VersionSelector, async_trait,
};

use super::issuer::{Issuer, alone};
use crate::{IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine, RotationEvent};

/// A part of a process: once that is dead, nothing is asked for any more.
#[derive(Clone, Debug)]
struct Mortal<T> {
    part: T,
    is_dead: Arc<AtomicBool>,
}

impl<T> Mortal<T> {
    async fn alive(&self) -> &T {
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        &self.part
    }
}

/// An engine of a process that dies as soon as it tells of this step, and what it is to keep fresh.
pub(super) fn dying_at(
    step: &'static str,
    store: &Arc<MemoryBackend>,
    issuer: &Issuer,
) -> (RotationEngine, ManagedKey) {
    let is_dead = Arc::new(AtomicBool::new(false));
    let part = Arc::clone(store);
    let store = Mortal { part, is_dead: Arc::clone(&is_dead) };
    let rotation = alone(&Mortal { part: issuer.clone(), is_dead: Arc::clone(&is_dead) });
    let engine = RotationEngine::new(store).observer(move |event: &RotationEvent| {
        if event.step.name() == step {
            is_dead.store(true, Ordering::Relaxed);
        }
    });
    (engine, rotation)
}

#[async_trait]
impl Backend for Mortal<Arc<MemoryBackend>> {
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
impl KeyIssuer for Mortal<Issuer> {
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
