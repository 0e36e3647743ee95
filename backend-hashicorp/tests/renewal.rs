//! Proof on a real server that tokens end, one after another, and no reader notices.
//!
//! What happened is read from the server's own record: its audit device, and what it knows about
//! a token by its accessor.
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
use tokio::time::{Instant, interval, sleep_until};

/// How long the readers read: four lives and more.
const RUN: Duration = Duration::from_secs(62);
const READERS: usize = 3;
/// How often each of them reads.
const PACE: Duration = Duration::from_millis(50);
/// What each login and each renewal grants.
const TTL: Duration = Duration::from_secs(9);
/// How long a token can live, however often it is renewed.
const MAX_TTL: Duration = Duration::from_secs(20);
const MARGIN: Duration = Duration::from_secs(2);
/// How much earlier or later than meant the server may see a request of a busy machine.
const SLACK: Duration = Duration::from_millis(700);
const VALUE: &str = "always the same";

fn kept() -> SecretPath {
    SecretPath::parse("renewal/kept").unwrap()
}

fn role(name: &'static str) -> ApproleOptions<'static> {
    ApproleOptions { name, token_ttl: TTL, token_max_ttl: MAX_TTL, ..ApproleOptions::default() }
}

fn backend(
    server: &Server,
    role_id: &str,
    secret_id: SecretId,
    change: impl FnOnce(&mut HashicorpConfig),
) -> Arc<HashicorpBackend> {
    let auth = AppRole::new(role_id, secret_id);
    let mut config = HashicorpConfig::new(server.address(), auth);
    config.renew_margin = MARGIN;
    change(&mut config);
    Arc::new(HashicorpBackend::open(config).unwrap())
}

/// A development server with a secret, `AppRole` and a record of what it is asked.
async fn server() -> (Server, AuditLog) {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let data = json!({ "data": { "value": VALUE } });
    server.admin("POST", &format!("secret/data/{}", kept()), Some(data)).await;
    let audit = server.enable_audit().await;
    (server, audit)
}

/// Reads all the time until `end`; how often.
async fn read_until(backend: Arc<HashicorpBackend>, end: Instant) -> usize {
    let mut pace = interval(PACE);
    let mut reads = 0;
    while Instant::now() < end {
        pace.tick().await;
        let secret = backend.get(&kept(), &VersionSelector::Active).await;
        assert_eq!(secret.expect("no reader meets an error").expose_text().unwrap(), VALUE);
        reads += 1;
    }
    reads
}

/// One token, as the server saw it.
struct Life {
    login: SystemTime,
    renewals: Vec<SystemTime>,
    revoked: Option<SystemTime>,
    last_used: SystemTime,
}

impl Life {
    /// The token's life that was left at each renewal.
    fn left_at_renewals(&self) -> Vec<Duration> {
        let granted = [&[self.login], self.renewals.as_slice()].concat();
        self.renewals
            .iter()
            .zip(granted)
            .map(|(renewal, granted)| left(granted, *renewal))
            .collect()
    }
}

/// What is left at a moment of a life that was granted.
fn left(granted: SystemTime, now: SystemTime) -> Duration {
    TTL.saturating_sub(now.duration_since(granted).unwrap())
}

/// The answers to requests of one role.
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

    /// When there were requests to `path` with the token that has this accessor.
    fn times(&self, path: &str, accessor: &Value) -> Vec<SystemTime> {
        self.to(path).filter(|entry| &entry["auth"]["accessor"] == accessor).map(time).collect()
    }

    /// The tokens, in the order of their logins.
    fn lives(&self) -> Vec<Life> {
        let life = |login: &&Value| {
            let accessor = &login["response"]["auth"]["accessor"];
            let reads = self.times(&format!("secret/data/{}", kept()), accessor);
            Life {
                login: time(login),
                renewals: self.times("auth/token/renew-self", accessor),
                revoked: self.times("auth/token/revoke-self", accessor).first().copied(),
                last_used: reads.last().copied().expect("every token was used"),
            }
        };
        self.logins().iter().map(life).collect()
    }

    /// Fails if the server refused anything but to take a token back.
    fn assert_no_errors(&self) {
        let is_failure = |entry: &&Value| {
            entry["request"]["path"] != "auth/token/revoke-self" && !entry["error"].is_null()
        };
        let failures: Vec<_> = self.0.iter().filter(is_failure).collect();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

fn time(entry: &Value) -> SystemTime {
    humantime::parse_rfc3339(entry["time"].as_str().unwrap()).unwrap()
}

/// What may be left of a life when a token is renewed or replaced: the margin and a tenth of it.
fn at_the_margin() -> RangeInclusive<Duration> {
    MARGIN.saturating_sub(SLACK)..=MARGIN + MARGIN / 10 + SLACK
}

/// Checks tokens that were renewed up to their maximum, then replaced and revoked.
fn assert_renewed_and_revoked(name: &str, record: &Record) {
    record.assert_no_errors();
    let lives = record.lives();
    assert!(lives.len() >= 4, "{name}: only {} tokens in {RUN:?}", lives.len());
    let lefts: Vec<_> = lives.iter().flat_map(Life::left_at_renewals).collect();
    assert!(lefts.iter().all(|left| at_the_margin().contains(left)), "{name}: {lefts:?}");
    for pair in lives.windows(2) {
        let [old, new] = pair else { unreachable!() };
        assert!(old.renewals.len() >= 2, "{name}: a token was replaced that could be renewed");
        assert!(new.login < old.login + MAX_TTL, "{name}: a token ended before there was another");
        let revoked = old.revoked.expect("every old token is revoked");
        assert!(revoked >= new.login && revoked >= old.last_used, "{name}: revoked while in use");
        let capped = *old.renewals.last().unwrap();
        assert!(new.login < capped + SLACK, "{name}: replaced long after the last renewal");
        assert!(revoked < new.login + Duration::from_secs(2), "{name}: revoked too late");
    }
    assert!(lives.last().unwrap().revoked.is_some(), "{name}: `close` revokes the last token");
    let renewals = lefts.len();
    let (least, most) = (lefts.iter().min().unwrap(), lefts.iter().max().unwrap());
    report(format!(
        "{name}: {} tokens, {renewals} renewals with {least:?} to {most:?} left",
        lives.len()
    ));
}

/// Checks tokens that cannot be renewed.
fn assert_replaced(name: &str, record: &Record) {
    record.assert_no_errors();
    assert_eq!(record.to("auth/token/renew-self").count(), 0);
    let logins: Vec<_> = record.logins().into_iter().map(time).collect();
    assert!(logins.len() >= 8, "{name}: only {} tokens in {RUN:?}", logins.len());
    let lefts: Vec<_> = logins.windows(2).map(|pair| left(pair[0], pair[1])).collect();
    assert!(lefts.iter().all(|left| at_the_margin().contains(left)), "{name}: {lefts:?}");
    report(format!("{name}: {} tokens, replaced with {lefts:?} left", logins.len()));
}

/// What the server says about the last renewal of the token of `role`, beside its record.
async fn assert_last_renewal(server: &Server, audit: &AuditLog, role: &str) {
    let record = Record::of(role, &audit.entries());
    let accessor = &record.logins().last().unwrap()["response"]["auth"]["accessor"];
    let renewed = *record.times("auth/token/renew-self", accessor).last().expect("a renewal");
    let body = json!({ "accessor": accessor });
    let known = server.admin("POST", "auth/token/lookup-accessor", Some(body)).await;
    let last = Duration::from_secs(known["data"]["last_renewal_time"].as_u64().unwrap());
    let recorded = renewed.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(recorded.abs_diff(last) < Duration::from_secs(2), "{recorded:?} {last:?}");
}

async fn accessors(server: &Server) -> Value {
    server.admin("LIST", "auth/token/accessors", None).await["data"]["keys"].clone()
}

/// Puts another secret id in the file and makes the old one useless.
async fn replace_secret_id(server: &Server, options: &ApproleOptions<'_>, file: &Path) {
    let old = fs::read_to_string(file).unwrap();
    fs::write(file, server.secret_id(options).await).unwrap();
    let path = format!("auth/approle/role/{}/secret-id/destroy", options.name);
    server.admin("POST", &path, Some(json!({ "secret_id": old }))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_notice_that_tokens_end() {
    let (server, audit) = server().await;
    let before = accessors(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-id");
    let (text_role, file_role) = (role("text"), role("file"));
    let batch_role = ApproleOptions { token_type: "batch", ..role("batch") };

    let made = server.approle(&text_role).await;
    let text = backend(&server, &made.role_id, SecretId::Text(made.secret_id.into()), |_| {});
    let made = server.approle(&batch_role).await;
    let batch = backend(&server, &made.role_id, SecretId::Text(made.secret_id.into()), |_| {});
    let made = server.approle(&file_role).await;
    fs::write(&file, &made.secret_id).unwrap();
    let from_file = backend(&server, &made.role_id, SecretId::File(file.clone()), |_| {});

    let backends = [text, batch, from_file];
    let begin = Instant::now();
    let mut readers = JoinSet::new();
    for backend in &backends {
        for _ in 0..READERS {
            readers.spawn(read_until(Arc::clone(backend), begin + RUN));
        }
    }
    // The first renewals were at 7 s, the first replacements will be at 14 s.
    sleep_until(begin + Duration::from_secs(10)).await;
    assert_last_renewal(&server, &audit, "text").await;
    assert_last_renewal(&server, &audit, "file").await;
    replace_secret_id(&server, &file_role, &file).await;
    let reads: usize = readers.join_all().await.into_iter().sum();
    for backend in backends {
        let details = backend.health().await.unwrap().details;
        assert!(!details.contains_key("token_last_error"), "{details:?}");
        backend.close().await.unwrap();
    }

    report(format!("{reads} reads in {RUN:?} without an error"));
    let entries = audit.entries();
    assert_renewed_and_revoked("secret id as text", &Record::of("text", &entries));
    assert_renewed_and_revoked("secret id in a file", &Record::of("file", &entries));
    assert_replaced("batch tokens", &Record::of("batch", &entries));
    assert_eq!(accessors(&server).await, before, "a token is left alive");
}

#[tokio::test]
async fn a_store_that_stands_still_within_the_margin_costs_no_login() {
    let (server, audit) = server().await;
    let made = server.approle(&role("paused")).await;
    let secret_id = SecretId::Text(made.secret_id.into());
    let backend = backend(&server, &made.role_id, secret_id, |config| {
        config.renew_margin = Duration::from_secs(3);
        config.timeout = Duration::from_millis(500);
    });
    let begin = Instant::now();
    backend.get(&kept(), &VersionSelector::Active).await.unwrap();
    // The token is due after 5.7 to 6 s and ends after 9 s.
    sleep_until(begin + Duration::from_millis(5_200)).await;
    let paused = server.pause();
    let error = backend.get(&kept(), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    sleep_until(begin + Duration::from_millis(7_700)).await;
    let resumed = SystemTime::now();
    paused.resume();
    let end = begin + TTL + Duration::from_secs(3);
    read_until(Arc::clone(&backend), end).await;
    let details = backend.health().await.unwrap().details;
    assert_eq!(details["token_logins"], "1");
    assert!(!details.contains_key("token_last_error"), "{details:?}");
    backend.close().await.unwrap();

    let record = Record::of("paused", &audit.entries());
    let lives = record.lives();
    let [life] = lives.as_slice() else { panic!("{} tokens", lives.len()) };
    assert!(life.renewals[0] >= resumed, "it was renewed before the pause");
    let left = left(life.login, life.renewals[0]);
    report(format!("after a pause over the margin's begin: renewed with {left:?} left"));
}
