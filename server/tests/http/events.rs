//! What a server tells of events.

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use strongroom::access::TokenId;
use strongroom_core::Tier;
use strongroom_testkit::canary::{self, CANARY};
use tokio::time::timeout;

use crate::support::{ALL, Client, PATIENCE, Running};

const AUDITOR: [&str; 2] = [ALL, "audit:read"];

/// One event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Event {
    /// What the record is about.
    fn path(&self) -> &str {
        self.data["path"].as_str().unwrap_or_default()
    }
}

/// A client that listens.
struct Listening {
    response: Response,
    received: String,
}

impl Listening {
    async fn start(client: &Client, query: &str) -> Self {
        Self::resume(client, query, None).await
    }

    async fn resume(client: &Client, query: &str, last: Option<u64>) -> Self {
        let mut request = client.request(Method::GET, &format!("/v1/events{query}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut this = Self { response, received: String::new() };
        assert_eq!(this.next().await.unwrap().name, "listening");
        this
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.received.find("\n\n") {
                let event = parse(&self.received[..end]);
                self.received.drain(..end + 2);
                if event.is_some() {
                    return event;
                }
            }
            let piece = timeout(PATIENCE, self.response.chunk()).await.unwrap().unwrap()?;
            assert_eq!(canary::find(&piece), None);
            self.received += std::str::from_utf8(&piece).unwrap();
        }
    }

    /// The paths of the next events, until one is about this path.
    async fn until(&mut self, path: &str) -> Vec<String> {
        let mut paths = Vec::new();
        while paths.last().map(String::as_str) != Some(path) {
            paths.push(self.next().await.unwrap().path().to_owned());
        }
        paths
    }
}

/// An event; `None` for a comment.
fn parse(text: &str) -> Option<Event> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let lines: BTreeMap<_, _> = lines.collect();
    let data = serde_json::from_str(lines.get("data")?).unwrap();
    let id = lines["id"].parse().unwrap();
    Some(Event { id, name: lines["event"].to_owned(), data })
}

#[tokio::test]
async fn events_arrive_as_they_are_recorded() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    client.put("before", json!({"value": CANARY})).await;
    let mut listening = Listening::start(&client, "").await;
    client.put("a/b", json!({"value": CANARY})).await;
    client.get("/v1/secrets/a/b").await;
    let reader = server.client(&["secrets:read:x"]).await;
    assert_eq!(reader.get("/v1/secrets/a/b").await.status, 403);
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Event| event.name != "vault.denied") {
        events.push(listening.next().await.unwrap());
    }
    let names: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.path())).collect();
    let expected = [
        ("vault.accessed", "a/b"),
        ("vault.accessed", "a/b"),
        ("token.issued", ""),
        ("vault.denied", "a/b"),
    ];
    assert_eq!(names, expected);
    // The data is the record as the audit has it.
    let last = events.last().unwrap();
    let audit = client.get(&format!("/v1/audit?after={}&limit=1", last.id - 1)).await;
    assert_eq!(audit.body["records"][0], last.data);
    assert_eq!(last.data["seq"], last.id);
}

#[tokio::test]
async fn a_client_that_connects_again_misses_and_repeats_nothing() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    let mut listening = Listening::start(&client, "?event=vault.accessed&below=n").await;
    client.put("n/0", json!({"value": CANARY})).await;
    let first = listening.next().await.unwrap();
    assert_eq!(first.path(), "n/0");
    drop(listening);
    for number in 1..20 {
        client.put(&format!("n/{number}"), json!({"value": CANARY})).await;
    }
    // The header wins over the query, which a browser sends again as it was.
    let query = "?event=vault.accessed&below=n&after=0";
    let mut again = Listening::resume(&client, query, Some(first.id)).await;
    let mut expected: Vec<_> = (1..20).map(|number| format!("n/{number}")).collect();
    assert_eq!(again.until("n/19").await, expected);
    // Also what comes from then on, and from the beginning with `after` alone.
    client.put("n/20", json!({"value": CANARY})).await;
    assert_eq!(again.until("n/20").await, ["n/20"]);
    let mut all = Listening::start(&client, query).await;
    expected.insert(0, "n/0".to_owned());
    expected.push("n/20".to_owned());
    assert_eq!(all.until("n/20").await, expected);
}

#[tokio::test]
async fn a_listener_hears_of_its_own_tenant_alone() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    let stranger = server.client_of("other", &AUDITOR).await;
    let mut listening = Listening::start(&client, "?after=0").await;
    stranger.put("theirs", json!({"value": CANARY})).await;
    client.put("ours", json!({"value": CANARY})).await;
    loop {
        let event = listening.next().await.unwrap();
        assert_eq!(event.data["tenant"], "acme", "{event:?}");
        if event.path() == "ours" {
            break;
        }
    }
}

#[tokio::test]
async fn without_the_right_to_the_audit_a_listener_hears_what_it_does_itself() {
    let server = Running::start().await;
    let owner = server.client(&AUDITOR).await;
    let agent = server.client(&["secrets:read:shared"]).await;
    let before = owner.get("/v1/audit").await.body["records"].as_array().unwrap().len();
    let mut listening = Listening::start(&agent, "").await;
    let after = owner.get("/v1/audit").await.body["records"].as_array().unwrap().len();
    assert_eq!(after, before + 1, "listening is recorded, or refused");
    // What others do with a secret that it may read is theirs.
    owner.put("shared", json!({"value": CANARY})).await;
    owner.put("secret", json!({"value": CANARY})).await;
    agent.get("/v1/secrets/secret").await;
    agent.get("/v1/secrets/shared").await;
    let heard: Vec<_> = [listening.next().await.unwrap(), listening.next().await.unwrap()].into();
    let principal = agent.get("/v1/self").await.body["principal"].clone();
    assert!(heard.iter().all(|event| event.data["principal"] == principal), "{heard:?}");
    assert_eq!((heard[0].name.as_str(), heard[0].path()), ("vault.denied", "secret"));
    assert_eq!((heard[1].name.as_str(), heard[1].path()), ("vault.accessed", "shared"));
}

#[tokio::test]
async fn without_the_right_to_the_audit_a_listener_hears_of_the_end_of_what_it_may_read() {
    let server = Running::start().await;
    let owner = server.client(&AUDITOR).await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(600);
    let soon = strongroom_core::Rfc3339::seconds(soon).to_string();
    for path in ["shared", "secret"] {
        let metadata = json!({"expires_at": soon, "tier": Tier::Standard.as_str()});
        let put = owner.put(path, json!({"value": CANARY, "metadata": metadata})).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    let agent = server.client(&["secrets:read:shared"]).await;
    let mut few = Listening::start(&agent, "?event=secret.expiring").await;
    let mut all = Listening::start(&owner, "?event=secret.expiring").await;
    server.access.record_expiring(&server.secrets).await.unwrap();
    let heard = [all.next().await.unwrap(), all.next().await.unwrap()];
    let mut paths = heard.each_ref().map(Event::path);
    paths.sort_unstable();
    assert_eq!(paths, ["secret", "shared"]);
    assert_eq!(few.next().await.unwrap().path(), "shared");
}

#[tokio::test]
async fn a_denial_tells_who_was_denied_no_more_than_the_answer_did() {
    let server = Running::start().await;
    let owner = server.client(&AUDITOR).await;
    let secret = json!({"value": "v", "metadata": {"tier": "critical"}});
    assert_eq!(owner.put("guarded", secret).await.status, 200);
    let job = server.client(&["secrets:read:guarded"]).await;
    let (mut of_owner, mut of_job) =
        (Listening::start(&owner, "").await, Listening::start(&job, "").await);
    assert_eq!(job.get("/v1/secrets/guarded").await.kind(), "approval_required");
    for (listening, tier) in [(&mut of_owner, Some("critical")), (&mut of_job, None)] {
        let denied = loop {
            let event = listening.next().await.unwrap();
            if event.name == "vault.denied" {
                break event;
            }
        };
        let details = &denied.data["details"];
        assert_eq!(details["denial"], "needs_approval");
        assert_eq!(details.get("tier").and_then(Value::as_str), tier, "{details}");
    }
}

#[tokio::test]
async fn listening_by_the_right_to_the_audit_is_recorded_once() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    let mut listening = Listening::start(&client, "").await;
    client.put("a", json!({"value": CANARY})).await;
    assert_eq!(listening.until("a").await, ["a"]);
    let read = client.get("/v1/audit?event=audit.read").await;
    // This read itself is the second.
    assert_eq!(read.body["records"].as_array().unwrap().len(), 2, "{read:?}");
}

#[tokio::test]
async fn the_end_of_a_token_and_of_the_server_ends_a_listener() {
    let mut server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    let token = server.rules("acme").tokens().unwrap()[0].id;
    let mut listening = Listening::start(&client, "").await;
    let other = server.client(&AUDITOR).await;
    let mut others = Listening::start(&other, "?event=token.revoked").await;
    server.rules("acme").revoke_token(token).await.unwrap();
    let revoked = others.next().await.unwrap();
    assert_eq!(TokenId::parse(revoked.data["details"]["id"].as_str().unwrap()).unwrap(), token);
    // It hears nothing of its own end or later.
    while let Some(event) = listening.next().await {
        assert_ne!(event.name, "token.revoked");
    }
    server.stop();
    while others.next().await.is_some() {}
    server.ended().await;
}

#[tokio::test]
async fn a_listener_is_told_which_records_are_not_there() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    for number in 0..5 {
        client.put(&format!("n/{number}"), json!({"value": CANARY})).await;
    }
    let removed = server.access.prune_audit(std::time::SystemTime::now(), "test").await.unwrap();
    assert!(removed >= 5, "{removed}");
    client.put("kept", json!({"value": CANARY})).await;
    let mut listening = Listening::start(&client, "?after=1").await;
    let gap = listening.next().await.unwrap();
    assert_eq!((gap.name.as_str(), gap.id), ("gap", removed));
    assert_eq!(gap.data, json!({"after": 1, "first": removed + 1}));
    assert_eq!(listening.until("kept").await.last().unwrap(), "kept");
    // An id of another log, or of one that was replaced by an older copy.
    let mut beyond = Listening::resume(&client, "?event=vault.accessed", Some(1_000_000)).await;
    assert_eq!(beyond.next().await.unwrap().name, "gap");
    client.put("later", json!({"value": CANARY})).await;
    assert_eq!(beyond.until("later").await, ["later"]);
}

#[tokio::test]
async fn many_records_reach_a_listener_that_resumes_in_their_order() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    client.put("a", json!({"value": CANARY})).await;
    let many = vec!["a"; 1_000];
    for _ in 0..3 {
        let read = client.send(Method::POST, "/v1/batch", json!({"paths": many})).await;
        assert_eq!(read.status, 200);
    }
    let mut listening = Listening::start(&client, "?after=0&event=vault.accessed").await;
    client.put("end", json!({"value": CANARY})).await;
    let mut events = vec![listening.next().await.unwrap()];
    while events.last().is_none_or(|event| event.path() != "end") {
        events.push(listening.next().await.unwrap());
    }
    assert_eq!(events.len(), 3_002);
    assert!(events.is_sorted_by(|a, b| a.id < b.id));
}

#[tokio::test]
async fn mistakes_in_the_question_are_explained() {
    let server = Running::start().await;
    let client = server.client(&AUDITOR).await;
    for query in ["?after=x", "?path=a&below=b", "?path=/", "?limit=1", "?after=1&after=2"] {
        let answer = client.get(&format!("/v1/events{query}")).await;
        assert_eq!((answer.status, answer.kind()), (400, "invalid_input"), "{query}");
    }
    let request = client.request(Method::GET, "/v1/events").header("Last-Event-ID", "-1");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 400);
    let stranger = reqwest::get(format!("{}/v1/events", server.url)).await.unwrap();
    assert_eq!(stranger.status().as_u16(), 401);
}
