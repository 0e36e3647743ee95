//! Caches the metadata of secrets, so that most reads need one request. Values are never cached
//! here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use strongroom_core::{Metadata, SecretPath, Version};

/// The most secrets whose metadata is cached, at some hundred bytes each.
const CAPACITY: u64 = 10_000;

/// The metadata of a secret as `DescribeSecret` reported it.
#[derive(Clone, Debug)]
pub(crate) struct CachedMetadata {
    pub(crate) metadata: Metadata,
    /// The version that was active at that time.
    pub(crate) current_version: Version,
}

/// Metadata by path, for a limited time.
pub(crate) struct MetadataCache {
    entries: Cache<SecretPath, CachedMetadata>,
    /// The lookups in flight, so that a write can keep them from storing what it has outdated.
    lookups: Mutex<Lookups>,
}

type Lookups = HashMap<SecretPath, InFlight>;

#[derive(Default)]
struct InFlight {
    count: usize,
    /// How many times the path was invalidated while lookups were in flight.
    invalidations: usize,
}

impl MetadataCache {
    /// A cache whose entries expire after `ttl`; with zero, it stores nothing.
    pub(crate) fn new(ttl: Duration) -> Self {
        let capacity = if ttl.is_zero() { 0 } else { CAPACITY };
        let entries = Cache::builder()
            .max_capacity(capacity)
            .time_to_live(ttl)
            // The default policy may reject a new secret in favour of older ones that are read more often.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { entries, lookups: Mutex::default() }
    }

    pub(crate) fn get(&self, path: &SecretPath) -> Option<CachedMetadata> {
        self.entries.get(path)
    }

    /// Registers a lookup. It has to start before its request is sent.
    pub(crate) fn start_lookup<'a>(&'a self, path: &'a SecretPath) -> Lookup<'a> {
        let mut lookups = self.lock();
        let in_flight = lookups.entry(path.clone()).or_default();
        in_flight.count += 1;
        Lookup { cache: self, path, invalidations: in_flight.invalidations }
    }

    /// Drops an entry that a read found to be outdated. Lookups in flight may still store theirs.
    pub(crate) fn remove(&self, path: &SecretPath) {
        self.entries.invalidate(path);
    }

    /// Drops the entry that a write outdates, and keeps lookups in flight from storing theirs.
    pub(crate) fn invalidate(&self, path: &SecretPath) {
        let mut lookups = self.lock();
        if let Some(in_flight) = lookups.get_mut(path) {
            in_flight.invalidations += 1;
        }
        self.entries.invalidate(path);
    }

    /// The same for all entries.
    pub(crate) fn invalidate_all(&self) {
        let mut lookups = self.lock();
        lookups.values_mut().for_each(|in_flight| in_flight.invalidations += 1);
        self.entries.invalidate_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lookups> {
        // A panic cannot leave the map half-changed.
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lookup in flight, until it is dropped.
pub(crate) struct Lookup<'a> {
    cache: &'a MetadataCache,
    path: &'a SecretPath,
    /// The count when the lookup started.
    invalidations: usize,
}

impl Lookup<'_> {
    /// Caches what the lookup found, unless the path was invalidated after it started.
    pub(crate) fn store(&self, found: CachedMetadata) {
        // The lock is held across the insertion: no invalidation gets in between.
        let lookups = self.cache.lock();
        let is_valid = lookups
            .get(self.path)
            .is_some_and(|in_flight| in_flight.invalidations == self.invalidations);
        if is_valid {
            self.cache.entries.insert(self.path.clone(), found);
        }
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        let mut lookups = self.cache.lock();
        if let Some(in_flight) = lookups.get_mut(self.path) {
            in_flight.count -= 1;
            if in_flight.count == 0 {
                lookups.remove(self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    fn metadata() -> CachedMetadata {
        CachedMetadata { metadata: Metadata::default(), current_version: Version::new("v") }
    }

    fn store(cache: &MetadataCache, at: &str) {
        let path = path(at);
        cache.start_lookup(&path).store(metadata());
    }

    fn has(cache: &MetadataCache, at: &str) -> bool {
        cache.get(&path(at)).is_some()
    }

    #[test]
    fn an_entry_expires_after_its_ttl_and_not_before() {
        let ttl = Duration::from_millis(50);
        let (short, long) = (MetadataCache::new(ttl), MetadataCache::new(Duration::from_hours(1)));
        let start = Instant::now();
        store(&long, "a");
        store(&short, "a");
        while has(&short, "a") {
            assert!(start.elapsed() < Duration::from_secs(30), "the entry does not expire");
            std::thread::yield_now();
        }
        // The cache may read another clock than the test, whose readings differ by microseconds.
        let elapsed = start.elapsed() + Duration::from_millis(1);
        assert!(elapsed >= ttl, "the entry expired after {elapsed:?}");
        assert!(has(&long, "a"));
    }

    #[test]
    fn a_lookup_that_started_before_an_invalidation_stores_nothing() {
        let cache = MetadataCache::new(Duration::from_mins(1));
        let (a, c) = (path("a"), path("c"));
        let outdated = cache.start_lookup(&a);
        cache.invalidate(&a);
        let current = cache.start_lookup(&a);
        outdated.store(metadata());
        assert!(!has(&cache, "a"));
        current.store(metadata());
        assert!(has(&cache, "a"));
        // An invalidation of another path does not count; one of all paths does.
        let lookup = cache.start_lookup(&c);
        cache.invalidate(&path("b"));
        lookup.store(metadata());
        assert!(has(&cache, "c"));
        cache.invalidate_all();
        lookup.store(metadata());
        assert!(!has(&cache, "c"));
    }

    #[test]
    fn removing_an_outdated_entry_lets_lookups_in_flight_store_theirs() {
        let cache = MetadataCache::new(Duration::from_mins(1));
        store(&cache, "a");
        let a = path("a");
        let lookup = cache.start_lookup(&a);
        cache.remove(&a);
        assert!(!has(&cache, "a"));
        lookup.store(metadata());
        assert!(has(&cache, "a"));
    }

    #[test]
    fn lookups_are_tracked_only_while_they_are_in_flight() {
        let cache = MetadataCache::new(Duration::from_mins(1));
        let a = path("a");
        let lookups = [cache.start_lookup(&a), cache.start_lookup(&a)];
        assert_eq!(cache.lock().len(), 1);
        drop(lookups);
        cache.invalidate(&a);
        assert!(cache.lock().is_empty());
    }

    #[test]
    fn the_cache_holds_no_more_than_its_capacity_and_keeps_the_newest() {
        let cache = MetadataCache::new(Duration::from_mins(10));
        for i in 0..=CAPACITY {
            store(&cache, &i.to_string());
        }
        cache.entries.run_pending_tasks();
        assert!(cache.entries.entry_count() <= CAPACITY);
        assert!(has(&cache, &CAPACITY.to_string()));
        let disabled = MetadataCache::new(Duration::ZERO);
        store(&disabled, "a");
        assert!(!has(&disabled, "a"));
        disabled.entries.run_pending_tasks();
        assert_eq!(disabled.entries.entry_count(), 0);
    }
}
