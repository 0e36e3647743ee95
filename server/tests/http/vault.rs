//! Secrets and grants by ids.

use reqwest::Method;
use serde_json::{Value, json};
use strongroom::access::Principal;
use strongroom::{ErrorKind, SecretsManager};
use strongroom_testkit::canary::{self, CANARY};

use crate::support::{ALL, Answer, Client, Running};

const SECRETS: &str = "/v1/vault/secrets";
const GRANTS: &str = "/v1/vault/grants";
const OWNER: [&str; 2] = [ALL, "grants:write"];

async fn create(client: &Client, name: &str) -> Value {
    let body = json!({"name": name, "value": CANARY});
    let created = client.send(Method::POST, SECRETS, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    seen(created).body
}

/// No answer has a value.
fn seen(answer: Answer) -> Answer {
    assert_eq!(canary::find(answer.body.to_string().as_bytes()), None);
    answer
}

async fn delete(client: &Client, path: &str) -> Answer {
    Answer::of(client.request(Method::DELETE, path).send().await.unwrap()).await
}

/// The secrets as an agent sees them.
fn agent(server: &Running, name: &str) -> SecretsManager {
    let id = format!("spiffe://example.org/agent/acme/{name}/worker");
    server.secrets.act_as(&server.access, Principal::parse(&id).unwrap()).unwrap()
}

fn id(body: &Value) -> &str {
    body["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_grant_opens_one_secret_to_one_agent_until_it_is_deleted() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    let secret = create(&owner, "openai/api-key").await;
    create(&owner, "stripe/api-key").await;
    assert!(id(&secret).starts_with("sec_"));
    assert_eq!(secret["name"], "openai/api-key");

    let body = json!({"agent_id": "assistant", "secret_id": id(&secret)});
    let grant = owner.send(Method::POST, GRANTS, body).await;
    assert_eq!(grant.status, 201, "{grant:?}");
    let grant_id = grant.body["grant_id"].as_str().unwrap();
    assert!(grant_id.starts_with("grt_"));
    assert_eq!(grant.body["agent_id"], "assistant");
    assert_eq!(grant.body["secret_id"], secret["id"]);
    assert!(grant.body["created_at"].is_string());

    let assistant = agent(&server, "assistant");
    assert_eq!(assistant.get("openai/api-key").await.unwrap().expose_text().unwrap(), CANARY);
    let denied = |result: strongroom::Result<_>| result.unwrap_err().kind();
    assert_eq!(denied(assistant.get("stripe/api-key").await), ErrorKind::Denied);
    assert_eq!(denied(agent(&server, "other").get("openai/api-key").await), ErrorKind::Denied);

    assert_eq!(delete(&owner, &format!("{GRANTS}/{grant_id}")).await.status, 204);
    assert_eq!(denied(assistant.get("openai/api-key").await), ErrorKind::Denied);
    assert_eq!(delete(&owner, &format!("{GRANTS}/{grant_id}")).await.status, 404);
}

#[tokio::test]
async fn a_secret_is_shown_without_its_value_and_deleted_with_its_grants() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    let created = create(&owner, "a/b").await;
    // A secret that was written otherwise has an id, too.
    owner.put("a/c", json!({"value": CANARY, "metadata": {"tier": "critical"}})).await;
    let listed = seen(owner.get(SECRETS).await);
    let secrets = listed.body["secrets"].as_array().unwrap();
    let names: Vec<_> = secrets.iter().map(|secret| secret["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/b", "a/c"]);
    assert_eq!(secrets[0]["id"], created["id"]);
    assert_eq!(secrets[0]["created_at"], created["created_at"]);
    assert_eq!(secrets[1]["tier"], "critical");
    let one = seen(owner.get(&format!("{SECRETS}/{}", id(&secrets[1]))).await);
    assert_eq!((one.status, &one.body), (200, &secrets[1]));

    let body = json!({"agent_id": "assistant", "secret_id": created["id"]});
    assert_eq!(owner.send(Method::POST, GRANTS, body).await.status, 201);
    let at = format!("{SECRETS}/{}", id(&created));
    assert_eq!(delete(&owner, &at).await.status, 204);
    assert_eq!(owner.get(GRANTS).await.body, json!({"grants": []}));
    assert_eq!(delete(&owner, &at).await.status, 404);
    assert_eq!(owner.get(&at).await.status, 404);
    let body = json!({"agent_id": "assistant", "secret_id": created["id"]});
    assert_eq!(owner.send(Method::POST, GRANTS, body).await.status, 404);
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    create(&owner, "a").await;
    let again = json!({"name": "a", "value": "other"});
    let again = owner.send(Method::POST, SECRETS, again).await;
    assert_eq!((again.status, again.kind()), (409, "conflict"));
    assert_eq!(owner.get("/v1/secrets/a").await.body["value"], CANARY);
    // A deleted one keeps its name until it is destroyed.
    delete(&owner, "/v1/secrets/a").await;
    let body = json!({"name": "a", "value": CANARY});
    let deleted = owner.send(Method::POST, SECRETS, body).await;
    assert_eq!((deleted.status, deleted.kind()), (409, "conflict"));
    assert_eq!(deleted.body["detail"], "a deleted secret has the name");
    let destroyed = owner.request(Method::POST, "/v1/destroy/a").send().await.unwrap();
    assert_eq!(destroyed.status().as_u16(), 204);
    create(&owner, "a").await;
    for body in [
        json!({"name": "a b", "value": CANARY}),
        json!({"name": "b"}),
        json!({"value": CANARY}),
        json!({"name": "b", "value": 1}),
        json!({"name": "b", "value": CANARY, "more": 1}),
        json!([CANARY]),
    ] {
        let answer = owner.send(Method::POST, SECRETS, body).await;
        assert_eq!((answer.status, answer.kind()), (400, "invalid_input"));
    }
}

#[tokio::test]
async fn an_id_of_another_and_one_of_none_are_answered_alike() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    let secret = create(&owner, "a").await;
    let grant = json!({"agent_id": "assistant", "secret_id": secret["id"]});
    let grant = owner.send(Method::POST, GRANTS, grant).await.body;
    let other = server.client_of("other", &OWNER).await;
    let outsider = server.client(&["secrets:*:elsewhere/**", "grants:write:elsewhere/**"]).await;
    let none = format!("sec_{}", "0".repeat(32));
    for client in [&other, &outsider] {
        for id in [id(&secret), &none, "sec_1", "a"] {
            let at = format!("{SECRETS}/{id}");
            let grant = json!({"agent_id": "assistant", "secret_id": id});
            let answers = [
                client.get(&at).await,
                delete(client, &at).await,
                client.send(Method::POST, GRANTS, grant).await,
            ];
            for answer in answers {
                assert_eq!(answer.status, 404, "{id}: {answer:?}");
                assert_eq!(answer.body["detail"], "the caller has no secret with this id");
            }
        }
        for id in [grant["grant_id"].as_str().unwrap(), &format!("grt_{}", "0".repeat(32)), "a"] {
            assert_eq!(delete(client, &format!("{GRANTS}/{id}")).await.status, 404, "{id}");
        }
        assert_eq!(client.get(GRANTS).await.body, json!({"grants": []}));
    }
    assert_eq!(other.get(SECRETS).await.body, json!({"secrets": []}));
    // The id of a path depends on the tenant.
    assert_ne!(create(&other, "a").await["id"], secret["id"]);
    // One that may know of the secret is told which right is missing.
    let reader = server.client(&["secrets:read+describe:a"]).await;
    let at = format!("{SECRETS}/{}", id(&secret));
    assert_eq!(delete(&reader, &at).await.status, 403);
    assert_eq!(owner.get(&at).await.status, 200);
}

#[tokio::test]
async fn the_list_has_the_grants_of_one_secret_to_one_agent_alone() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    let (a, b) = (create(&owner, "a").await, create(&owner, "b").await);
    for (subject, scope) in [
        ("role:worker", "secrets:read:a"),
        ("agent:x", "secrets:read:a/*"),
        ("agent:x", "secrets:read+list:a"),
        ("agent:x", "secrets:read:a"),
    ] {
        let grant = json!({"subject": subject, "scopes": [scope], "reason": "a test"});
        assert_eq!(owner.send(Method::POST, "/v1/grants", grant).await.status, 201);
    }
    let grant = json!({"agent_id": "y", "secret_id": b["id"]});
    owner.send(Method::POST, GRANTS, grant).await;
    let agents = async |query: &str| {
        let listed = owner.get(&format!("{GRANTS}{query}")).await;
        let grants = listed.body["grants"].as_array().unwrap().clone();
        let agents = grants.iter().map(|grant| grant["agent_id"].as_str().unwrap().to_owned());
        agents.collect::<Vec<_>>()
    };
    assert_eq!(agents("").await, ["x", "y"]);
    assert_eq!(agents("?agent_id=y").await, ["y"]);
    assert_eq!(agents(&format!("?secret_id={}", id(&a))).await, ["x"]);
    assert!(agents(&format!("?agent_id=y&secret_id={}", id(&a))).await.is_empty());
    assert_eq!(owner.get(&format!("{GRANTS}?agent=y")).await.status, 400);
    // Another grant is deleted where it was created.
    let others = owner.get("/v1/grants").await;
    let wide = others.body["grants"].as_array().unwrap();
    let wide = wide.iter().find(|grant| grant["subject"] == "role:worker").unwrap();
    let at = format!("{GRANTS}/grt_{}", wide["id"].as_str().unwrap());
    assert_eq!(delete(&owner, &at).await.status, 404);
    let unnamed = json!({"agent_id": "x/y", "secret_id": a["id"]});
    assert_eq!(owner.send(Method::POST, GRANTS, unnamed).await.status, 400);
}

#[tokio::test]
async fn the_list_of_secrets_comes_in_pages() {
    let server = Running::start().await;
    let owner = server.client(&OWNER).await;
    for name in ["c", "a", "b"] {
        create(&owner, name).await;
    }
    let page = owner.get(&format!("{SECRETS}?limit=2")).await.body;
    assert_eq!((&page["secrets"][1]["name"], &page["next"]), (&json!("b"), &json!("b")));
    let page = owner.get(&format!("{SECRETS}?limit=2&after=b")).await.body;
    assert_eq!(page["secrets"].as_array().unwrap().len(), 1);
    assert_eq!((&page["secrets"][0]["name"], page.get("next")), (&json!("c"), None));
}
