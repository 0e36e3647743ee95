//! What a principal may ask for, what goes on without its client, and the numbers for operators.

use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use strongroom_core::{Backend as _, SecretPath, VersionSelector};
use strongroom_server::install_metrics;
use strongroom_testkit::canary::{self, CANARY};
use tokio::time::{sleep, timeout};

use crate::slow_store::{SLOW, slow_server};
use crate::support::{ALL, PATIENCE, Running, config};

#[tokio::test]
async fn one_principal_leaves_room_for_others() {
    let mut config = config();
    config.max_principal_requests = 1;
    let (store, server, client) = slow_server(config).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/v1/secrets/a").await }
    });
    store.is_asked().await;
    let refused = client.get("/v1/secrets/a").await;
    assert_eq!((refused.status, refused.kind()), (429, "rate_limited"));
    assert_eq!(refused.headers.get("retry-after").unwrap(), "1");
    let other = server.client(&[ALL]).await;
    assert_eq!(other.get("/v1/self").await.status, 200);
    store.go_on.add_permits(1);
    assert_eq!(waiting.await.unwrap().status, 200);
    // Its room is free again once its answer was sent.
    let free = async {
        while client.get("/v1/self").await.status != 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn a_principal_over_its_rate_is_told_when_to_come_back() {
    let mut config = config();
    config.rate_limit = NonZeroU32::new(2);
    let server = Running::start_with(config).await;
    let client = server.client(&[ALL]).await;
    let refused = async {
        loop {
            let answer = client.get("/v1/self").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let refused = timeout(PATIENCE, refused).await.unwrap();
    assert_eq!((refused.status, refused.kind()), (429, "rate_limited"));
    assert_eq!(refused.headers.get("retry-after").unwrap(), "1");
    let other = server.client(&[ALL]).await;
    assert_eq!(other.get("/v1/self").await.status, 200);
    let served = async {
        while client.get("/v1/self").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    // A batch takes the whole second at most, and leaves nothing of it.
    let batch = json!({"paths": ["a", "b", "c", "d", "e"]});
    let third = server.client(&[ALL]).await;
    assert_eq!(third.send(Method::POST, "/v1/batch", batch.clone()).await.status, 200);
    let refused =
        async { while third.send(Method::POST, "/v1/batch", batch.clone()).await.status != 429 {} };
    timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn a_change_goes_on_without_its_client() {
    let (store, server, client) = slow_server(config()).await;
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.put(SLOW, json!({"value": "new"})).await }
    });
    store.is_asked().await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    drop(client);
    store.go_on.add_permits(1);
    let path = SecretPath::parse("acme/slow").unwrap();
    let written = async {
        while store.inner.get(&path, &VersionSelector::Active).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, written).await.unwrap();
    drop(server);
}

#[tokio::test]
async fn a_server_that_stops_waits_for_a_change_without_a_client() {
    let (store, mut server, client) = slow_server(config()).await;
    let writing = tokio::spawn(async move { client.put(SLOW, json!({"value": "new"})).await });
    store.is_asked().await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    server.stop();
    sleep(Duration::from_millis(50)).await;
    store.go_on.add_permits(1);
    server.ended().await;
    let path = SecretPath::parse("acme/slow").unwrap();
    assert!(store.inner.get(&path, &VersionSelector::Active).await.is_ok());
}

#[tokio::test]
async fn the_metrics_count_requests_and_name_no_secret() {
    install_metrics().unwrap();
    let mut config = config();
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let server = Running::start_with(config).await;
    let client = server.client(&[ALL]).await;
    client.put("metered/path", json!({"value": CANARY})).await;
    assert_eq!(client.get("/v1/secrets/metered/path").await.status, 200);
    assert_eq!(client.get("/v1/nothing").await.status, 404);
    let url = format!("http://{}/metrics", server.metrics.unwrap());
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let counted = text.lines().any(|line| {
        line.starts_with("strongroom_http_requests_total{")
            && line.contains("route=\"/v1/secrets/{*path}\"")
            && line.contains("method=\"GET\"")
            && line.contains("status=\"200\"")
    });
    assert!(counted, "{text}");
    for name in [
        "strongroom_build_info",
        "strongroom_connections",
        "strongroom_http_requests_in_progress",
        "strongroom_http_request_seconds_bucket",
    ] {
        assert!(text.contains(name), "no {name} in {text}");
    }
    assert_eq!(canary::find(text.as_bytes()), None);
    assert!(!text.contains("metered"), "{text}");
    assert!(!text.contains(client.token.expose_secret()));
    // The listener of the API has none.
    assert_eq!(client.get("/metrics").await.status, 404);
}
