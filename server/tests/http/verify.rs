//! Verification of the audit, and checkpoints.

use reqwest::Method;
use serde_json::json;
use strongroom::access::{SignedCheckpoint, VerifyingKey};
use strongroom_testkit::canary::CANARY;

use crate::support::{ALL, Running};

const VERIFY: &str = "/v1/audit/verify";

#[tokio::test]
async fn the_audit_is_verified_against_a_checkpoint_that_was_kept() {
    let server = Running::start().await;
    let client = server.client(&[ALL, "audit:read"]).await;
    client.put("a", json!({"value": CANARY})).await;
    let signed = client.get("/v1/audit/checkpoint").await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let text = signed.body["checkpoint"].as_str().unwrap();
    let key = VerifyingKey::parse(signed.body["key"].as_str().unwrap()).unwrap();
    let checkpoint = SignedCheckpoint::parse(text).unwrap().verify(&key).unwrap();
    assert_eq!(signed.body["seq"], checkpoint.seq);

    let found = client.send(Method::POST, VERIFY, json!({"checkpoints": [text]})).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(found.body["first"], 1);
    assert_eq!(found.body["checkpoints_checked"], 1);
    assert_eq!(found.body["last_checkpointed"], checkpoint.seq);
    assert!(found.body["last"].as_u64().unwrap() > checkpoint.seq);
    assert_eq!(found.body["records"], found.body["last"]);
    // Without a body there is none.
    let bare = client.request(Method::POST, VERIFY).send().await.unwrap();
    let bare = crate::support::Answer::of(bare).await;
    assert_eq!((bare.status, &bare.body["checkpoints_checked"]), (200, &json!(0)));
    assert_eq!(bare.body.get("last_checkpointed"), None);
}

#[tokio::test]
async fn a_log_that_is_not_that_of_the_checkpoint_is_corrupt() {
    let (server, other) = (Running::start().await, Running::start().await);
    let client = server.client(&["audit:read"]).await;
    let (foreign, _) = other.access.sign_checkpoint().await.unwrap();
    let checkpoints = json!({"checkpoints": [foreign.as_str()]});
    let found = client.send(Method::POST, VERIFY, checkpoints).await;
    assert_eq!((found.status, found.kind()), (500, "corrupt"));
    assert!(!found.body["detail"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn only_who_may_read_the_audit_verifies_it() {
    let server = Running::start().await;
    let client = server.client(&[ALL, "grants:write", "tokens:write"]).await;
    assert_eq!(client.send(Method::POST, VERIFY, json!({})).await.status, 403);
    assert_eq!(client.get("/v1/audit/checkpoint").await.status, 403);
    let auditor = server.client(&["audit:read"]).await;
    for body in [json!({"checkpoints": ["x"]}), json!({"checkpoint": []}), json!([])] {
        let answer = auditor.send(Method::POST, VERIFY, body).await;
        assert_eq!((answer.status, answer.kind()), (400, "invalid_input"));
    }
    let many = json!({"checkpoints": vec!["x"; 101]});
    assert_eq!(auditor.send(Method::POST, VERIFY, many).await.status, 400);
}
