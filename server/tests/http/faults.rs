//! What a server does with those who ask too much, and when it is stopped.

use std::time::Duration;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::certificates::Authority;
use strongroom_testkit::log::Log;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::slow_store::{Slow, slow_server};
use crate::support::{ALL, Answer, PATIENCE, Running, config};

#[tokio::test]
async fn a_request_that_there_is_no_room_for_is_told_to_come_back() {
    let mut config = config();
    config.max_requests = 1;
    let (store, server, client) = slow_server(config).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/v1/secrets/a").await }
    });
    store.is_asked().await;
    let refused = client.get("/v1/secrets/a").await;
    assert_eq!((refused.status, refused.kind()), (503, "unavailable"));
    assert_eq!(refused.headers.get("retry-after").unwrap(), "1");
    // Health needs no room.
    let health = reqwest::get(format!("{}/v1/health", server.url)).await.unwrap();
    assert_eq!(health.status().as_u16(), 200);
    store.go_on.add_permits(1);
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way() {
    let (store, mut server, client) = slow_server(config()).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/v1/secrets/a").await }
    });
    store.is_asked().await;
    server.stop();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let refused = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(!waiting.is_finished());
    store.go_on.add_permits(1);
    assert_eq!(waiting.await.unwrap().status, 200);
    let access = server.access.clone();
    server.ended().await;
    // The records are written, and the rules closed.
    assert!(access.audit(strongroom::access::AuditQuery::new()).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_in_time_is_cut_off() {
    let store = Slow::new();
    let mut config = config();
    config.drain = Duration::from_millis(50);
    let mut server = Running::over(store.clone(), config).await;
    let client = server.client(&[ALL]).await;
    let waiting =
        tokio::spawn(
            async move { client.request(Method::GET, "/v1/secrets/a").send().await.is_err() },
        );
    store.is_asked().await;
    server.stop();
    server.ended().await;
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), "it was answered");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let mut limited = config();
    limited.max_body = 4_096;
    let server = Running::start_with(limited).await;
    let client = server.client(&[ALL]).await;
    assert_eq!(client.put("a", json!({"value": "a".repeat(2_000)})).await.status, 200);
    // Announced, and without an announcement.
    let long = client.put("a", json!({"value": "a".repeat(5_000)})).await;
    assert_eq!((long.status, long.kind()), (413, "invalid_input"));
    let address = client.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT /v1/secrets/a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        client.token.expose_secret()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..8 {
        let chunk = format!("400\r\n{}\r\n", "a".repeat(1_024));
        // It may be refused before all is sent.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let mut answer = vec![0; 12];
    // What was sent on after the refusal may reset the connection before the answer is read.
    match timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap() {
        Ok(_) => assert_eq!(answer, b"HTTP/1.1 413"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    // One that ends early writes nothing.
    let before = client.get("/v1/secrets/a").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = head.replace("transfer-encoding: chunked", "content-length: 100");
    stream.write_all(format!("{head}{{\"value\":\"half").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(client.get("/v1/secrets/a").await.body, before.body);
}

#[tokio::test]
async fn what_is_not_http_ends_the_connection_alone() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let address = client.url.strip_prefix("http://").unwrap();
    let long = format!("GET /nothing HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(40_000));
    let many = format!("GET /nothing HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for bytes in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /nothing HTTP/9.9\r\n\r\n",
        b"GET /v1/secrets/a HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"PUT /v1/secrets/a HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // It may also be reset.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let status = answer.get(9..12).map(String::from_utf8_lossy);
        assert!(status.is_none_or(|status| status.starts_with('4')), "{answer:?}");
    }
    assert_eq!(client.put("a", json!({"value": "a"})).await.status, 200);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let install = |authority: &Authority| {
        let signed = authority.server(&["127.0.0.1"]);
        std::fs::write(&certificate, signed.certificate).unwrap();
        std::fs::write(&key, signed.key).unwrap();
    };
    install(&first);
    let mut config = config();
    config.tls = Some(strongroom_server::TlsFiles::new(&certificate, &key));
    let server = Running::start_with(config).await;
    assert!(server.url.starts_with("https://"));
    let trusts = async |authority: &Authority| {
        let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        client.get(format!("{}/v1/health", server.url)).send().await.is_ok()
    };
    assert!(trusts(&first).await);
    assert!(!trusts(&second).await);
    // One that does not fit its key is not taken over.
    std::fs::write(&certificate, second.server(&["127.0.0.1"]).certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(trusts(&first).await);
    install(&second);
    let renewed = async {
        while !trusts(&second).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, renewed).await.unwrap();
    assert!(!trusts(&first).await);
}

#[tokio::test]
async fn no_value_and_no_token_is_logged() {
    let log = Log::default();
    let _capture = log.capture();
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    assert_eq!(client.put("a", json!({"value": CANARY})).await.status, 200);
    assert_eq!(client.get("/v1/secrets/a").await.body["value"], CANARY);
    client.put("a", json!({"value": CANARY, "unknown": 1})).await;
    client.put("a/", json!({"value": CANARY})).await;
    let unknown = client.http.get(format!("{}/v1/secrets/a", client.url)).bearer_auth(CANARY);
    assert_eq!(Answer::of(unknown.send().await.unwrap()).await.status, 401);
    let text = log.text();
    assert!(!text.is_empty());
    assert_eq!(canary::find(text.as_bytes()), None);
    assert!(!text.contains(client.token.expose_secret()));
}
