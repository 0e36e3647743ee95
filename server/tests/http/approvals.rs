//! Approvals: principals ask over HTTP, and people decide there.

use std::time::{Duration, Instant};

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use strongroom::access::{NewToken, Person, Scope, TokenId};
use strongroom::{MetadataPatch, PutOptions, Tier};
use strongroom_server::ServerConfig;
use strongroom_testkit::canary::CANARY;
use strongroom_wire::ApprovalBody;

use crate::support::{ALL, Answer, Client, PATIENCE, Running, config};

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";

/// A server with the critical secret `wallet/key` of the tenant `acme`.
async fn server() -> Running {
    server_with(config()).await
}

async fn server_with(config: ServerConfig) -> Running {
    let server = Running::start_with(config).await;
    let options = PutOptions::new().metadata(MetadataPatch::new().tier(Tier::Critical));
    server.secrets.put_with("acme/wallet/key", CANARY, options).await.unwrap();
    server
}

/// A client with the token of a person of the tenant `acme`, who may decide.
async fn person(server: &Running, name: &str, scopes: &[&str]) -> Client {
    let scopes = scopes.iter().map(|scope| Scope::parse(scope).unwrap());
    let end = std::time::SystemTime::now() + Duration::from_secs(3_600);
    let new = NewToken::new(scopes, end, "a test").for_person(Person::new("acme", name).unwrap());
    let (_, token) = server.rules("acme").issue_token(new).await.unwrap();
    Client { http: reqwest::Client::new(), url: server.url.clone(), token }
}

async fn decider(server: &Running, name: &str) -> Client {
    person(server, name, &["approvals:decide"]).await
}

async fn ask(client: &Client) -> Answer {
    ask_with(client, json!({})).await
}

async fn ask_with(client: &Client, more: Value) -> Answer {
    let mut body = json!({"path": "wallet/key", "purpose": "sign order 7", "reason": "ticket 1"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    client.send(Method::POST, "/v1/approvals", body).await
}

fn id(answer: &Answer) -> &str {
    answer.body["id"].as_str().unwrap()
}

async fn decide(client: &Client, request: &Answer, verb: &str, body: Value) -> Answer {
    let path = format!("/v1/approvals/{}/{verb}", id(request));
    client.send(Method::POST, &path, body).await
}

async fn read(client: &Client) -> Answer {
    client.get("/v1/secrets/wallet/key").await
}

#[tokio::test]
async fn a_critical_secret_is_read_once_after_a_person_has_approved() {
    let server = server().await;
    let agent = server.client(&["secrets:read:wallet/*"]).await;
    let ann = decider(&server, "ann").await;
    let refused = read(&agent).await;
    assert_eq!((refused.status, refused.kind()), (403, "approval_required"), "{refused:?}");
    assert_eq!(refused.body.get("approval"), None);

    let asked = ask(&agent).await;
    assert_eq!((asked.status, asked.body["status"].as_str()), (201, Some("open")), "{asked:?}");
    let refused = read(&agent).await;
    assert_eq!(refused.kind(), "approval_required");
    assert_eq!(refused.body["approval"], asked.body["id"]);
    // Another principal is told nothing of the request.
    let other = server.client(&["secrets:read:wallet/*"]).await;
    assert_eq!(read(&other).await.body.get("approval"), None);

    let list = ann.get("/v1/approvals").await;
    assert_eq!(list.body["approvals"], json!([asked.body]));
    let seen: ApprovalBody = serde_json::from_value(asked.body.clone()).unwrap();
    assert_eq!((&*seen.action, &*seen.path, seen.quorum), ("read", "wallet/key", 1));
    assert_eq!((&*seen.purpose, &*seen.reason), ("sign order 7", "ticket 1"));
    assert!(seen.requester.starts_with("token:"), "{seen:?}");
    assert_eq!((seen.usable_for_seconds, seen.version), (None, None));

    let approved = decide(&ann, &asked, "approve", json!({})).await;
    assert_eq!((approved.status, &approved.body["status"]), (200, &json!("approved")));
    assert_eq!(approved.body["approved_by"], json!(["person:acme/ann"]));
    assert_eq!(ann.get("/v1/approvals").await.body["approvals"], json!([]));
    assert_eq!(read(&agent).await.body["value"], CANARY);
    assert_eq!(read(&agent).await.kind(), "approval_required");
    let state = agent.get(&format!("/v1/approvals/{}", id(&asked))).await;
    assert_eq!(state.body["status"], "used");
}

#[tokio::test]
async fn a_denial_tells_the_requester_why() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let ann = decider(&server, "ann").await;
    let asked = ask(&agent).await;
    assert_eq!(decide(&ann, &asked, "deny", json!({})).await.kind(), "invalid_input");
    assert_eq!(decide(&ann, &asked, "deny", json!({"reason": ""})).await.kind(), "invalid_input");
    let denied = decide(&ann, &asked, "deny", json!({"reason": "not today"})).await;
    assert_eq!((denied.status, &denied.body["status"]), (200, &json!("denied")));
    let state = agent.get(&format!("/v1/approvals/{}?wait=60", id(&asked))).await;
    assert_eq!(state.body["denied_by"], "person:acme/ann");
    assert_eq!(state.body["denied_because"], "not today");
    assert_eq!(decide(&ann, &asked, "approve", json!({})).await.kind(), "denied");
    assert_eq!(read(&agent).await.kind(), "approval_required");
}

#[tokio::test]
async fn only_the_requester_withdraws_a_request() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let ann = decider(&server, "ann").await;
    let asked = ask(&agent).await;
    let other = server.client(&[ALL]).await;
    assert_eq!(decide(&other, &asked, "withdraw", json!({})).await.kind(), "not_found");
    assert_eq!(decide(&ann, &asked, "withdraw", json!({})).await.kind(), "denied");
    let withdrawn = decide(&agent, &asked, "withdraw", json!({})).await;
    assert_eq!((withdrawn.status, &withdrawn.body["status"]), (200, &json!("withdrawn")));
    assert_eq!(decide(&ann, &asked, "approve", json!({})).await.kind(), "denied");
    assert_eq!(read(&agent).await.body.get("approval"), None);
}

#[tokio::test]
async fn a_quorum_needs_as_many_people_and_a_time_allows_many_reads() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let ann = decider(&server, "ann").await;
    let more = json!({"quorum": 2, "usable_for_seconds": 600, "open_for_seconds": 900});
    let asked = ask_with(&agent, more).await;
    assert_eq!(asked.body["usable_for_seconds"], 600);
    let first = decide(&ann, &asked, "approve", json!({})).await;
    assert_eq!((&first.body["status"], &first.body["quorum"]), (&json!("open"), &json!(2)));
    assert_eq!(first.body["approved_by"], json!(["person:acme/ann"]));
    assert_eq!(decide(&ann, &asked, "approve", json!({})).await.kind(), "conflict");
    // Another token of the same person is the same person.
    let ann_again = decider(&server, "ann").await;
    assert_eq!(decide(&ann_again, &asked, "approve", json!({})).await.kind(), "conflict");
    assert_eq!(read(&agent).await.kind(), "approval_required");
    let bob = decider(&server, "bob").await;
    assert_eq!(decide(&bob, &asked, "approve", json!({})).await.body["status"], "approved");
    for _ in 0..3 {
        assert_eq!(read(&agent).await.status, 200);
    }
}

#[tokio::test]
async fn a_requester_cannot_approve_its_own_request() {
    let server = server().await;
    let all = [ALL, "tokens:write", "approvals:decide"];
    let admin = person(&server, "admin", &all).await;
    let own = ask(&admin).await;
    assert_eq!(own.body["requester"], "person:acme/admin");
    assert_eq!(decide(&admin, &own, "approve", json!({})).await.kind(), "denied");
    // Nor one that was made with a token that they have issued.
    let new = json!({"scopes": all, "expires_in_seconds": 600, "reason": "an agent"});
    let issued = admin.send(Method::POST, "/v1/tokens", new).await;
    let token = SecretString::from(issued.body["token"].as_str().unwrap());
    let agent = Client { token, ..admin.clone() };
    let asked = ask(&agent).await;
    assert_eq!(decide(&admin, &asked, "approve", json!({})).await.kind(), "denied");
    // The token has the scope to decide, and is no person.
    assert_eq!(decide(&agent, &own, "approve", json!({})).await.kind(), "denied");
    let ann = decider(&server, "ann").await;
    assert_eq!(decide(&ann, &asked, "approve", json!({})).await.status, 200);
    assert_eq!(read(&agent).await.status, 200);
    // No person has issued a token of the host's administrator.
    let host = server.client(&[ALL]).await;
    let asked = ask(&host).await;
    assert_eq!(decide(&admin, &asked, "approve", json!({})).await.status, 200);
}

#[tokio::test]
async fn another_tenant_and_those_without_the_right_see_nothing() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let asked = ask(&agent).await;
    let foreign = server.client_of("other", &[ALL, "approvals:decide"]).await;
    let outsider = person(&server, "zoe", &["approvals:decide:other/*"]).await;
    for stranger in [&foreign, &outsider] {
        assert_eq!(stranger.get("/v1/approvals").await.body["approvals"], json!([]));
        let mut answers = Vec::new();
        for id in [id(&asked), UNKNOWN, "x", "a%20b", "ABCDEF0123456789ABCDEF0123456789"] {
            let show = stranger.get(&format!("/v1/approvals/{id}?wait=60")).await;
            assert_eq!((show.status, show.kind()), (404, "not_found"), "{id}");
            let path = format!("/v1/approvals/{id}/approve");
            let approve = stranger.send(Method::POST, &path, json!({})).await;
            let path = format!("/v1/approvals/{id}/deny");
            let deny = stranger.send(Method::POST, &path, json!({"reason": "no"})).await;
            let path = format!("/v1/approvals/{id}/withdraw");
            let withdraw = stranger.send(Method::POST, &path, json!({})).await;
            answers.push([show.body, approve.body, deny.body, withdraw.body]);
        }
        let [first, rest @ ..] = answers.as_slice() else { unreachable!() };
        assert!(rest.iter().all(|answer| answer == first), "{answers:?}");
    }
    let ann = decider(&server, "ann").await;
    let state = ann.get(&format!("/v1/approvals/{}", id(&asked))).await;
    assert_eq!(state.body["status"], "open");
}

#[tokio::test]
async fn mistakes_in_a_request_are_explained() {
    let server = server().await;
    let agent = server.client(&["secrets:read:wallet/*"]).await;
    for more in [
        json!({"path": "/"}),
        json!({"action": "steal"}),
        json!({"purpose": ""}),
        json!({"reason": "a\nb"}),
        json!({"quorum": 0}),
        json!({"quorum": 17}),
        json!({"usable_for_seconds": 0}),
        json!({"open_for_seconds": 0}),
        json!({"open_for_seconds": 31 * 86_400}),
        json!({"requester": "person:acme/ann"}),
    ] {
        assert_eq!(ask_with(&agent, more.clone()).await.kind(), "invalid_input", "{more}");
    }
    // What no rule allows is not asked for.
    assert_eq!(ask_with(&agent, json!({"action": "write"})).await.kind(), "denied");
    assert_eq!(ask_with(&agent, json!({"path": "other"})).await.kind(), "denied");
    let asked = ask(&agent).await;
    for query in ["wait=61", "wait=soon", "wait=-1", "wiat=1", "wait=1&wait=2"] {
        let answer = agent.get(&format!("/v1/approvals/{}?{query}", id(&asked))).await;
        assert_eq!(answer.kind(), "invalid_input", "{query}");
    }
}

/// A request that waits for a decision, and the time at which it began.
fn wait_for(client: &Client, request: &Answer) -> (Instant, tokio::task::JoinHandle<Answer>) {
    let (client, path) = (client.clone(), format!("/v1/approvals/{}?wait=60", id(request)));
    (Instant::now(), tokio::spawn(async move { client.get(&path).await }))
}

#[tokio::test]
async fn a_wait_ends_with_the_decision() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let ann = decider(&server, "ann").await;
    let asked = ask(&agent).await;
    let short = agent.get(&format!("/v1/approvals/{}?wait=1", id(&asked))).await;
    assert_eq!(short.body["status"], "open");
    let (began, waiting) = wait_for(&agent, &asked);
    assert_eq!(decide(&ann, &asked, "approve", json!({})).await.status, 200);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.body["status"], "approved");
    assert!(began.elapsed() < Duration::from_secs(55), "the wait ended by its time");
}

#[tokio::test]
async fn a_server_that_stops_ends_a_wait() {
    // It would let the request go on for longer.
    let mut config = config();
    config.drain = Duration::from_secs(3_600);
    let mut server = server_with(config).await;
    let agent = server.client(&[ALL]).await;
    let asked = ask(&agent).await;
    let (began, waiting) = wait_for(&agent, &asked);
    // The server has the request once another one on a connection of its own was answered; it may stop before.
    assert_eq!(read(&agent).await.kind(), "approval_required");
    server.stop();
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    // A connection that came too late is refused, at which the client panics.
    if let Ok(answer) = ended {
        assert_eq!(answer.body["status"], "open");
    }
    server.ended().await;
    assert!(began.elapsed() < Duration::from_secs(55), "the wait ended by its time");
}

#[tokio::test]
async fn a_token_that_is_revoked_meanwhile_learns_nothing() {
    let server = server().await;
    let agent = server.client(&[ALL]).await;
    let ann = decider(&server, "ann").await;
    let asked = ask(&agent).await;
    let requester = asked.body["requester"].as_str().unwrap().strip_prefix("token:").unwrap();
    let (_, waiting) = wait_for(&agent, &asked);
    let token = TokenId::parse(requester).unwrap();
    server.rules("acme").revoke_token(token).await.unwrap();
    decide(&ann, &asked, "deny", json!({"reason": "no"})).await;
    assert_eq!(waiting.await.unwrap().status, 401);
}

#[tokio::test]
async fn no_principal_issues_the_token_of_a_person() {
    let server = server().await;
    let admin = person(&server, "admin", &["secrets:*", "tokens:write", "approvals:decide"]).await;
    let new = json!({
        "scopes": ["secrets:read"], "expires_in_seconds": 60, "reason": "a", "person": "person:acme/bob"
    });
    assert_eq!(admin.send(Method::POST, "/v1/tokens", new).await.kind(), "invalid_input");
    let who = admin.get("/v1/self").await;
    assert_eq!(who.body["principal"], "person:acme/admin");
    let tokens = admin.get("/v1/tokens").await;
    assert_eq!(tokens.body["tokens"][0]["person"], "person:acme/admin");
}
