//! How reads are cached, retried and limited in time.

use std::time::Duration;

use strongroom_core::{
    BackendInfo, Problems, Result, Setting, SettingNames, Settings, setting_table,
};

setting_table! {
    /// The settings of a [`ReadPolicy`].
    pub(crate) const SETTINGS = {
        CACHE_TTL = Setting::duration("SECRETS_CACHE_TTL", "ReadPolicy::cache_ttl").meaning(
            "how long secrets are served from the cache, `0`: no cache; unless it is set, `5m` with \
             `aws` and with a native store in PostgreSQL, `1m` with `hashicorp` and `remote`, no cache with the \
             local stores",
        );
        STALE_IF_ERROR =
            Setting::duration("SECRETS_CACHE_STALE_IF_ERROR", "ReadPolicy::stale_if_error")
                .meaning("how much longer they are served while the store is unavailable")
                .default_value("10m");
        STALE_FALLBACK_TIMEOUT = Setting::duration(
            "SECRETS_CACHE_STALE_FALLBACK_TIMEOUT",
            "ReadPolicy::stale_fallback_timeout",
        )
        .meaning("how long a read waits for the store while there is such a copy")
        .default_value("2s");
        NEGATIVE_TTL = Setting::duration("SECRETS_CACHE_NEGATIVE_TTL", "ReadPolicy::negative_ttl")
            .meaning("how long the cache keeps that a path has no secret")
            .default_value("5s");
        MAX_ENTRIES =
            Setting::number("SECRETS_CACHE_MAX_ENTRIES", "ReadPolicy::max_entries", "entries")
                .meaning("the most entries in the cache")
                .default_value("10000");
        MAX_BYTES = Setting::number("SECRETS_CACHE_MAX_BYTES", "ReadPolicy::max_bytes", "bytes")
            .meaning("the most memory that the cache takes")
            .default_value("67108864");
        TIMEOUT = Setting::duration("SECRETS_READ_TIMEOUT", "ReadPolicy::timeout")
            .meaning("the time limit for a read, retries included")
            .default_value("30s");
        RETRIES = Setting::number("SECRETS_READ_RETRIES", "ReadPolicy::retries", "retries")
            .meaning("how often a read is retried after a temporary error; `aws` retries by itself")
            .default_value("3");
        WATCH_INTERVAL = Setting::duration("SECRETS_WATCH_INTERVAL", "ReadPolicy::watch_interval")
            .meaning(
                "how often a handle checks for a new version; unless it is set, ¾ of the cache's \
                 time, or `10s` without a cache",
            );
    }
}

/// The prefix of the cache's variables.
pub(crate) const CACHE_PREFIX: &str = "SECRETS_CACHE_";

/// How often a handle checks a store without a cache for a new version.
const LOCAL_WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Caps a duration at ten years, so that adding and multiplying it cannot overflow.
pub(crate) fn cap_duration(time: Duration) -> Duration {
    time.min(Duration::from_secs(10 * 365 * 86_400))
}

/// How reads are cached, retried and limited in time. The default suits most services.
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
    /// default, depends on the kind of the store: 5 minutes for `aws` and for `native` in PostgreSQL, 1 minute for
    /// `hashicorp` and `remote`, no cache for `env` and for `native` in a file, which are local. Zero turns the cache off. Where the store tells of
    /// [changes](crate::Backend::changes), a read sees them sooner.
    pub cache_ttl: Option<Duration>,
    /// How much longer a secret is served, marked as stale, while the store is unavailable: it cannot
    /// be reached, asks to slow down, or does not answer within the [`stale_fallback_timeout`](Self::stale_fallback_timeout). 10
    /// minutes unless set; zero turns it off.
    pub stale_if_error: Duration,
    /// How long a read waits for the store while there is a copy that would be served as stale. 2
    /// seconds unless set. The read of the store continues in the background.
    pub stale_fallback_timeout: Duration,
    /// How long the cache keeps that a path has no secret. 5 seconds unless set.
    pub negative_ttl: Duration,
    /// The most entries in the cache. 10,000 unless set.
    pub max_entries: usize,
    /// The most bytes that the cache takes, estimated with its own overhead. 64 MiB unless set.
    pub max_bytes: usize,
    /// The time limit for a read, with waiting and retries. 30 seconds unless set.
    pub timeout: Duration,
    /// How often a read is retried after a temporary error. 3 times unless set; `aws` retries by itself,
    /// and reads of it are never retried here.
    pub retries: u32,
    /// How often a [`SecretHandle`](crate::SecretHandle) checks for a new version. Unless set, three
    /// quarters of the cache's time, and 10 seconds without a cache. Where the store tells of changes, a handle
    /// reads after those as well.
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

    /// Sets how long the cache keeps that a path has no secret; zero turns it off.
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

    /// Sets the time limit for a read.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a read is retried.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets how often a handle checks for a new version.
    #[must_use]
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.watch_interval = Some(interval);
        self
    }

    /// Builds a policy from [`SETTINGS`]; errors name settings as they are named there.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let mut policy = Self {
            cache_ttl: settings.duration(&CACHE_TTL, &mut problems),
            watch_interval: settings.duration(&WATCH_INTERVAL, &mut problems),
            ..Self::default()
        };
        for (setting, field) in [
            (STALE_IF_ERROR, &mut policy.stale_if_error),
            (STALE_FALLBACK_TIMEOUT, &mut policy.stale_fallback_timeout),
            (NEGATIVE_TTL, &mut policy.negative_ttl),
            (TIMEOUT, &mut policy.timeout),
        ] {
            *field = settings.duration(&setting, &mut problems).unwrap_or(*field);
        }
        for (setting, field) in
            [(MAX_ENTRIES, &mut policy.max_entries), (MAX_BYTES, &mut policy.max_bytes)]
        {
            if let Some(number) = settings.number(&setting, &mut problems) {
                *field = usize::try_from(number).unwrap_or(usize::MAX);
            }
        }
        if let Some(retries) = settings.number(&RETRIES, &mut problems) {
            policy.retries = u32::try_from(retries).unwrap_or(u32::MAX);
        }
        policy.check(&mut problems);
        problems.into_result().map_err(|error| settings.names(SETTINGS).rename(error))?;
        Ok(policy)
    }

    /// Checks a policy that was built in code.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        self.check(&mut problems);
        let names = SettingNames::of_fields(SETTINGS);
        problems.into_result().map_err(|error| names.rename(error))
    }

    fn check(&self, problems: &mut Problems) {
        for (setting, number) in [(MAX_ENTRIES, self.max_entries), (MAX_BYTES, self.max_bytes)] {
            if number == 0 {
                problems.add(format!(
                    "`{setting}` must be at least 1; set `{CACHE_TTL}` to zero to turn the cache \
                     off"
                ));
            }
        }
        for (setting, duration) in
            [(TIMEOUT, Some(self.timeout)), (WATCH_INTERVAL, self.watch_interval)]
        {
            if duration.is_some_and(|duration| duration.is_zero()) {
                problems.add(format!("`{setting}` is zero; give it a duration such as `10s`"));
            }
        }
    }

    /// How long a secret of this store is served from the cache; `None` without one.
    pub(crate) fn ttl(&self, info: &BackendInfo) -> Option<Duration> {
        let ttl = self.cache_ttl.or(info.default_cache_ttl);
        ttl.filter(|ttl| !ttl.is_zero()).map(cap_duration)
    }

    /// How often a handle checks this store for a new version.
    pub(crate) fn watch_interval_of(&self, info: &BackendInfo) -> Duration {
        let beside_cache = || self.ttl(info).map(|ttl| ttl * 3 / 4);
        let interval = self.watch_interval.or_else(beside_cache);
        let interval = interval.filter(|interval| !interval.is_zero());
        cap_duration(interval.unwrap_or(LOCAL_WATCH_INTERVAL))
    }

    /// How often a read of this store is retried.
    pub(crate) fn retries_of(&self, info: &BackendInfo) -> u32 {
        if info.retries { 0 } else { self.retries }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::{Error, SettingsSource};

    use super::*;

    fn parse(pairs: &[(Setting, &str)]) -> Result<ReadPolicy> {
        let mut settings = Settings::new();
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        ReadPolicy::from_settings(&settings)
    }

    #[test]
    fn defaults_of_the_table_are_those_of_the_struct() {
        let defaults = SETTINGS.iter().filter(|setting| !setting.default_text().is_empty());
        let pairs: Vec<_> = defaults.map(|setting| (*setting, setting.default_text())).collect();
        assert_eq!(parse(&pairs).unwrap(), ReadPolicy::default());
    }

    #[test]
    fn an_error_names_what_the_caller_set() {
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&TIMEOUT, "read_timeout", "0");
        let in_code = ReadPolicy::new().timeout(Duration::ZERO);
        let problem = |result: Result<(), Error>| result.unwrap_err().problems().concat();
        for (problem, name) in [
            (problem(in_code.validate()), "ReadPolicy::timeout"),
            (problem(ReadPolicy::from_settings(&file).map(drop)), "read_timeout"),
            (problem(parse(&[(TIMEOUT, "0")]).map(drop)), "SECRETS_READ_TIMEOUT"),
        ] {
            assert_eq!(problem, format!("`{name}` is zero; give it a duration such as `10s`"));
        }
        let problem = problem(ReadPolicy::new().max_bytes(0).validate());
        assert!(problem.contains("set `ReadPolicy::cache_ttl` to zero"), "{problem}");
    }
}
