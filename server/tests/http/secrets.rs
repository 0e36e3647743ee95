//! The secrets of a server, as a client reads and writes them.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use strongroom_testkit::canary::CANARY;

use crate::support::{ALL, Answer, Client, PATIENCE, Running};

#[tokio::test]
async fn a_secret_is_written_read_and_described() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let written = client
        .put(
            "openai/api-key",
            json!({"value": CANARY, "metadata": {"kind": "api_key", "tier": "standard", "tags": {"team": "a"}}}),
        )
        .await;
    assert_eq!((written.status, written.etag.as_deref()), (200, Some("\"1\"")));
    assert_eq!(written.body, json!({"path": "openai/api-key", "version": "1"}));

    let read = client.get("/v1/secrets/openai/api-key").await;
    assert_eq!((read.status, read.etag.as_deref()), (200, Some("\"1\"")));
    assert_eq!(read.body["value"], CANARY);
    assert_eq!(read.body["path"], "openai/api-key");
    assert_eq!(read.body["metadata"]["kind"], "api_key");

    // No value, also not in the details.
    let described = client.get("/v1/metadata/openai/api-key").await;
    assert_eq!(described.body["metadata"]["tags"], json!({"team": "a"}));
    assert!(!described.body.to_string().contains(CANARY));

    let patch = json!({"description": "the key", "tags": {"team": null}});
    let patched = client.send(Method::PATCH, "/v1/metadata/openai/api-key", patch).await;
    assert_eq!(patched.status, 204);
    let described = client.get("/v1/metadata/openai/api-key").await;
    assert_eq!(described.body["metadata"]["description"], "the key");
    assert_eq!(described.body["metadata"].get("tags"), None);

    let fields = client.put("db/main", json!({"value": {"user": "app", "password": "p"}})).await;
    assert_eq!(fields.status, 200);
    assert_eq!(client.get("/v1/secrets/db/main").await.body["value"]["user"], "app");
    let binary = client.put("bin", json!({"value_base64": "AP+f"})).await;
    assert_eq!(binary.status, 200);
    assert_eq!(client.get("/v1/secrets/bin").await.body["value_base64"], "AP+f");
}

#[tokio::test]
async fn conditions_versions_and_rollback() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let put = async |value: &str, header: &str, condition: &str| {
        let request = client.request(Method::PUT, "/v1/secrets/a").header(header, condition);
        Answer::of(request.json(&json!({ "value": value })).send().await.unwrap()).await
    };
    assert_eq!(put("one", "if-none-match", "*").await.status, 200);
    let again = put("other", "if-none-match", "*").await;
    assert_eq!((again.status, again.kind()), (412, "conflict"));
    assert_eq!(put("two", "if-match", "\"1\"").await.etag.unwrap(), "\"2\"");
    assert_eq!(put("late", "if-match", "\"1\"").await.status, 412);
    for (header, condition) in [
        ("if-match", "*"),
        ("if-match", "1"),
        ("if-match", "W/\"1\""),
        ("if-match", "\"1\", \"2\""),
        ("if-none-match", "\"1\""),
    ] {
        let refused = put("x", header, condition).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid_input"), "{condition}");
    }
    assert_eq!(client.get("/v1/secrets/a").await.body["value"], "two");
    assert_eq!(client.get("/v1/secrets/a?version=1").await.body["value"], "one");
    assert_eq!(client.get("/v1/secrets/a?version=9").await.status, 404);
    let versions = client.get("/v1/versions/a").await;
    assert_eq!(versions.body["versions"].as_array().unwrap().len(), 2);
    let rolled = client.send(Method::POST, "/v1/rollback/a?version=1", json!({})).await;
    assert_eq!(rolled.status, 200);
    assert_eq!(client.get("/v1/secrets/a").await.body["value"], "one");

    assert_eq!(client.send(Method::DELETE, "/v1/secrets/a", json!({})).await.status, 204);
    assert_eq!(client.get("/v1/secrets/a").await.status, 404);
    assert_eq!(client.send(Method::POST, "/v1/undelete/a", json!({})).await.status, 204);
    assert_eq!(client.get("/v1/secrets/a").await.status, 200);
    assert_eq!(client.send(Method::POST, "/v1/destroy/a", json!({})).await.status, 204);
    let gone = client.send(Method::POST, "/v1/undelete/a", json!({})).await;
    assert_eq!((gone.status, gone.kind()), (404, "not_found"));
    let rotated = client.send(Method::POST, "/v1/rotate/a", json!({})).await;
    assert_eq!((rotated.status, rotated.kind()), (501, "unsupported"));
}

#[tokio::test]
async fn a_listing_has_pages_and_filters() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    for (path, team) in [("a/1", "x"), ("a/2", "y"), ("b/1", "x")] {
        let body = json!({"value": "v", "metadata": {"tags": {"team": team}}});
        assert_eq!(client.put(path, body).await.status, 200);
    }
    let listed = async |query: &str| {
        let mut paths: Vec<String> = Vec::new();
        let mut page = String::new();
        loop {
            let answer = client.get(&format!("/v1/secrets?{query}{page}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let found = answer.body["paths"].as_array().unwrap().iter();
            paths.extend(found.map(|path| path.as_str().unwrap().to_owned()));
            let Some(next) = answer.body["next"].as_str() else { break };
            page = format!("&page={next}");
        }
        paths.sort();
        paths
    };
    assert_eq!(listed("").await, ["a/1", "a/2", "b/1"]);
    assert_eq!(listed("prefix=a").await, ["a/1", "a/2"]);
    assert_eq!(listed("tag.team=x").await, ["a/1", "b/1"]);
    assert_eq!(client.get("/v1/secrets?perfix=a").await.kind(), "invalid_input");

    let batch = json!({"paths": ["a/1", "missing", "b/1"]});
    let batch = client.send(Method::POST, "/v1/batch", batch).await;
    let secrets = batch.body["secrets"].as_array().unwrap();
    assert_eq!(secrets[0]["value"], "v");
    assert_eq!(secrets[1]["problem"]["status"], 404);
    assert_eq!(secrets[2]["path"], "b/1");

    // Long values end the answer early, however often they are asked for.
    client.put("long", json!({"value": "a".repeat(3 << 20)})).await;
    let batch = json!({"paths": vec!["long"; 1_000]});
    let batch = client.send(Method::POST, "/v1/batch", batch).await;
    assert_eq!(batch.body["secrets"].as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn an_expired_secret_is_gone() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let body = json!({"value": CANARY, "metadata": {"expires_at": "2001-01-01T00:00:00Z"}});
    assert_eq!(client.put("old", body).await.status, 200);
    let read = client.get("/v1/secrets/old").await;
    assert_eq!((read.status, read.kind()), (410, "expired"));
    let patch = json!({"expires_at": null});
    assert_eq!(client.send(Method::PATCH, "/v1/metadata/old", patch).await.status, 204);
    assert_eq!(client.get("/v1/secrets/old").await.status, 200);
}

#[tokio::test]
async fn nobody_reads_what_they_were_not_given() {
    let server = Running::start().await;
    let owner = server.client(&[ALL]).await;
    owner.put("openai/api-key", json!({"value": CANARY})).await;
    owner.put("stripe/api-key", json!({"value": CANARY})).await;

    let reader = server.client(&["secrets:read+list:openai/*"]).await;
    assert_eq!(reader.get("/v1/secrets/openai/api-key").await.status, 200);
    // What is there and what is not look the same.
    let denied = reader.get("/v1/secrets/stripe/api-key").await;
    let missing = reader.get("/v1/secrets/stripe/nothing").await;
    assert_eq!((denied.status, denied.kind()), (403, "denied"));
    assert_eq!((missing.status, &missing.body), (403, &denied.body));
    assert_eq!(reader.put("openai/api-key", json!({"value": "x"})).await.status, 403);
    let listed = reader.get("/v1/secrets").await;
    assert_eq!(listed.body["paths"], json!(["openai/api-key"]));

    // Another tenant has other secrets under the same names.
    let stranger = server.client_of("other", &[ALL]).await;
    assert_eq!(stranger.get("/v1/secrets/openai/api-key").await.status, 404);
    assert_eq!(stranger.get("/v1/secrets").await.body["paths"], json!([]));
    let as_other = stranger.request(Method::GET, "/v1/secrets/openai/api-key");
    let as_other = as_other.header("strongroom-tenant", "acme").send().await.unwrap();
    assert_eq!(Answer::of(as_other).await.status, 403);

    // No token, no known token, another scheme.
    let plain = |header: Option<&str>| {
        let request = owner.http.get(format!("{}/v1/secrets/openai/api-key", owner.url));
        match header {
            Some(header) => request.header("authorization", header),
            None => request,
        }
    };
    for header in [None, Some("Bearer "), Some("Bearer unknown"), Some("Basic YTpi")] {
        let refused = Answer::of(plain(header).send().await.unwrap()).await;
        assert_eq!((refused.status, refused.kind()), (401, "unauthenticated"), "{header:?}");
        assert!(refused.headers.contains_key("www-authenticate"));
    }

    // What was revoked works no more.
    let rules = server.rules("acme");
    for token in rules.tokens().unwrap() {
        rules.revoke_token(token.id).await.unwrap();
    }
    assert_eq!(reader.get("/v1/secrets/openai/api-key").await.status, 401);
}

#[tokio::test]
async fn each_access_is_recorded_with_what_the_caller_says_of_it() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    client.put("a", json!({"value": CANARY})).await;
    let request = client.request(Method::GET, "/v1/secrets/a").header("x-request-id", "r-17");
    let request = request.header("strongroom-reason", "a deployment");
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 200);
    client.get("/v1/secrets/none").await;
    let query = strongroom::access::AuditQuery::new().event("vault.accessed");
    let records = server.access.audit(query).await.unwrap();
    let [.., read, missing] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(read.path.as_deref(), Some("a"));
    assert_eq!(read.request_id.as_deref(), Some("r-17"));
    assert_eq!(read.reason.as_deref(), Some("a deployment"));
    assert_eq!(missing.details["outcome"], "not_found");
}

#[tokio::test]
async fn a_mistake_is_explained() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    for (method, path, status) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/v1/secret/a", 404),
        (Method::GET, "/v1/secrets/", 404),
        (Method::GET, "/v1/secrets/a//b", 400),
        (Method::GET, "/v1/secrets/a/../b", 400),
        (Method::GET, "/v1/secrets/%ff", 400),
        (Method::GET, "/v1/secrets/a?version=1&stage=b", 400),
        (Method::POST, "/v1/secrets/a", 405),
        (Method::POST, "/v1/rollback/a", 400),
    ] {
        // A URL library would resolve `..` before it is sent.
        let answer = raw(&client, &method, path).await;
        assert_eq!(answer, status, "{method} {path}");
    }
    // What would not be heeded is refused: this would remove every version.
    client.put("kept", json!({"value": "v"})).await;
    for request in [
        client.request(Method::DELETE, "/v1/secrets/kept?version=1"),
        client.request(Method::POST, "/v1/destroy/kept?version=1"),
        client.request(Method::DELETE, "/v1/secrets/kept").header("if-match", "\"9\""),
        client.request(Method::POST, "/v1/destroy/kept").header("if-match", "\"9\""),
        client.request(Method::POST, "/v1/rollback/kept?version=1").header("if-match", "\"9\""),
        client.request(Method::GET, "/v1/secrets/kept").header("authorization", "Bearer other"),
        client.request(Method::GET, "/v1/secrets/kept").header("strongroom-tenant", "\u{e9}"),
    ] {
        assert_eq!(Answer::of(request.send().await.unwrap()).await.kind(), "invalid_input");
    }
    assert_eq!(client.get("/v1/secrets/kept").await.status, 200);
    for body in
        [json!({}), json!({"value": 1}), json!({"value": "a", "tier": "critical"}), json!([])]
    {
        assert_eq!(client.put("a", body.clone()).await.kind(), "invalid_input", "{body}");
    }
    let patch = client.send(Method::PATCH, "/v1/metadata/a", json!(["custom"])).await;
    assert_eq!(patch.kind(), "invalid_input");
    let many: Vec<_> = (0..1_001).map(|number| format!("a/{number}")).collect();
    let batch = client.send(Method::POST, "/v1/batch", json!({"paths": many})).await;
    assert_eq!(batch.kind(), "invalid_input");
}

/// Sends a request whose target is exactly this text. Returns the status.
async fn raw(client: &Client, method: &Method, target: &str) -> u16 {
    use secrecy::ExposeSecret as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let address = client.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let token = client.token.expose_secret();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn health_is_for_everybody_and_says_little() {
    let server = Running::start().await;
    let client = reqwest::Client::new();
    for path in ["/v1/health", "/v1/ready"] {
        let answer = client.get(format!("{}{path}", server.url)).send().await.unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
    }
    let client = server.client(&[ALL]).await;
    let store = client.get("/v1/store").await;
    assert_eq!(store.body["backend"], "native");
    assert!(store.body["capabilities"].as_array().unwrap().contains(&json!("scopes")));
    // The key lies beside the store.
    assert_eq!(client.get("/v1/store/health").await.body["status"], "degraded");
    server.secrets.close().await.unwrap();
    // The store is asked once a second.
    let unready = async {
        let url = format!("{}/v1/ready", server.url);
        while Answer::of(reqwest::get(&url).await.unwrap()).await.status != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.unwrap();
}
