//! Deliveries to a real HTTP server, with delays that are short or never over.

mod sharing;

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use strongroom_core::ErrorKind;
use strongroom_testkit::stub::{Reply, Request, Stub};

use super::dispatcher::Limits;
use crate::{
    Access, AccessConfig, AuditQuery, AuditRecord, NewGrant, Scope, Subject, TenantName, Webhook,
    WebhookHeaders, verify_webhook,
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// The longest wait for a condition, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test.
const NEVER: i64 = 3_600_000;
/// Repeats at once, and records progress at once.
const FAST: Limits = Limits { min_delay: 20, max_delay: 100, progress: 50, ..Limits::DEFAULT };

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A server that verifies each message, and answers with a status that can change.
struct Receiver {
    stub: Stub,
    status: Arc<AtomicU16>,
    /// The ids and the payloads of the messages that it has taken.
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    fn new(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (answers, takes) = (Arc::clone(&status), Arc::clone(&taken));
        let stub = Stub::new(move |request| {
            let payload = verified(request);
            let status = answers.load(Ordering::SeqCst);
            if (200..300).contains(&status) {
                let id = request.header("webhook-id").unwrap().to_owned();
                takes.lock().unwrap().push((id, payload));
            }
            Reply::new(status, "")
        });
        Self { stub, status, taken }
    }

    fn webhook(&self, limits: Limits) -> Webhook {
        let url = format!("{}/hook", self.stub.url());
        Webhook::new("w", url, SECRET).allow_private_targets(true).limits(limits)
    }

    fn requests(&self) -> usize {
        self.stub.count(|_| true)
    }

    fn taken(&self) -> Vec<(String, Value)> {
        self.taken.lock().unwrap().clone()
    }

    /// The numbers of the records that it has taken.
    fn seqs(&self) -> Vec<u64> {
        self.taken().iter().map(|(_, payload)| payload["data"]["seq"].as_u64().unwrap()).collect()
    }

    async fn takes(&self, count: usize) {
        wait_until("the receiver takes messages", || self.taken().len() >= count).await;
    }
}

/// The payload, whose signature is right.
fn verified(request: &Request) -> Value {
    let header = |name| request.header(name).unwrap();
    let headers = WebhookHeaders {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    verify_webhook(&SECRET.into(), headers, &request.body, SystemTime::now()).unwrap();
    serde_json::from_slice(&request.body).unwrap()
}

fn in_file(folder: &Path, webhook: Webhook) -> AccessConfig {
    AccessConfig::new(folder.join("a.db"), folder.join("a.key")).webhook(webhook)
}

async fn in_memory(webhook: Webhook) -> Access {
    Access::open(AccessConfig::in_memory().webhook(webhook)).await.unwrap()
}

/// Records `grant.created`, and returns its number.
async fn grant_in(access: &Access, tenant: &str) -> u64 {
    let rules = access.administrator("host", &TenantName::parse(tenant).unwrap()).unwrap();
    let scopes = [Scope::parse("secrets:read").unwrap()];
    let grant = NewGrant::new(Subject::parse("agent:a").unwrap(), scopes, "a test");
    let grant = rules.create_grant(grant).await.unwrap();
    let records = access.audit(AuditQuery::new().event("grant.created")).await.unwrap();
    let is_its = |record: &&AuditRecord| record.details["id"] == grant.id.to_string();
    records.iter().find(is_its).unwrap().seq
}

async fn grant(access: &Access) -> u64 {
    grant_in(access, "acme").await
}

async fn records(access: &Access, event: &str) -> Vec<AuditRecord> {
    access.audit(AuditQuery::new().event(event)).await.unwrap()
}

#[tokio::test]
async fn events_wait_in_order_while_the_endpoint_is_down() {
    let receiver = Receiver::new(503);
    let access = in_memory(receiver.webhook(FAST)).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(grant(&access).await);
    }
    wait_until("it is tried again", || receiver.requests() >= 4).await;
    receiver.status.store(204, Ordering::SeqCst);
    receiver.takes(5).await;
    assert_eq!(receiver.seqs(), expected);
    let first = &receiver.taken()[0].1;
    assert_eq!(first["type"], "grant.created");
    assert_eq!(first["timestamp"], first["data"]["time"]);
    assert_eq!(first["data"]["tenant"], "acme");
    // All attempts for one event have one id.
    let ids: Vec<_> = receiver.stub.requests();
    let ids: std::collections::BTreeSet<_> =
        ids.iter().map(|it| it.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 5);
    access.verify_audit(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_refused_event_is_a_dead_letter_after_three_attempts_and_can_be_sent_again() {
    let receiver = Receiver::new(422);
    let access = in_memory(receiver.webhook(FAST)).await;
    let refused = grant(&access).await;
    wait_until("it is refused", || receiver.requests() >= 3).await;
    receiver.status.store(200, Ordering::SeqCst);
    let next = grant(&access).await;
    receiver.takes(1).await;
    assert_eq!(receiver.seqs(), [next]);
    assert_eq!(receiver.requests(), 4);
    let started = Instant::now();
    let letter = loop {
        if let Some(letter) = records(&access, "webhook.failed").await.pop() {
            break letter;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    assert_eq!(letter.details["webhook"], "w");
    assert_eq!(letter.details["seq"], refused);
    assert_eq!(letter.details["event"], "grant.created");
    assert_eq!(letter.details["attempts"], 3);
    assert_eq!(letter.details["reason"], "status 422");
    let first_id = receiver.stub.requests()[0].header("webhook-id").unwrap().to_owned();
    access.redeliver_webhook("w", refused).await.unwrap();
    assert_eq!(receiver.taken().last().unwrap().0, first_id);
    assert_eq!(receiver.seqs(), [next, refused]);
}

#[tokio::test]
async fn what_cannot_be_sent_again_says_why() {
    let receiver = Receiver::new(200);
    let access = in_memory(receiver.webhook(FAST).tenant(TenantName::parse("acme").unwrap())).await;
    let (own, foreign) = (grant(&access).await, grant_in(&access, "other").await);
    let kind =
        async |name: &str, seq| access.redeliver_webhook(name, seq).await.unwrap_err().kind();
    assert_eq!(kind("none", own).await, ErrorKind::NotFound);
    // Those of another tenant, of other events, and none.
    for seq in [foreign, 1, 0, 99] {
        assert_eq!(kind("w", seq).await, ErrorKind::NotFound, "{seq}");
    }
    for (status, is_temporary) in [(503, true), (404, false), (410, false)] {
        receiver.status.store(status, Ordering::SeqCst);
        let error = access.redeliver_webhook("w", own).await.unwrap_err();
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, is_temporary));
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    access.close().await;
    assert_eq!(kind("w", own).await, ErrorKind::Closed);
}

#[tokio::test]
async fn a_webhook_of_one_tenant_gets_nothing_of_others() {
    let receiver = Receiver::new(200);
    let access = in_memory(receiver.webhook(FAST).tenant(TenantName::parse("acme").unwrap())).await;
    grant_in(&access, "other").await;
    let own = grant(&access).await;
    receiver.takes(1).await;
    assert_eq!(receiver.seqs(), [own]);
}

#[tokio::test]
async fn a_webhook_for_events_that_there_are_not_yet_gets_nothing() {
    let receiver = Receiver::new(200);
    let access = in_memory(receiver.webhook(FAST).events(["rotation.*"])).await;
    let seq = grant(&access).await;
    let error = access.redeliver_webhook("w", seq).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Longer than it takes to look at the log.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.requests(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let behind = Receiver::new(200);
    let url = behind.stub.url();
    let front = Stub::new(move |_| Reply::new(307, "").header("Location", &url));
    let webhook = Webhook::new("w", front.url(), SECRET).allow_private_targets(true);
    let access = in_memory(webhook.limits(FAST)).await;
    grant(&access).await;
    wait_until("it is refused", || front.count(|_| true) >= 3).await;
    assert_eq!(behind.requests(), 0);
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_when_it_is_resolved() {
    let stub = Stub::new(|_| Reply::new(200, ""));
    let url = format!("https://localhost:{}/hook", stub.address().port());
    let access = in_memory(Webhook::new("w", url, SECRET).limits(FAST)).await;
    let seq = grant(&access).await;
    let error = access.redeliver_webhook("w", seq).await.unwrap_err();
    assert!(error.cause().contains("no address that is allowed"), "{error}");
    assert_eq!(stub.count(|_| true), 0);
}

#[tokio::test]
async fn closing_waits_neither_for_an_answer_nor_for_a_delay() {
    let silent = Stub::new(|_| Reply::silence());
    let failing = Receiver::new(500);
    let slow = Limits { min_delay: NEVER, max_delay: NEVER, ..Limits::DEFAULT };
    let webhook = Webhook::new("silent", silent.url(), SECRET).allow_private_targets(true);
    let config = AccessConfig::in_memory().webhook(webhook).webhook(failing.webhook(slow));
    let access = Access::open(config).await.unwrap();
    grant(&access).await;
    wait_until("both were called", || silent.count(|_| true) + failing.requests() >= 2).await;
    let started = Instant::now();
    access.close().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_idle_webhook_writes_nothing() {
    let receiver = Receiver::new(200);
    let access = in_memory(receiver.webhook(FAST)).await;
    grant(&access).await;
    receiver.takes(1).await;
    let count = async || access.audit(AuditQuery::new()).await.unwrap().len();
    // The beginning of the webhook, the grant, the claim, and the progress.
    let started = Instant::now();
    while count().await < 4 {
        assert!(started.elapsed() < PATIENCE);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(count().await, 4);
}

#[tokio::test]
async fn problems_name_what_is_wrong_and_show_no_secret() {
    let open = async |webhook: Webhook| {
        let error = Access::open(AccessConfig::in_memory().webhook(webhook)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("/path"), "{text}");
        error.problems().to_vec()
    };
    let url = "https://hooks.example.com/path-hunter2";
    let problems =
        open(Webhook::new("a b", "http://example.com/path", "hunter2").events(["x.*"])).await;
    let [name, at, secret, events] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(name.contains("name of a webhook"), "{name}");
    assert!(at.starts_with("`Webhook::new`") && at.contains("https"), "{at}");
    assert!(secret.contains("whsec_"), "{secret}");
    assert!(events.contains("`x.*`"), "{events}");
    let file = Webhook::with_secret_file("w", url, "/none/file");
    assert!(open(file).await[0].contains("Webhook::with_secret_file"));
    let shown = format!("{:?}", Webhook::new("w", url, SECRET));
    assert!(shown.contains("https://hooks.example.com\""), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("C2FV"), "{shown}");
    let twice = AccessConfig::in_memory()
        .webhook(Webhook::new("w", url, SECRET))
        .webhook(Webhook::new("w", url, SECRET));
    let error = Access::open(twice.clone()).await.unwrap_err();
    assert!(error.to_string().contains("two webhooks"), "{error}");
    Access::open(twice.without_webhooks()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_is_read_from_a_file_that_others_cannot_access() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let set_mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let receiver = Receiver::new(200);
    let webhook = || {
        let url = receiver.stub.url();
        Webhook::with_secret_file("w", url, &file).allow_private_targets(true).limits(FAST)
    };
    set_mode(0o644);
    let error = Access::open(AccessConfig::in_memory().webhook(webhook())).await.unwrap_err();
    assert!(error.problems()[0].contains("chmod 600"), "{error}");
    set_mode(0o600);
    let access = in_memory(webhook()).await;
    grant(&access).await;
    receiver.takes(1).await;
}
