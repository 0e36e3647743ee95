//! How the access rules are opened.

mod parse;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use strongroom_core::{FilePath, Problems, Result, SettingNames};

use crate::appender::BatchLimits;
use crate::log::location::{DatabaseLocation, LogLocation};
use crate::settings::{
    AUDIT_DELAY, CA_CERT, CHECKPOINT_FILE, CHECKPOINT_INTERVAL, KEY_FILE, MAX_AGE, POLICY_PATH,
    POLICY_TIME_LIMIT, SETTINGS, URL, WEBHOOK_SECRET_FILE,
};
use crate::webhook::check_webhooks;
use crate::{Policy, SpiffeTemplate, TenantName, Tiers, Webhook};

/// When a record of a read is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditMode {
    /// Before the value is handed out. Reads that wait at the same time share one sync to disk.
    #[default]
    Durable,
    /// Up to this long after the value was handed out. A crash loses at most the records of this time, and at
    /// most 10,000. Writes, denials and uses of approvals and of limited tokens are recorded as with
    /// [`Durable`](Self::Durable).
    Batched(Duration),
    /// Only denials, writes, and uses of approvals and of limited tokens are recorded; other reads are not.
    WritesAndDenials,
}

/// What happens to reads while records cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditFailure {
    /// They fail.
    #[default]
    StopReads,
    /// They go on without a record, and an error is logged. Changes of rules and uses of approvals fail nevertheless.
    ContinueReads,
}

/// The key of the log: 32 bytes, from which the keys of its MACs, of the hashes of tokens and of its signatures
/// are derived. `Debug` shows no key.
#[derive(Clone)]
#[non_exhaustive]
pub enum KeySource {
    /// A file with the key in base64, or as 32 raw bytes, which others cannot access. It is created
    /// together with the log.
    File(PathBuf),
    /// The key in base64.
    Key(SecretString),
}

/// The longest time for which rules may be used without a look at the log, unless it is set: 5 seconds.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(5);
/// How long an evaluation of the policy may take, unless it is set: 10 milliseconds.
const DEFAULT_POLICY_TIME_LIMIT: Duration = Duration::from_millis(10);
/// The most records that wait to be written.
pub(crate) const MAX_QUEUED: usize = 10_000;

/// How the access rules are opened: where the log is, who the principals are, and what is recorded.
///
/// An error about a configuration names its fields, or the settings that it was built from. `Debug` shows no key.
///
/// # Examples
/// ```
/// use strongroom_access::{AccessConfig, AuditMode, SpiffeTemplate};
///
/// let config = AccessConfig::new("/var/lib/app/access.db", "/etc/app/access.key")
///     .template(SpiffeTemplate::parse("spiffe://example.org/agent/{tenant}/{agent}/{role}")?)
///     .audit_mode(AuditMode::Durable);
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone)]
pub struct AccessConfig {
    /// `None` keeps everything in memory.
    pub(crate) log: Option<(LogLocation, KeySource)>,
    /// The authorities of a database.
    pub(crate) ca_cert: Option<PathBuf>,
    pub(crate) templates: Vec<SpiffeTemplate>,
    pub(crate) tiers: Tiers,
    pub(crate) audit_mode: AuditMode,
    pub(crate) audit_failure: AuditFailure,
    pub(crate) max_age: Duration,
    pub(crate) checkpoints: Option<(PathBuf, Duration)>,
    pub(crate) creates: bool,
    /// The group whose members may read the key.
    pub(crate) group: Option<u32>,
    pub(crate) single_tenant: Option<TenantName>,
    pub(crate) policy: Option<Policy>,
    pub(crate) policy_time_limit: Duration,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) names: SettingNames,
}

impl AccessConfig {
    /// Rules in a file that is created if it does not exist, with a key in another file, which is created with it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self::with_key(path, KeySource::File(key_file.into()))
    }

    /// Rules in a file that is created if it does not exist.
    #[must_use]
    pub fn with_key(path: impl Into<PathBuf>, key: KeySource) -> Self {
        Self { log: Some((LogLocation::File(path.into()), key)), ..Self::in_memory() }
    }

    /// Rules in a PostgreSQL database (14 to 18) that several hosts share, which are created if the database has none.
    /// Needs the cargo feature `postgres`.
    ///
    /// The URL has the form `postgresql://role:password@host:5432/database`. It may name several hosts, which are tried
    /// in order, and of which standbys are skipped. Connections to other hosts always use TLS and check the certificate;
    /// [`ca_cert`](Self::ca_cert) says against which authorities. A key file is created only for new rules: copy it
    /// to the other hosts.
    #[must_use]
    pub fn with_database(url: SecretString, key: KeySource) -> Self {
        let database = DatabaseLocation { url, ca_cert: None };
        Self { log: Some((LogLocation::Database(database), key)), ..Self::in_memory() }
    }

    /// The file of the only authorities, in PEM, that may have signed the certificate of the database. Without it, they
    /// are those of the platform. The file is read again when it changes.
    #[must_use]
    pub fn ca_cert(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        if let Some((LogLocation::Database(database), _)) = &mut self.log {
            database.ca_cert = Some(file.clone());
        }
        self.ca_cert = Some(file);
        self
    }

    /// Rules that end with this process, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            log: None,
            ca_cert: None,
            templates: Vec::new(),
            tiers: Tiers::new(),
            audit_mode: AuditMode::default(),
            audit_failure: AuditFailure::default(),
            max_age: DEFAULT_MAX_AGE,
            checkpoints: None,
            creates: true,
            group: None,
            single_tenant: None,
            policy: None,
            policy_time_limit: DEFAULT_POLICY_TIME_LIMIT,
            webhooks: Vec::new(),
            names: SettingNames::of_fields(SETTINGS),
        }
    }

    /// The id of a group whose members may read the file with the key, such as the `fsGroup` of Kubernetes. Without one, the
    /// file belongs to its owner alone, or is a credential of systemd.
    #[must_use]
    pub fn group(mut self, id: u32) -> Self {
        self.group = Some(id);
        self
    }

    /// Adds a template by which SPIFFE ids become principals. An id that no template matches has no rights.
    #[must_use]
    pub fn template(mut self, template: SpiffeTemplate) -> Self {
        self.templates.push(template);
        self
    }

    /// Says which secrets need an approval.
    #[must_use]
    pub fn tiers(mut self, tiers: Tiers) -> Self {
        self.tiers = tiers;
        self
    }

    /// Says when reads are recorded.
    #[must_use]
    pub fn audit_mode(mut self, mode: AuditMode) -> Self {
        self.audit_mode = mode;
        self
    }

    /// Says what happens to reads while records cannot be written.
    #[must_use]
    pub fn audit_failure(mut self, failure: AuditFailure) -> Self {
        self.audit_failure = failure;
        self
    }

    /// The longest time for which rules may be used while the log cannot be read: 5 seconds unless it is set, at least 1 second.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Appends a signed checkpoint to a file at each `interval` in which records were added, and at the end. Ship the
    /// file to a place that cannot be changed by those who can write the log; best, it is there already.
    ///
    /// The file is created if it does not exist, and is not secret. Opening the log checks it against the last
    /// checkpoints of the file, and [`Access::verify_audit`](crate::Access::verify_audit) against all. A file
    /// that cannot be written stops nothing: an error is logged, and the next attempt is 10 seconds later.
    #[must_use]
    pub fn checkpoints(mut self, file: impl Into<PathBuf>, interval: Duration) -> Self {
        self.checkpoints = Some((file.into(), interval));
        self
    }

    /// Leaves the policy out, for a program that reads the audit and decides nothing.
    #[must_use]
    pub fn without_policy(mut self) -> Self {
        self.policy = None;
        self
    }

    /// Leaves the webhooks out, for a program that reads the audit beside a host that delivers them.
    #[must_use]
    pub fn without_webhooks(mut self) -> Self {
        self.webhooks = Vec::new();
        self
    }

    /// Whether the files are created if they do not exist: yes, unless it is set. Without it, opening fails with
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound).
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.creates = create;
        self
    }

    /// Uses the whole store for one tenant: its paths are the paths of the store. Other tenants have no
    /// secrets. Without it, the root of a tenant is the path with its name.
    #[must_use]
    pub fn single_tenant(mut self, tenant: TenantName) -> Self {
        self.single_tenant = Some(tenant);
        self
    }

    /// Narrows what grants and tiers allow by a policy. Needs the cargo feature `rego`.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How long one evaluation of the policy may take before it denies: 10 ms unless it is set, 1 ms to 1 s.
    #[must_use]
    pub fn policy_time_limit(mut self, limit: Duration) -> Self {
        self.policy_time_limit = limit;
        self
    }

    /// Sends events to an HTTP endpoint. Several webhooks have different names. Needs the cargo feature `webhooks`.
    #[must_use]
    pub fn webhook(mut self, webhook: Webhook) -> Self {
        self.webhooks.push(webhook);
        self
    }

    /// Checks the configuration without opening any file. Errors name settings by their variables.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        self.check_times(&mut problems);
        if let Some((location, key)) = &self.log {
            location.check(&mut problems);
            if let KeySource::File(file) = key {
                problems.collect(FilePath::new(file).check_new(KEY_FILE));
            }
        }
        if let Some((file, _)) = &self.checkpoints {
            problems.collect(FilePath::new(file).check_new(CHECKPOINT_FILE));
            if self.log.is_none() {
                problems.add(format!("`{CHECKPOINT_FILE}` needs rules in a file or a database"));
            }
        }
        if self.ca_cert.is_some() && !matches!(self.log, Some((LogLocation::Database(_), _))) {
            problems.add(format!("`{CA_CERT}` needs `{URL}`"));
        }
        for file in self.policy.iter().flat_map(Policy::files) {
            problems.collect(FilePath::new(file).check(POLICY_PATH));
        }
        for file in self.webhooks.iter().filter_map(Webhook::secret_file) {
            problems.collect(FilePath::new(file).check(WEBHOOK_SECRET_FILE));
        }
        check_webhooks(&self.webhooks, &mut problems);
        problems.into_result()
    }

    fn check_times(&self, problems: &mut Problems) {
        if self.max_age < Duration::from_secs(1) {
            problems.add(format!("`{MAX_AGE}` is under 1 second; choose a longer time"));
        }
        if self.checkpoints.as_ref().is_some_and(|(_, interval)| interval.as_secs() == 0) {
            problems
                .add(format!("`{CHECKPOINT_INTERVAL}` is under 1 second; choose a longer time"));
        }
        let limits = Duration::from_millis(1)..=Duration::from_secs(1);
        if !limits.contains(&self.policy_time_limit) {
            problems.add(format!("`{POLICY_TIME_LIMIT}` is not between 1 ms and 1 s"));
        }
        if let AuditMode::Batched(delay) = self.audit_mode
            && !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&delay)
        {
            problems.add(format!("`{AUDIT_DELAY}` is not between 1 ms and 10 s"));
        }
    }

    pub(crate) fn batch_limits(&self) -> BatchLimits {
        let max_delay = match self.audit_mode {
            AuditMode::Batched(delay) => delay,
            _ => Duration::from_millis(1),
        };
        BatchLimits { max_delay, max_records: MAX_QUEUED }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
            Self::Key(text) => f.debug_tuple("Key").field(text).finish(),
        }
    }
}

impl fmt::Debug for AccessConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessConfig")
            .field("log", &self.log.as_ref().map(|(location, _)| location))
            .field("key", &self.log.as_ref().map(|(_, key)| key))
            .field("templates", &self.templates)
            .field("tiers", &self.tiers)
            .field("audit_mode", &self.audit_mode)
            .field("audit_failure", &self.audit_failure)
            .field("max_age", &self.max_age)
            .field(
                "checkpoints",
                &self.checkpoints.as_ref().map(|(file, interval)| (FilePath::new(file), interval)),
            )
            .field("create", &self.creates)
            .field("group", &self.group)
            .field("single_tenant", &self.single_tenant)
            .field("policy", &self.policy)
            .field("policy_time_limit", &self.policy_time_limit)
            .field("webhooks", &self.webhooks)
            .finish_non_exhaustive()
    }
}
