//! Tokens, grants and the audit of a server.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{ALL, Client, Running};

const ADMINISTRATOR: [&str; 5] =
    ["secrets:*", "grants:write", "tokens:write", "approvals:decide", "audit:read"];

#[tokio::test]
async fn a_token_is_issued_used_and_revoked() {
    let server = Running::start().await;
    let owner = server.client(&ADMINISTRATOR).await;
    owner.put("a", json!({"value": "v"})).await;
    let new = json!({"scopes": ["secrets:read:a"], "expires_in_seconds": 600, "reason": "a job"});
    let issued = owner.send(Method::POST, "/v1/tokens", new).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let token = SecretString::from(issued.body["token"].as_str().unwrap());
    let job = Client { token, ..owner.clone() };
    assert_eq!(job.get("/v1/secrets/a").await.status, 200);
    let who = job.get("/v1/self").await;
    assert_eq!(who.body["tenant"], "acme");

    // The list shows no text of a token, and only who may read it gets it.
    let listed = owner.get("/v1/tokens").await;
    let tokens = listed.body["tokens"].as_array().unwrap();
    let id = issued.body["id"].as_str().unwrap();
    let own = tokens.iter().find(|token| token["id"] == id).unwrap();
    assert_eq!(own["scopes"], json!(["secrets:read:a"]));
    assert_eq!(own.get("token"), None);
    assert!(own.get("hash").is_none());
    assert_eq!(job.get("/v1/tokens").await.status, 403);
    // It cannot give what it has not.
    let more = json!({"scopes": [ALL], "expires_in_seconds": 60, "reason": "more"});
    assert_eq!(job.send(Method::POST, "/v1/tokens", more).await.status, 403);

    assert_eq!(
        owner.send(Method::DELETE, &format!("/v1/tokens/{id}"), json!({})).await.status,
        204
    );
    assert_eq!(job.get("/v1/secrets/a").await.status, 401);
    let again = owner.send(Method::DELETE, &format!("/v1/tokens/{id}"), json!({})).await;
    assert_eq!(again.status, 404);
    let unknown = owner.send(Method::DELETE, "/v1/tokens/x", json!({})).await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn mistakes_in_a_new_token_are_explained() {
    let server = Running::start().await;
    let owner = server.client(&ADMINISTRATOR).await;
    let late = SystemTime::now() + Duration::from_secs(400 * 86_400);
    let late = strongroom_core::Rfc3339::seconds(late).to_string();
    for body in [
        json!({"scopes": ["secrets:read"], "reason": "no end"}),
        json!({"scopes": ["secrets:read"], "expires_at": "soon", "reason": "a"}),
        json!({"scopes": ["secrets:read"], "expires_at": late, "reason": "too late"}),
        json!({"scopes": ["secret:read"], "expires_in_seconds": 60, "reason": "a"}),
        json!({"scopes": [], "expires_in_seconds": 60, "reason": "nothing"}),
        json!({"scopes": ["secrets:read"], "expires_in_seconds": 60}),
        json!({"scopes": ["secrets:read"], "expires_in_seconds": 60, "reason": "a", "use": 1}),
        json!({"scopes": ["secrets:read"], "expires_in_seconds": 60, "reason": "a", "bound_to": "x"}),
    ] {
        let refused = owner.send(Method::POST, "/v1/tokens", body.clone()).await;
        assert_eq!(refused.kind(), "invalid_input", "{body}");
    }
}

#[tokio::test]
async fn a_grant_is_created_listed_and_deleted() {
    let server = Running::start().await;
    let owner = server.client(&ADMINISTRATOR).await;
    let new = json!({"subject": "agent:assistant", "scopes": ["secrets:read:openai/*"], "reason": "a demo"});
    let grant = owner.send(Method::POST, "/v1/grants", new).await;
    assert_eq!(grant.status, 201, "{grant:?}");
    let listed = owner.get("/v1/grants").await;
    assert_eq!(listed.body["grants"], json!([grant.body]));
    let stranger = server.client_of("other", &ADMINISTRATOR).await;
    assert_eq!(stranger.get("/v1/grants").await.body["grants"], json!([]));
    let path = format!("/v1/grants/{}", grant.body["id"].as_str().unwrap());
    assert_eq!(stranger.send(Method::DELETE, &path, json!({})).await.status, 404);
    assert_eq!(owner.send(Method::DELETE, &path, json!({})).await.status, 204);
    assert_eq!(owner.get("/v1/grants").await.body["grants"], json!([]));
    let bad = json!({"subject": "assistant", "scopes": ["secrets:read"], "reason": "a"});
    assert_eq!(owner.send(Method::POST, "/v1/grants", bad).await.kind(), "invalid_input");
}

#[tokio::test]
async fn the_audit_is_read_in_pages_by_who_may() {
    let server = Running::start().await;
    let owner = server.client(&ADMINISTRATOR).await;
    for path in ["a", "b", "a"] {
        owner.put(path, json!({"value": "v"})).await;
    }
    let other = server.client_of("other", &[ALL]).await;
    other.put("a", json!({"value": "v"})).await;
    let page = owner.get("/v1/audit?event=vault.accessed&path=a&limit=1").await;
    let [first] = page.body["records"].as_array().unwrap().as_slice() else { panic!("{page:?}") };
    assert_eq!((&first["tenant"], &first["path"]), (&json!("acme"), &json!("a")));
    let after = first["seq"].as_u64().unwrap();
    let next = owner.get(&format!("/v1/audit?event=vault.accessed&path=a&after={after}")).await;
    let next = next.body["records"].as_array().unwrap();
    assert!(!next.is_empty());
    assert!(next.iter().all(|record| record["tenant"] == "acme"), "{next:?}");
    assert_eq!(other.get("/v1/audit").await.status, 403);
    for query in ["after=x", "since=yesterday", "evnt=a", "path=/"] {
        assert_eq!(
            owner.get(&format!("/v1/audit?{query}")).await.kind(),
            "invalid_input",
            "{query}"
        );
    }
}
