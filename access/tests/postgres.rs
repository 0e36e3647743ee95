//! Rules in a PostgreSQL database that several hosts share.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[expect(dead_code, reason = "the attacks use more of it")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use strongroom_access::{
    Access, AccessConfig, AuditQuery, GrantId, KeySource, NewGrant, SignedCheckpoint,
    SpiffeTemplate, Subject,
};
use strongroom_core::{Error, ErrorKind, Tier};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::postgres::Server;
use strongroom_testkit::proxy::Proxy;
use support::{Host, PATIENCE, path, read, refusal, scopes, wait_until};
use tokio::task::JoinHandle;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn url(server: &Server, hosts: &str) -> SecretString {
    format!("postgresql://{}:{}@{hosts}/postgres", server.user(), server.password()).into()
}

fn with_template(config: AccessConfig) -> AccessConfig {
    let template = "spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}";
    config.template(SpiffeTemplate::parse(template).unwrap())
}

fn at(url: SecretString) -> AccessConfig {
    with_template(AccessConfig::with_database(url, KeySource::Key(KEY.into())))
}

fn on(server: &Server) -> AccessConfig {
    at(url(server, &server.address().to_string()))
}

/// Opens rules that do not open. The error, which shows no password.
async fn refuse(config: AccessConfig) -> Error {
    let shown = format!("{config:?}");
    assert!(!shown.contains(CANARY), "a password in `Debug` of a configuration");
    let error = Access::open(config).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "a password in an error");
    error
}

async fn try_grant(host: &Host, subject: &str) -> Result<GrantId, Error> {
    let subject = Subject::parse(subject).unwrap();
    let grant = NewGrant::new(subject, scopes(&["secrets:read"]), "a test");
    host.rules.create_grant(grant).await.map(|grant| grant.id)
}

/// The subjects of all grants that the audit has, sorted.
async fn recorded(host: &Host) -> Vec<String> {
    let (mut subjects, mut after) = (Vec::new(), 0);
    loop {
        let query = AuditQuery::new().event("grant.created").after(after);
        let page = host.access.audit(query).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        subjects.extend(page.iter().map(|record| {
            let details = &record.details;
            details["subject"].as_str().unwrap_or_else(|| panic!("{details}")).to_owned()
        }));
    }
    subjects.sort();
    subjects
}

#[tokio::test]
async fn hosts_that_share_a_database_follow_each_other() {
    let server = Server::start().await;
    let one = Host::open(on(&server)).await;
    let other = one.again(on(&server)).await;
    one.put("acme/a", Tier::Standard).await;
    let agent = other.agent("acme/a/b");
    assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied));
    let grant = one.grant("agent:a", &["secrets:read"]).await;
    let begin = Instant::now();
    while refusal(&agent, "a").await.is_some() {
        assert!(begin.elapsed() < PATIENCE, "the grant is not in force at the other host");
    }
    assert_eq!(read(&agent, "a").await.unwrap(), "value");
    one.rules.delete_grant(grant.id).await.unwrap();
    let begin = Instant::now();
    while refusal(&agent, "a").await.is_none() {
        assert!(begin.elapsed() < PATIENCE, "the deletion is not in force at the other host");
    }
    // What one host records, the other one reads.
    let reads = AuditQuery::new().event("vault.accessed").path(&path("a"));
    let seen = one.access.audit(reads.clone()).await.unwrap();
    assert!(!seen.is_empty());
    assert_eq!(seen.len(), other.access.audit(reads).await.unwrap().len());
    one.verify().await;
    other.access.close().await;
    assert_eq!(refusal(&one.agent("acme/a/b"), "a").await, Some(ErrorKind::Denied));
    one.access.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_several_hosts_leave_no_gap() {
    const EACH: usize = 25;
    let server = Server::start().await;
    let hosts = [Host::open(on(&server)).await, Host::open(on(&server)).await];
    let third = Host::open(on(&server)).await;
    let mut tasks = Vec::new();
    for (number, host) in hosts.iter().chain([&third]).enumerate() {
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            for grant in 0..EACH {
                host.grant(&format!("agent:a{number}-{grant}"), &["secrets:read"]).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let found = third.access.verify_audit(Vec::new()).await.unwrap();
    assert_eq!((found.first, found.last, found.rows), (1, 75, 75));
    let subjects = recorded(&hosts[0]).await;
    assert_eq!(subjects.len(), 3 * EACH);
    third.rules.tokens().unwrap();
    // What is pruned at one host stays in force at all.
    hosts[0].put("acme/a", Tier::Standard).await;
    let removed = third.access.prune_audit(std::time::SystemTime::now(), "ann").await.unwrap();
    assert!(removed >= 75, "{removed}");
    let agent = hosts[0].agent("acme/a1-7/b");
    assert_eq!(read(&agent, "a").await.unwrap(), "value");
    hosts[1].verify().await;
}

/// A task that grants, each time to a name of its own.
struct Writer {
    is_done: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<Vec<String>>,
}

impl Writer {
    fn start(host: Host) -> Self {
        let (is_done, acknowledged) = (Arc::default(), Arc::default());
        let task = Self::grant(host, Arc::clone(&is_done), Arc::clone(&acknowledged));
        Self { is_done, acknowledged, task: tokio::spawn(task) }
    }

    async fn grant(
        host: Host,
        is_done: Arc<AtomicBool>,
        acknowledged: Arc<AtomicUsize>,
    ) -> Vec<String> {
        let mut subjects = Vec::new();
        for number in 0_usize.. {
            if is_done.load(Ordering::SeqCst) {
                break;
            }
            let subject = format!("agent:n{number}");
            match try_grant(&host, &subject).await {
                Ok(_) => {
                    subjects.push(subject);
                    acknowledged.store(subjects.len(), Ordering::SeqCst);
                }
                Err(error) => {
                    assert!(error.is_temporary(), "{error}");
                    let shown = format!("{error} {error:?}");
                    assert!(!shown.contains(CANARY), "a password in an error");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        subjects
    }

    /// How many grants were acknowledged so far.
    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops it. The names of the grants that were acknowledged.
    async fn stop(self) -> Vec<String> {
        self.is_done.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

/// Fails unless the audit has each acknowledged grant once, and verifies.
async fn check_acknowledged(host: &Host, acknowledged: &[String]) {
    let recorded = recorded(host).await;
    for subject in acknowledged {
        let times = recorded.iter().filter(|other| *other == subject).count();
        assert_eq!(times, 1, "{subject}");
    }
    host.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_acknowledged_record() {
    let mut server = Server::start().await;
    let host = Host::open(on(&server)).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:read"]).await;
    let agent = host.agent("acme/a/b");
    let writer = Writer::start(host.clone());
    for _ in 0..2 {
        let before = writer.acknowledged();
        wait_until("the writer goes on", || writer.acknowledged() > before + 3).await;
        server.kill();
        // Nothing is decided for longer than the rules may be used without a look at the log.
        let begin = Instant::now();
        while refusal(&agent, "a").await.is_none() {
            assert!(begin.elapsed() < PATIENCE, "reads go on without a record");
        }
        server.start_again().await;
        let begin = Instant::now();
        while refusal(&agent, "a").await.is_some() {
            assert!(begin.elapsed() < PATIENCE, "reads do not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    check_acknowledged(&host, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_record_is_written_twice_if_connections_are_cut() {
    let server = Server::start().await;
    let proxy = Proxy::new(server.address());
    let host = Host::open(at(url(&server, &proxy.address().to_string()))).await;
    let writer = Writer::start(host);
    let begin = Instant::now();
    let mut pause = Duration::from_millis(20);
    for cut in 0.. {
        if cut >= 40 && writer.acknowledged() > 5 && proxy.connections() > 5 {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{} grants", writer.acknowledged());
        tokio::time::sleep(pause).await;
        proxy.reset_existing();
        // A machine under load needs longer for a write.
        pause += pause / 16;
    }
    let direct = Host::open(on(&server)).await;
    check_acknowledged(&direct, &writer.stop().await).await;
}

#[tokio::test]
async fn tampering_by_sql_is_found() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints");
    let hour = Duration::from_secs(3_600);
    let config = || on(&server).checkpoints(&file, hour);
    let host = Host::open(config()).await;
    for agent in ["a", "b", "c", "d"] {
        host.grant(&format!("agent:{agent}"), &["secrets:read"]).await;
    }
    let (signed, _) = host.access.sign_checkpoint().await.unwrap();
    let found = async |checkpoints: Vec<SignedCheckpoint>| {
        host.access.verify_audit(checkpoints).await.map(|found| found.last)
    };
    let kind = async |checkpoints| found(checkpoints).await.unwrap_err().kind();
    assert_eq!(found(vec![signed.clone()]).await.unwrap(), 4);
    server.sql("CREATE TABLE saved AS SELECT * FROM strongroom_access.rows");
    let restore = "DELETE FROM strongroom_access.rows; \
                   INSERT INTO strongroom_access.rows SELECT * FROM saved";
    for damage in [
        "UPDATE strongroom_access.rows SET body = replace(encode(body, 'escape'), 'agent:b', 'agent:x')::bytea \
         WHERE seq = 2",
        "DELETE FROM strongroom_access.rows WHERE seq = 3",
        "DELETE FROM strongroom_access.rows WHERE seq = 4",
    ] {
        server.sql(damage);
        assert_eq!(kind(Vec::new()).await, ErrorKind::Corrupt, "{damage}");
        assert_eq!(refuse(config()).await.kind(), ErrorKind::Corrupt, "{damage}");
        server.sql(restore);
        found(Vec::new()).await.unwrap();
    }
    host.access.close().await;
    let host = Host::open(config()).await;
    let cut = "DELETE FROM strongroom_access.rows WHERE seq = 4; UPDATE strongroom_access.head SET last = 3";
    server.sql(cut);
    // A host that has seen the end stops, and one with a checkpoint does not start.
    let agent = host.actor("acme/a/b");
    wait_until("decisions stop", || {
        agent.explain(strongroom_access::Action::Read, &path("a")).rule.is_none()
    })
    .await;
    assert_eq!(refuse(config()).await.kind(), ErrorKind::Corrupt);
    let without = Host::open(on(&server)).await;
    assert_eq!(without.access.verify_audit(Vec::new()).await.unwrap().last, 3);
    let error = without.access.verify_audit(vec![signed]).await.unwrap_err();
    assert!(error.to_string().contains("were cut off"), "{error}");
}

fn with_key_file(url: SecretString, folder: &Path) -> AccessConfig {
    AccessConfig::with_database(url, KeySource::File(folder.join("access.key")))
}

#[tokio::test]
async fn a_key_file_is_created_with_a_new_log_alone() {
    let server = Server::start().await;
    let hosts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let config = |host: usize| {
        with_key_file(url(&server, &server.address().to_string()), hosts[host].path())
    };
    assert_eq!(refuse(config(0).create(false)).await.kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(hosts[0].path()).unwrap().count(), 0);
    let first = Host::open(config(0)).await;
    first.grant("agent:a", &["secrets:read"]).await;
    let error = refuse(config(1)).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("copy it from a host that has it"), "{error}");
    assert_eq!(std::fs::read_dir(hosts[1].path()).unwrap().count(), 0);
    std::fs::copy(hosts[0].path().join("access.key"), hosts[1].path().join("access.key")).unwrap();
    let second = Host::open(config(1).create(false)).await;
    assert_eq!(second.count("grant.created").await, 1);
    let wrong = AccessConfig::with_database(
        url(&server, &server.address().to_string()),
        KeySource::Key(KEY.into()),
    );
    assert_eq!(refuse(wrong).await.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn each_problem_of_a_database_has_its_kind_and_shows_no_password() {
    let server = Server::start().await;
    let address = server.address().to_string();
    let right = url(&server, &address);
    let right = right.expose_secret();
    let refused = async |url: &str| refuse(at(url.into())).await.kind();
    let wrong = right.replacen(CANARY, &format!("{CANARY}x"), 1);
    assert_eq!(refused(&wrong).await, ErrorKind::Unauthenticated);
    let nowhere = right.replace(&format!("{address}/postgres"), &format!("{address}/nowhere"));
    assert_eq!(refused(&nowhere).await, ErrorKind::Config);
    assert_eq!(refused(&right.replace(&address, "127.0.0.1:1")).await, ErrorKind::Unavailable);
    assert_eq!(refused(&format!("{right}?sslmode=unknown")).await, ErrorKind::Config);
    server.sql(&format!("CREATE ROLE service LOGIN PASSWORD '{CANARY}'"));
    let service = format!("postgresql://service:{CANARY}@{address}/postgres");
    assert_eq!(refused(&service).await, ErrorKind::Denied);
    let ca = at(right.into()).ca_cert("/nowhere/ca.pem");
    let error = refuse(ca).await;
    assert!(
        error.to_string().contains("`AccessConfig::ca_cert` (file `/nowhere/ca.pem`)"),
        "{error}"
    );
    let in_file = AccessConfig::new("/nowhere/access.db", "/nowhere/access.key");
    let error = refuse(in_file.ca_cert("/nowhere/ca.pem")).await;
    assert!(error.to_string().contains("`AccessConfig::ca_cert` needs"), "{error}");
}

/// Two hosts with one webhook: each event is delivered once, and the other host takes over.
#[tokio::test]
async fn webhooks_are_delivered_from_a_database_by_one_host_at_a_time() {
    use strongroom_access::Webhook;
    use strongroom_testkit::stub::{Reply, Stub};

    let server = Server::start().await;
    let stub = Stub::new(|_| Reply::new(204, ""));
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let with_webhook = || {
        let webhook = Webhook::new("default", stub.url(), secret).allow_private_targets(true);
        on(&server).webhook(webhook)
    };
    let one = Host::open(with_webhook()).await;
    let other = one.again(with_webhook()).await;
    for (host, subject) in [(&one, "agent:a"), (&other, "agent:b"), (&one, "agent:c")] {
        host.grant(subject, &["secrets:read"]).await;
    }
    wait_until("the deliveries", || stub.count(|_| true) >= 3).await;
    one.access.close().await;
    other.grant("agent:d", &["secrets:read"]).await;
    wait_until("the delivery of the other host", || stub.count(|_| true) >= 4).await;
    other.access.close().await;
    let mut ids: Vec<_> =
        stub.requests().iter().map(|it| it.header("webhook-id").unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), stub.count(|_| true), "each event is delivered once");
}
