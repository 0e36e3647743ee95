//! Tests of the servers that fail on demand.

use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder, Response};
use serde_json::json;
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::stub::{Reply, Stub};

const LIMIT: Duration = Duration::from_secs(120);
const SHORT_TIMEOUT: Duration = Duration::from_millis(100);

fn client() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([]).timeout(LIMIT)
}

async fn get(url: &str) -> reqwest::Result<Response> {
    client().build()?.get(url).send().await
}

fn hello() -> Stub {
    Stub::new(|_| Reply::new(200, "hello"))
}

#[tokio::test]
async fn a_stub_sends_its_replies_and_records_requests() {
    let stub = Stub::new(|request| match request.target.as_str() {
        "/echo?a=b" => Reply::new(201, request.body.clone()).header("Retry-After", "7"),
        _ => Reply::json(429, &json!({ "errors": ["quota"] })),
    });
    let client = client().build().unwrap();
    let url = format!("{}/echo?a=b", stub.url());
    let echo = client.put(url).header("X-Mark", "one").body("body").send().await.unwrap();
    assert_eq!(echo.status(), 201);
    assert_eq!(echo.headers()["retry-after"], "7");
    assert_eq!(echo.text().await.unwrap(), "body");
    let other = client.get(stub.url()).send().await.unwrap();
    assert_eq!(other.status(), 429);
    assert_eq!(other.json::<serde_json::Value>().await.unwrap(), json!({ "errors": ["quota"] }));
    let requests = stub.requests();
    assert_eq!(format!("{requests:?}"), "[PUT /echo?a=b, GET /]");
    assert_eq!(requests[0].header("x-mark"), Some("one"));
    assert_eq!(requests[0].body, b"body");
    assert_eq!(stub.count(|request| request.method == "GET"), 1);
}

#[tokio::test]
async fn a_stub_reuses_connections() {
    let stub = hello();
    let proxy = Proxy::new(stub.address());
    let client = client().build().unwrap();
    for _ in 0..3 {
        let answer = client.get(format!("http://{}", proxy.address())).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "hello");
    }
    assert_eq!(stub.requests().len(), 3);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_truncated_body_is_an_error_after_the_status() {
    let stub = Stub::new(|_| Reply::new(200, "hello").truncated());
    let answer = get(&stub.url()).await.unwrap();
    assert_eq!(answer.content_length(), Some(6));
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn a_reset_connection_has_no_answer() {
    let stub = Stub::new(|_| Reply::reset());
    let error = get(&stub.url()).await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    assert_ne!(stub.requests().len(), 0);
}

#[tokio::test]
async fn silence_lasts_until_the_stub_is_dropped() {
    let stub = Stub::new(|_| Reply::silence());
    let client = client().build().unwrap();
    let timed_out = client.get(stub.url()).timeout(SHORT_TIMEOUT).send().await;
    assert!(timed_out.unwrap_err().is_timeout());
    let url = stub.url();
    let waiting = tokio::spawn(async move { client.get(url).send().await });
    while stub.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stub);
    assert!(!waiting.await.unwrap().unwrap_err().is_timeout());
}

#[tokio::test]
async fn pieces_arrive_late_and_whole() {
    let pause = Duration::from_millis(20);
    let stub = Stub::new(move |_| Reply::new(200, "hello").in_pieces(2, pause));
    let begin = Instant::now();
    assert_eq!(get(&stub.url()).await.unwrap().text().await.unwrap(), "hello");
    assert!(begin.elapsed() >= 3 * pause);
}

#[tokio::test]
async fn nothing_listens_after_the_drop() {
    let stub = hello();
    let proxy = Proxy::new(stub.address());
    let (stub_url, proxy_url) = (stub.url(), format!("http://{}", proxy.address()));
    assert_eq!(get(&proxy_url).await.unwrap().status(), 200);
    drop((stub, proxy));
    assert!(get(&stub_url).await.unwrap_err().is_connect());
    assert!(get(&proxy_url).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_refusing_proxy_reaches_nothing() {
    let stub = hello();
    let proxy = Proxy::new(stub.address());
    let url = format!("http://{}", proxy.address());
    proxy.refuse();
    assert!(!get(&url).await.unwrap_err().is_timeout());
    assert_eq!(stub.requests().len(), 0);
    assert_ne!(proxy.connections(), 0);
    proxy.pass();
    assert_eq!(get(&url).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_stalled_proxy_delivers_later() {
    let stub = hello();
    let proxy = Proxy::new(stub.address());
    let url = format!("http://{}", proxy.address());
    let client = client().build().unwrap();
    client.get(&url).send().await.unwrap().bytes().await.unwrap();
    proxy.stall();
    let existing = client.get(&url).timeout(SHORT_TIMEOUT).send().await;
    assert!(existing.unwrap_err().is_timeout());
    let fresh = tokio::spawn(async move { get(&url).await });
    while proxy.connections() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stub.requests().len(), 1);
    proxy.pass();
    assert_eq!(fresh.await.unwrap().unwrap().text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_proxy_resets_existing_connections() {
    let stub = Stub::new(|_| Reply::silence());
    let proxy = Proxy::new(stub.address());
    let url = format!("http://{}", proxy.address());
    let waiting = tokio::spawn(async move { get(&url).await });
    while stub.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.reset_existing();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    assert_eq!(stub.requests().len(), 1);
}
