//! Values in the cache of a manager, and in handles.

use std::time::{Duration, Instant};

use strongroom::{ErrorKind, ReadPolicy, SecretsManager};
use strongroom_testkit::memory::Planted;

use crate::{leaves_nothing, native, run_exclusively};

/// The TTL of the cache in a flow.
const TTL: Duration = Duration::from_secs(300);

/// Runs `flow` with a manager that holds the only copy of the value, in its cache: the store below it holds
/// none.
fn cached_leaves_nothing(policy: ReadPolicy, flow: impl AsyncFnOnce(&SecretsManager, &Planted)) {
    leaves_nothing(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let store = native(folder.path()).await;
        let secrets = SecretsManager::with_policy(store, policy.cache_ttl(TTL));
        secrets.put("key", planted.expose()).await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0, "a write is not cached");
        let secret = secrets.get("key").await.unwrap();
        assert!(secret.expose_text().unwrap() == planted.expose().as_str());
        let again = secrets.get("key").await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 1, "the cache and its readers share it");
        drop((secret, again));
        assert_eq!(planted.count_in_own_memory(), 1, "the cache has it");
        drop(format!("{secrets:?}"));
        flow(&secrets, planted).await;
    });
}

#[test]
fn cached_and_invalidated() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        let kept = secrets.get("key").await.unwrap();
        secrets.invalidate("key").unwrap();
        assert_eq!(planted.count_in_own_memory(), 1, "a reader keeps it");
        drop(kept);
        assert_eq!(planted.count_in_own_memory(), 0);
        // The next read caches the value again.
        drop(secrets.get("key").await.unwrap());
        assert_eq!(planted.count_in_own_memory(), 1);
        secrets.invalidate("key").unwrap();
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn cached_and_closed() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        let other_clone = secrets.clone();
        secrets.close().await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0);
        assert_eq!(other_clone.get("key").await.unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn cached_and_dropped() {
    run_exclusively(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let policy = ReadPolicy::new().cache_ttl(TTL);
        let secrets = SecretsManager::with_policy(native(folder.path()).await, policy);
        secrets.put("key", planted.expose()).await.unwrap();
        drop(secrets.get("key").await.unwrap());
        assert_eq!(planted.count_in_own_memory(), 1);
        drop(secrets);
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn cached_and_overwritten() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        secrets.put("key", "another").await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0);
        assert_eq!(secrets.get("key").await.unwrap().expose_text().unwrap(), "another");
    });
}

#[test]
fn cached_and_deleted() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        secrets.delete("key").await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn cached_and_evicted() {
    cached_leaves_nothing(ReadPolicy::new().max_entries(2), async |secrets, planted| {
        for i in 0..8 {
            let path = format!("other-{i}");
            secrets.put(&path, "another").await.unwrap();
            secrets.get(&path).await.unwrap();
        }
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn cached_and_refreshed() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        // Each read has its own buffer; the cache keeps the last one.
        drop(secrets.refresh("key").await.unwrap());
        drop(secrets.refresh("key").await.unwrap());
        assert_eq!(planted.count_in_own_memory(), 1);
        secrets.invalidate("key").unwrap();
    });
}

#[test]
fn cached_by_get_many() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        for _ in 0..2 {
            secrets.invalidate("key").unwrap();
            assert_eq!(planted.count_in_own_memory(), 0);
            drop(secrets.get_many(["key", "none", "key"]).await);
            assert_eq!(planted.count_in_own_memory(), 1);
        }
        secrets.invalidate("key").unwrap();
    });
}

#[test]
fn cached_until_its_ttl() {
    run_exclusively(async |planted| {
        let folder = tempfile::tempdir().unwrap();
        let policy = ReadPolicy::new().cache_ttl(Duration::from_millis(50));
        let policy = policy.stale_if_error(Duration::ZERO);
        let secrets = SecretsManager::with_policy(native(folder.path()).await, policy);
        secrets.put("key", planted.expose()).await.unwrap();
        drop(secrets.get("key").await.unwrap());
        // Without further reads, the sweeper removes the entry within two seconds.
        let begin = Instant::now();
        while planted.count_in_own_memory() != 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "it stays after its time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn watched_and_overwritten() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        let mut handle = secrets.watch("key").await.unwrap();
        assert!(handle.current().expose_text().unwrap() == planted.expose().as_str());
        let other = handle.clone();
        assert_eq!(planted.count_in_own_memory(), 1, "the cache and the handles share it");
        secrets.put("key", "another").await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 1, "the handles keep it until there is another");
        drop(handle.changed().await.unwrap());
        assert_eq!(planted.count_in_own_memory(), 0);
        assert_eq!(other.current().expose_text().unwrap(), "another");
    });
}

#[test]
fn watched_until_the_last_handle_is_dropped() {
    cached_leaves_nothing(ReadPolicy::new(), async |secrets, planted| {
        let handle = secrets.watch("key").await.unwrap();
        let other = handle.clone();
        secrets.close().await.unwrap();
        drop(handle);
        assert_eq!(planted.count_in_own_memory(), 1, "a handle keeps it");
        drop(other);
    });
}
