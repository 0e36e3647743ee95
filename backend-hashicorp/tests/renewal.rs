//! Tokens of a real server expire one after another, and no read fails.
//!
//! The tests read from the server's own records what happened: from its audit device, and from the
//! token's accessor.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom_core::{Backend, ErrorKind, SecretPath, VersionSelector};
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Server};
use strongroom_testkit::report;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// How long the readers read: longer than four tokens live.
const RUN: Duration = Duration::from_secs(62);
const READERS: usize = 3;
/// How often each of them reads.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// The TTL that each login and each renewal grants.
const TTL: Duration = Duration::from_secs(9);
/// The maximum TTL of a token, including renewals.
const MAX_TTL: Duration = Duration::from_secs(20);
const MARGIN: Duration = Duration::from_secs(2);
/// How much earlier or later than planned the server may record a request, on an idle machine. On a
/// busy one, [`measure_lag`] adds to it.
const SLACK: Duration = Duration::from_millis(700);
/// How long a test waits for the server at most.
const LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const VALUE: &str = "constant";
const RENEW_SELF: &str = "auth/token/renew-self";
const REVOKE_SELF: &str = "auth/token/revoke-self";

fn secret_path() -> SecretPath {
    SecretPath::parse("renewal/key").unwrap()
}

fn role(name: &'static str) -> ApproleOptions<'static> {
    ApproleOptions { name, token_ttl: TTL, token_max_ttl: MAX_TTL, ..ApproleOptions::default() }
}

async fn backend(
    server: &Server,
    role_id: &str,
    secret_id: SecretId,
    configure: impl FnOnce(&mut HashicorpConfig),
) -> Arc<HashicorpBackend> {
    let auth = AppRole::new(role_id, secret_id);
    let mut config = HashicorpConfig::new(server.address(), auth);
    config.renew_margin = MARGIN;
    configure(&mut config);
    Arc::new(HashicorpBackend::open(config).await.unwrap())
}

/// A development server with a secret, `AppRole` and an audit log.
async fn server() -> (Server, AuditLog) {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let data = json!({ "data": { "value": VALUE } });
    server.admin("POST", &format!("secret/data/{}", secret_path()), Some(data)).await;
    let audit = server.enable_audit().await;
    (server, audit)
}

/// Reads at an interval until `end`; the number of reads.
async fn read_until(backend: Arc<HashicorpBackend>, end: Instant) -> usize {
    let mut interval = interval(READ_INTERVAL);
    let mut reads = 0;
    while Instant::now() < end {
        interval.tick().await;
        let secret = backend.get(&secret_path(), &VersionSelector::Active).await;
        assert_eq!(secret.expect("every read succeeds").expose_text().unwrap(), VALUE);
        reads += 1;
    }
    reads
}

/// The life of one token by the server's records.
struct Life {
    login: SystemTime,
    renewals: Vec<SystemTime>,
    revoked: Option<SystemTime>,
    last_used: SystemTime,
}

impl Life {
    /// The TTL that remained at each renewal.
    fn remaining_at_renewals(&self) -> Vec<Duration> {
        let granted = [&[self.login], self.renewals.as_slice()].concat();
        self.renewals
            .iter()
            .zip(granted)
            .map(|(renewal, granted)| remaining(granted, *renewal))
            .collect()
    }
}

/// The TTL that remains of a grant.
fn remaining(granted: SystemTime, now: SystemTime) -> Duration {
    TTL.saturating_sub(now.duration_since(granted).unwrap())
}

/// The audited responses to requests of one role.
struct Record(Vec<Value>);

impl Record {
    fn of(role: &str, entries: &[Value]) -> Self {
        let is_own = |entry: &&Value| {
            entry["type"] == "response" && entry["auth"]["metadata"]["role_name"] == role
        };
        Self(entries.iter().filter(is_own).cloned().collect())
    }

    fn to<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |entry| entry["request"]["path"] == path)
    }

    fn logins(&self) -> Vec<&Value> {
        self.to("auth/approle/login").collect()
    }

    /// The times of requests to `path` with the token of this accessor.
    fn times(&self, path: &str, accessor: &Value) -> Vec<SystemTime> {
        self.to(path).filter(|entry| &entry["auth"]["accessor"] == accessor).map(time).collect()
    }

    /// The tokens, in the order of their logins.
    fn lives(&self) -> Vec<Life> {
        let life = |login: &&Value| {
            let accessor = &login["response"]["auth"]["accessor"];
            let reads = self.times(&format!("secret/data/{}", secret_path()), accessor);
            Life {
                login: time(login),
                renewals: self.times(RENEW_SELF, accessor),
                revoked: self.times(REVOKE_SELF, accessor).first().copied(),
                last_used: reads.last().copied().expect("every token was used"),
            }
        };
        self.logins().iter().map(life).collect()
    }

    /// Fails if the server has rejected any request but a revocation.
    fn assert_no_errors(&self) {
        let is_failure =
            |entry: &&Value| entry["request"]["path"] != REVOKE_SELF && !entry["error"].is_null();
        let failures: Vec<_> = self.0.iter().filter(is_failure).collect();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

fn time(entry: &Value) -> SystemTime {
    humantime::parse_rfc3339(entry["time"].as_str().unwrap()).unwrap()
}

/// The TTL that may remain when a token is renewed or replaced: the margin, and up to a tenth of it
/// more.
fn margin_range(slack: Duration) -> RangeInclusive<Duration> {
    MARGIN.saturating_sub(slack)..=MARGIN + MARGIN / 10 + slack
}

/// Sends requests to the server until `end` and measures how late timers and responses are at worst.
async fn measure_lag(server: &Server, end: Instant) -> Duration {
    let mut lag = Duration::ZERO;
    while Instant::now() < end {
        let begin = Instant::now();
        sleep(READ_INTERVAL).await;
        server.call("GET", "sys/health", None).await;
        lag = lag.max(begin.elapsed().saturating_sub(READ_INTERVAL));
    }
    lag
}

/// Checks tokens that were renewed up to their maximum TTL, then replaced and revoked.
fn assert_renewed_and_revoked(name: &str, record: &Record, slack: Duration) {
    record.assert_no_errors();
    let lives = record.lives();
    assert!(lives.len() >= 4, "{name}: only {} tokens in {RUN:?}", lives.len());
    let remaining: Vec<_> = lives.iter().flat_map(Life::remaining_at_renewals).collect();
    assert!(remaining.iter().all(|ttl| margin_range(slack).contains(ttl)), "{name}: {remaining:?}");
    for pair in lives.windows(2) {
        let [old, new] = pair else { unreachable!() };
        assert!(old.renewals.len() >= 2, "{name}: a token was replaced that could be renewed");
        assert!(new.login < old.login + MAX_TTL, "{name}: a token expired before the next login");
        let revoked = old.revoked.expect("every replaced token is revoked");
        assert!(revoked >= new.login && revoked >= old.last_used, "{name}: revoked while in use");
        let capped = *old.renewals.last().unwrap();
        assert!(new.login < capped + slack, "{name}: replaced long after the last renewal");
        assert!(
            revoked < new.login + Duration::from_millis(1_300) + slack,
            "{name}: revoked too late"
        );
    }
    assert!(lives.last().unwrap().revoked.is_some(), "{name}: `close` revokes the last token");
    let renewals = remaining.len();
    let (least, most) = (remaining.iter().min().unwrap(), remaining.iter().max().unwrap());
    report(format!(
        "{name}: {} tokens, {renewals} renewals with {least:?} to {most:?} remaining",
        lives.len()
    ));
}

/// Checks tokens that cannot be renewed.
fn assert_replaced(name: &str, record: &Record, slack: Duration) {
    record.assert_no_errors();
    assert_eq!(record.to(RENEW_SELF).count(), 0);
    let logins: Vec<_> = record.logins().into_iter().map(time).collect();
    assert!(logins.len() >= 8, "{name}: only {} tokens in {RUN:?}", logins.len());
    let remaining: Vec<_> = logins.windows(2).map(|pair| remaining(pair[0], pair[1])).collect();
    assert!(remaining.iter().all(|ttl| margin_range(slack).contains(ttl)), "{name}: {remaining:?}");
    report(format!("{name}: {} tokens, replaced with {remaining:?} remaining", logins.len()));
}

/// Compares the audit log with what the server says about the last renewal of a token of `role`.
async fn assert_last_renewal(server: &Server, audit: &AuditLog, role: &str) {
    let begin = Instant::now();
    loop {
        let record = Record::of(role, &audit.entries());
        let accessor = record.logins().last().unwrap()["response"]["auth"]["accessor"].clone();
        let body = json!({ "accessor": accessor });
        let lookup = server.call("POST", "auth/token/lookup-accessor", Some(body)).await;
        let last = lookup.1["data"]["last_renewal_time"].as_u64().map(Duration::from_secs);
        // On a busy machine, the token may have been revoked since the audit log was read, or not
        // have been renewed yet: then look the next one up.
        if let (200, Some(last)) = (lookup.0, last) {
            // Read the log again: the look-up may have seen a later renewal.
            let renewals = Record::of(role, &audit.entries()).times(RENEW_SELF, &accessor);
            let is_last = |renewal: &SystemTime| {
                let recorded = renewal.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                recorded.abs_diff(last) < Duration::from_secs(2)
            };
            assert!(renewals.iter().any(is_last), "{renewals:?} {last:?}");
            return;
        }
        assert!(begin.elapsed() < LIMIT, "no token of the role was renewed: {lookup:?}");
        sleep(POLL_INTERVAL).await;
    }
}

async fn accessors(server: &Server) -> Value {
    server.admin("LIST", "auth/token/accessors", None).await["data"]["keys"].clone()
}

/// Waits until the server has no other tokens than these.
async fn assert_accessors(server: &Server, expected: &Value) {
    let begin = Instant::now();
    loop {
        let now = accessors(server).await;
        if now == *expected {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "a token is still valid: {now} instead of {expected}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Puts another secret id in the file and destroys the old one.
async fn replace_secret_id(server: &Server, options: &ApproleOptions<'_>, file: &Path) {
    let old = fs::read_to_string(file).unwrap();
    fs::write(file, server.secret_id(options).await).unwrap();
    let path = format!("auth/approle/role/{}/secret-id/destroy", options.name);
    server.admin("POST", &path, Some(json!({ "secret_id": old }))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_tokens_expire() {
    let (server, audit) = server().await;
    let before = accessors(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-id");
    let (text_role, file_role) = (role("text"), role("file"));
    let batch_role = ApproleOptions { token_type: "batch", ..role("batch") };

    let made = server.approle(&text_role).await;
    let text = backend(&server, &made.role_id, SecretId::Text(made.secret_id.into()), |_| {}).await;
    let made = server.approle(&batch_role).await;
    let batch =
        backend(&server, &made.role_id, SecretId::Text(made.secret_id.into()), |_| {}).await;
    let made = server.approle(&file_role).await;
    fs::write(&file, &made.secret_id).unwrap();
    let from_file = backend(&server, &made.role_id, SecretId::File(file.clone()), |_| {}).await;

    let backends = [text, batch, from_file];
    let begin = Instant::now();
    let mut readers = JoinSet::new();
    for backend in &backends {
        for _ in 0..READERS {
            readers.spawn(read_until(Arc::clone(backend), begin + RUN));
        }
    }
    let (lag, ()) = tokio::join!(measure_lag(&server, begin + RUN), async {
        // The first renewals are at 7 s, the first replacements at 14 s.
        sleep_until(begin + Duration::from_secs(10)).await;
        assert_last_renewal(&server, &audit, "text").await;
        assert_last_renewal(&server, &audit, "file").await;
        replace_secret_id(&server, &file_role, &file).await;
    });
    let reads: usize = readers.join_all().await.into_iter().sum();
    for backend in backends {
        let details = backend.health().await.unwrap().details;
        assert!(!details.contains_key("token_last_error"), "{details:?}");
        backend.close().await.unwrap();
    }

    report(format!("{reads} reads in {RUN:?} without an error, {lag:?} late at worst"));
    let (entries, slack) = (audit.entries(), SLACK + 2 * lag);
    let of = |role| Record::of(role, &entries);
    assert_renewed_and_revoked("secret id as text", &of("text"), slack);
    assert_renewed_and_revoked("secret id in a file", &of("file"), slack);
    assert_replaced("batch tokens", &of("batch"), slack);
    assert_accessors(&server, &before).await;
}

#[tokio::test]
async fn an_outage_that_ends_before_the_token_expires_causes_no_login() {
    // Renewal is due after 8.1 to 9 s, the token expires after 18 s: seconds on each side of the
    // outage, for a busy machine.
    const TTL: Duration = Duration::from_secs(18);
    let (server, audit) = server().await;
    let options = ApproleOptions { token_ttl: TTL, token_max_ttl: 3 * TTL, ..role("paused") };
    let made = server.approle(&options).await;
    let secret_id = SecretId::Text(made.secret_id.into());
    let backend = backend(&server, &made.role_id, secret_id, |config| {
        config.renew_margin = TTL / 2;
        config.timeout = Duration::from_secs(2);
    })
    .await;
    let begin = Instant::now();
    backend.get(&secret_path(), &VersionSelector::Active).await.unwrap();
    sleep_until(begin + Duration::from_secs(5)).await;
    let paused = server.pause();
    let error = backend.get(&secret_path(), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    sleep_until(begin + Duration::from_secs(11)).await;
    let resumed = SystemTime::now();
    paused.resume();
    read_until(Arc::clone(&backend), begin + TTL + Duration::from_secs(3)).await;
    let details = backend.health().await.unwrap().details;
    assert_eq!(details["token_logins"], "1");
    assert!(details["token_policies"].contains("default"), "{details:?}");
    assert!(!details.contains_key("token_last_error"), "{details:?}");
    backend.close().await.unwrap();

    let record = Record::of("paused", &audit.entries());
    let lives = record.lives();
    let [life] = lives.as_slice() else { panic!("{} tokens", lives.len()) };
    assert!(life.renewals[0] >= resumed, "the token was renewed before the outage");
    let age = life.renewals[0].duration_since(life.login).unwrap();
    report(format!("renewed after an outage, at an age of {age:?} of {TTL:?}"));
}
