//! The secrets engine that is mounted for secrets, as far as it is known.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use strongroom_core::Result;
use tokio::time::Instant;

use crate::clock;
use crate::error::config;
use crate::response::MountInfo;

/// How long writes rely on a cached engine version.
const MAX_AGE_FOR_WRITES: Duration = Duration::from_secs(60);

/// The version of a KV engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvEngineVersion {
    V1,
    V2,
}

/// How long reads rely on a refusal to tell the version.
const MAX_AGE_OF_REFUSAL: Duration = Duration::from_secs(60);

/// The version of the engine at the configured mount, once a request has looked it up.
#[derive(Debug, Default)]
pub(crate) struct MountCache {
    known: ArcSwapOption<CachedMount>,
    /// The last look-up that the server has refused to answer.
    refused: ArcSwapOption<RefusedLookup>,
}

#[derive(Debug)]
struct RefusedLookup {
    at: Instant,
    /// The login whose token was refused.
    generation: u64,
}

#[derive(Debug)]
struct CachedMount {
    version: KvEngineVersion,
    looked_up_at: Instant,
    /// The login whose token looked it up: another one may see another mount.
    generation: u64,
}

impl MountCache {
    /// The version that the token of this login has looked up.
    pub(crate) fn get(&self, generation: u64) -> Option<KvEngineVersion> {
        let cached = self.known.load();
        let cached = cached.as_deref().filter(|cached| cached.generation == generation)?;
        Some(cached.version)
    }

    /// The same, if the look-up is recent enough to write.
    pub(crate) fn get_for_write(&self, generation: u64) -> Option<KvEngineVersion> {
        let cached = self.known.load();
        let is_usable = |cached: &&CachedMount| {
            cached.generation == generation
                && clock::elapsed(cached.looked_up_at) < MAX_AGE_FOR_WRITES
        };
        cached.as_deref().filter(is_usable).map(|cached| cached.version)
    }

    /// Whether the server has recently refused to tell the version to the token of this login.
    pub(crate) fn is_refused(&self, generation: u64) -> bool {
        let refused = self.refused.load();
        refused.as_deref().is_some_and(|refused| {
            refused.generation == generation && clock::elapsed(refused.at) < MAX_AGE_OF_REFUSAL
        })
    }

    pub(crate) fn set_refused(&self, generation: u64) {
        self.refused.store(Some(Arc::new(RefusedLookup { at: clock::now(), generation })));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.load().is_none()
    }

    pub(crate) fn set(&self, version: KvEngineVersion, generation: u64) {
        let looked_up_at = clock::now();
        self.known.store(Some(Arc::new(CachedMount { version, looked_up_at, generation })));
    }

    pub(crate) fn clear(&self) {
        self.known.store(None);
    }
}

impl MountInfo {
    /// The version of the KV engine at `mount`. The server describes the mount that contains the
    /// path, which may be a shorter one.
    pub(crate) fn kv_version(&self, mount: &str) -> Result<KvEngineVersion> {
        let is_kv = matches!(self.engine.as_str(), "kv" | "generic");
        if !is_kv || self.path.trim_matches('/') != mount {
            return Err(config(
                "the secrets engine mounted there is not a KV engine",
                "set `SECRETS_VAULT_MOUNT` to where a KV engine is mounted",
            ));
        }
        let version = self.options.as_ref().and_then(|options| options.get("version"));
        Ok(match version.map(String::as_str) {
            Some("2") => KvEngineVersion::V2,
            _ => KvEngineVersion::V1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_its_login_and_for_a_minute() {
        let cache = MountCache::default();
        assert!(!cache.is_refused(1));
        cache.set_refused(1);
        assert!(cache.is_refused(1) && !cache.is_refused(2));
        assert!(cache.is_empty(), "an error still advises to check the mount");
        tokio::time::advance(MAX_AGE_OF_REFUSAL).await;
        assert!(!cache.is_refused(1));
    }
}
