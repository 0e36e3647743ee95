//! How reads are cached, repeated and bounded in time.

use std::time::Duration;

use strongroom_core::{BackendInfo, Problems, Settings};

const CACHE_TTL: &str = "SECRETS_CACHE_TTL";
const STALE_IF_ERROR: &str = "SECRETS_CACHE_STALE_IF_ERROR";
const NEGATIVE_TTL: &str = "SECRETS_CACHE_NEGATIVE_TTL";
const MAX_ENTRIES: &str = "SECRETS_CACHE_MAX_ENTRIES";
const MAX_BYTES: &str = "SECRETS_CACHE_MAX_BYTES";
pub(crate) const TIMEOUT: &str = "SECRETS_READ_TIMEOUT";
const RETRIES: &str = "SECRETS_READ_RETRIES";
const STALE_FALLBACK_TIMEOUT: &str = "SECRETS_CACHE_STALE_FALLBACK_TIMEOUT";
const WATCH_INTERVAL: &str = "SECRETS_WATCH_INTERVAL";

/// What the names of the cache's settings begin with.
pub(crate) const CACHE_PREFIX: &str = "SECRETS_CACHE_";

/// The settings of a [`ReadPolicy`].
pub(crate) const SETTINGS: &[&str] = &[
    CACHE_TTL,
    STALE_IF_ERROR,
    NEGATIVE_TTL,
    MAX_ENTRIES,
    MAX_BYTES,
    TIMEOUT,
    RETRIES,
    STALE_FALLBACK_TIMEOUT,
    WATCH_INTERVAL,
];

/// How often a handle of a store without a cache looks for a new version.
const LOCAL_WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// A time that can be added to a moment, and multiplied: of what is longer nobody sees the end.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(Duration::from_secs(10 * 365 * 86_400))
}

/// How reads are cached, repeated and bounded in time. The default serves most services.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use strongroom::{MemoryBackend, ReadPolicy, SecretsManager};
///
/// let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(60)).retries(5);
/// let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadPolicy {
    /// How long a secret is served from the cache; never beyond its expiry or lease. `None`, the
    /// default, is what the store's kind suggests: 5 minutes for `aws`, 1 minute for `hashicorp`, no
    /// cache for `env` and `native`, which are local. Zero turns the cache off.
    pub cache_ttl: Option<Duration>,
    /// How much longer a secret is served, marked as stale, while the store is unavailable: it cannot
    /// be reached, asks to slow down, or does not answer within the [`stale_fallback_timeout`](Self::stale_fallback_timeout). 10
    /// minutes unless set; zero turns it off.
    pub stale_if_error: Duration,
    /// How long a read waits for the store while there is a copy that would be served as stale. 2
    /// seconds unless set. The store is waited for in the background then.
    pub stale_fallback_timeout: Duration,
    /// How long it is remembered that there is no secret at a path. 5 seconds unless set.
    pub negative_ttl: Duration,
    /// The most entries in the cache. 10,000 unless set.
    pub max_entries: usize,
    /// The most bytes that the cache takes, estimated with its own overhead. 64 MiB unless set.
    pub max_bytes: usize,
    /// The longest time that a read takes in all, with waiting and further attempts. 30 seconds
    /// unless set.
    pub timeout: Duration,
    /// How often a read is tried again after an error that is marked temporary. 3 times unless set;
    /// `aws` tries again by itself, and never here.
    pub retries: u32,
    /// How often a [`SecretHandle`](crate::SecretHandle) looks for a new version. Unless set, three
    /// quarters of the cache's time, and 10 seconds without a cache.
    pub watch_interval: Option<Duration>,
}

impl Default for ReadPolicy {
    fn default() -> Self {
        Self {
            cache_ttl: None,
            stale_if_error: Duration::from_secs(600),
            stale_fallback_timeout: Duration::from_secs(2),
            negative_ttl: Duration::from_secs(5),
            max_entries: 10_000,
            max_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
            retries: 3,
            watch_interval: None,
        }
    }
}

impl ReadPolicy {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a secret is served from the cache; zero turns it off.
    #[must_use]
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = Some(ttl);
        self
    }

    /// Sets how much longer a secret is served while the store is unavailable; zero turns it off.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = window;
        self
    }

    /// Sets how long a read waits for the store while there is a stale copy.
    #[must_use]
    pub fn stale_fallback_timeout(mut self, stale_fallback_timeout: Duration) -> Self {
        self.stale_fallback_timeout = stale_fallback_timeout;
        self
    }

    /// Sets how long it is remembered that there is no secret at a path; zero turns it off.
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Sets the most entries in the cache.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sets the most bytes that the cache takes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the longest time that a read takes in all.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a read is tried again.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets how often a handle looks for a new version.
    #[must_use]
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.watch_interval = Some(interval);
        self
    }

    /// Understands the settings of the read path; what is wrong with them is noted.
    pub(crate) fn from_settings(settings: &Settings, problems: &mut Problems) -> Self {
        let cache_ttl = settings.duration(CACHE_TTL, problems);
        let mut policy = Self { cache_ttl, ..Self::default() };
        let set = |target: &mut Duration, name, problems: &mut Problems| {
            if let Some(duration) = settings.duration(name, problems) {
                *target = duration;
            }
        };
        set(&mut policy.stale_if_error, STALE_IF_ERROR, problems);
        set(&mut policy.negative_ttl, NEGATIVE_TTL, problems);
        set(&mut policy.timeout, TIMEOUT, problems);
        set(&mut policy.stale_fallback_timeout, STALE_FALLBACK_TIMEOUT, problems);
        policy.watch_interval = settings.duration(WATCH_INTERVAL, problems);
        let count = |name, unit, problems: &mut Problems| {
            let number = settings.number(name, unit, problems)?;
            let number = usize::try_from(number).ok().filter(|number| *number > 0);
            if number.is_none() {
                problems.add(format!(
                    "`{name}` is not a number of {unit} that can be held; `{CACHE_TTL}` = `0` turns \
                     the cache off"
                ));
            }
            number
        };
        policy.max_entries = count(MAX_ENTRIES, "entries", problems).unwrap_or(policy.max_entries);
        policy.max_bytes = count(MAX_BYTES, "bytes", problems).unwrap_or(policy.max_bytes);
        if let Some(retries) = settings.number(RETRIES, "retries", problems) {
            policy.retries = u32::try_from(retries).unwrap_or(u32::MAX);
        }
        for (name, duration) in
            [(TIMEOUT, Some(policy.timeout)), (WATCH_INTERVAL, policy.watch_interval)]
        {
            if duration.is_some_and(|duration| duration.is_zero()) {
                problems.add(format!("`{name}` is zero; give it a time such as `10s`"));
            }
        }
        policy
    }

    /// How long a secret of this store is served from the cache; `None` without one.
    pub(crate) fn ttl(&self, info: &BackendInfo) -> Option<Duration> {
        let ttl = self.cache_ttl.or(info.default_cache_ttl);
        ttl.filter(|ttl| !ttl.is_zero()).map(bounded)
    }

    /// How often a handle looks for a new version in this store.
    pub(crate) fn watch_interval_of(&self, info: &BackendInfo) -> Duration {
        let beside_cache = || self.ttl(info).map(|ttl| ttl * 3 / 4);
        let interval = self.watch_interval.or_else(beside_cache);
        let interval = interval.filter(|interval| !interval.is_zero());
        bounded(interval.unwrap_or(LOCAL_WATCH_INTERVAL))
    }

    /// How often a read of this store is tried again.
    pub(crate) fn retries_of(&self, info: &BackendInfo) -> u32 {
        if info.retries { 0 } else { self.retries }
    }
}
