//! The middleware in a real client, against a stub server.

mod rejection;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Client, Url};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use strongroom_core::ErrorKind;
use strongroom_testkit::stub::{Reply, Request, Stub};
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::drain::Drained;

/// A client without a proxy.
fn plain() -> reqwest::ClientBuilder {
    Client::builder().no_proxy().timeout(Duration::from_secs(20))
}

fn client_of(middleware: RotatingKeyMiddleware) -> ClientWithMiddleware {
    ClientBuilder::new(plain().build().unwrap()).with(middleware).build()
}

fn client(key: &RotatingKey) -> ClientWithMiddleware {
    client_of(RotatingKeyMiddleware::new(key.clone()))
}

fn api_key(key: &RotatingKey) -> RotatingKeyMiddleware {
    RotatingKeyMiddleware::new(key.clone()).header(KeyHeader::new("X-Api-Key").unwrap())
}

/// Accepts one key; replaces the key before it rejects another.
fn replacing(key: &RotatingKey, accepted: &'static str) -> Stub {
    let key = key.clone();
    Stub::new(move |request| {
        if request.header("authorization") == Some(accepted) {
            return Reply::new(200, "hello, world");
        }
        key.replace("two");
        Reply::new(401, "who are you")
    })
}

fn header_values(stub: &Stub, header: &str) -> Vec<Option<String>> {
    stub.requests().iter().map(|request| request.header(header).map(str::to_owned)).collect()
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

fn is_drained(drained: &mut Drained) -> bool {
    matches!(drained.try_recv(), Err(TryRecvError::Closed))
}

#[tokio::test]
async fn each_request_carries_the_current_key() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|_| Reply::new(200, ""));
    let client = client(&key);
    client.get(stub.url()).bearer_auth("own").send().await.unwrap();
    key.replace("two");
    client.get(stub.url()).send().await.unwrap();
    assert_eq!(header_values(&stub, "authorization"), some(&["Bearer one", "Bearer two"]));

    client_of(api_key(&key)).get(stub.url()).send().await.unwrap();
    assert_eq!(header_values(&stub, "x-api-key"), [None, None, Some("two".to_owned())]);
    assert_eq!(key.observed(), 3);
}

#[tokio::test]
async fn a_request_whose_key_was_replaced_is_sent_again_unchanged() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let stub = replacing(&key, "Bearer two");
    let url = format!("{}/v1?x=y", stub.url());
    let response = client(&key).put(&url).header("x-trace", "t").body("body").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(is_drained(&mut drained));
    assert_eq!(response.text().await.unwrap(), "hello, world");
    assert_eq!(header_values(&stub, "authorization"), some(&["Bearer one", "Bearer two"]));
    assert_eq!(header_values(&stub, "x-trace"), some(&["t", "t"]));
    for Request { method, target, body, .. } in stub.requests() {
        assert_eq!((&*method, &*target, &*body), ("PUT", "/v1?x=y", &b"body"[..]));
    }
    assert_eq!(key.observed(), 1, "the 401 spoke of a key that was replaced");
}

#[tokio::test]
async fn a_retry_holds_only_the_new_key() {
    let (key, first) = RotatingKey::fixed("one", 1);
    let (first, second) = (Mutex::new(first), Arc::new(Mutex::new(None)));
    let (replaced, kept) = (key.clone(), Arc::clone(&second));
    let stub = Stub::new(move |_| {
        let mut kept = kept.lock().unwrap();
        if kept.is_none() {
            *kept = Some(replaced.replace("two"));
            return Reply::new(401, "");
        }
        // This is the retry.
        Reply::new(if is_drained(&mut first.lock().unwrap()) { 200 } else { 500 }, "ab")
            .in_pieces(1, Duration::from_millis(20))
    });
    let response = client(&key).get(stub.url()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    key.replace("three");
    let mut second = second.lock().unwrap().take().unwrap();
    assert!(!is_drained(&mut second));
    drop(response);
    assert!(is_drained(&mut second));
}

#[tokio::test]
async fn no_request_is_sent_a_third_time() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = replacing(&key, "none");
    let response = client(&key).get(stub.url()).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.text().await.unwrap(), "who are you");
    assert_eq!(header_values(&stub, "authorization"), some(&["Bearer one", "Bearer two"]));
}

#[tokio::test]
async fn a_rejected_request_with_the_current_key_or_a_stream_is_not_sent_again() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|_| Reply::new(401, "who are you"));
    let response = client(&key).get(stub.url()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), stub.requests().len()), (401, 1));
    assert_eq!(key.observed(), 1);

    let stub = replacing(&key, "Bearer two");
    let pieces = stream::iter([Ok::<_, std::io::Error>(Frame::data(bytes::Bytes::from("body")))]);
    // The stub does not read chunked bodies.
    let request = client(&key).post(stub.url()).header("content-length", "4");
    let response = request.body(Body::wrap(StreamBody::new(pieces))).send().await.unwrap();
    assert_eq!((response.status().as_u16(), stub.requests().len()), (401, 1));
    assert_eq!(key.state().generation, 2);
}

#[tokio::test]
async fn a_key_is_in_flight_until_the_body_has_been_read() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let pieces = || Reply::new(200, "hello, world").in_pieces(5, Duration::from_millis(20));
    let stub = Stub::new(move |_| pieces());
    let mut response = client(&key).get(stub.url()).send().await.unwrap();
    key.replace("two");
    assert_eq!(response.content_length(), Some(12));
    let mut read = 0;
    while read < 12 {
        assert!(!is_drained(&mut drained), "after {read} bytes");
        read += response.chunk().await.unwrap().unwrap().len();
    }
    assert!(response.chunk().await.unwrap().is_none());
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_body_that_is_dropped_early_ends_the_request() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|_| Reply::new(200, "ab").in_pieces(1, Duration::from_millis(20)));
    let mut response = client(&key).get(stub.url()).send().await.unwrap();
    key.replace("two");
    response.chunk().await.unwrap().unwrap();
    assert!(!is_drained(&mut drained));
    drop(response);
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_failed_or_cancelled_request_is_no_longer_in_flight() {
    let (key, mut first) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|_| Reply::reset());
    client(&key).get(stub.url()).send().await.unwrap_err();
    let mut second = key.replace("two");
    assert!(is_drained(&mut first));

    let (asked, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let stub = Stub::new(move |_| {
        let _ = asked.send(());
        Reply::silence()
    });
    let sent = tokio::spawn(client(&key).get(stub.url()).send());
    arrived.recv().await.unwrap();
    key.replace("three");
    assert!(!is_drained(&mut second));
    sent.abort();
    assert!(sent.await.unwrap_err().is_cancelled());
    assert!(is_drained(&mut second));
}

#[tokio::test]
async fn a_response_is_the_same_as_without_the_middleware() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|request| match request.target.as_str() {
        "/from" => Reply::new(302, "").header("Location", "/to"),
        "/broken" => Reply::new(200, "half").truncated(),
        _ => Reply::new(418, "hello").header("x-some", "thing"),
    });
    let (bare, keyed) = (plain().build().unwrap(), client(&key));
    for path in ["/from", "/broken"] {
        let url = format!("{}{path}", stub.url());
        let own = bare.get(&url).send().await.unwrap();
        let ours = keyed.get(&url).send().await.unwrap();
        assert_eq!(format!("{ours:?}"), format!("{own:?}"));
        assert_eq!(ours.url(), own.url());
        assert_eq!(ours.remote_addr(), own.remote_addr());
        assert!(ours.remote_addr().is_some());
        assert_eq!(ours.version(), own.version());
        assert_eq!(ours.content_length(), own.content_length());
        match (ours.text().await, own.text().await) {
            (Ok(ours), Ok(own)) => assert_eq!(ours, own),
            (Err(ours), Err(own)) => {
                assert_eq!(ours.to_string(), own.to_string());
                assert_eq!((ours.is_decode(), ours.is_timeout()), (own.is_decode(), false));
            }
            (ours, own) => panic!("{ours:?} instead of {own:?}"),
        }
    }
    let url = format!("{}/from", stub.url());
    let to: Url = format!("{}/to", stub.url()).parse().unwrap();
    assert_eq!(keyed.get(url).send().await.unwrap().url(), &to);
}

#[tokio::test]
async fn a_slow_body_still_times_out() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let stub = Stub::new(|_| Reply::new(200, "ab").in_pieces(1, Duration::from_secs(10)));
    let request = client(&key).get(stub.url()).timeout(Duration::from_millis(300));
    let response = request.send().await.unwrap();
    assert!(response.bytes().await.unwrap_err().is_timeout());
    key.replace("two");
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn requests_to_other_origins_go_out_unchanged() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let (home, other) = (Stub::new(|_| Reply::new(200, "")), replacing(&key, "none"));
    let client = api_key(&key).allow_origin(&home.url()).unwrap().client(plain()).unwrap();
    client.get(home.url()).send().await.unwrap();
    let response = client.get(other.url()).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(header_values(&home, "x-api-key"), some(&["one"]));
    assert_eq!(header_values(&other, "x-api-key"), [None]);
    assert_eq!(key.observed(), 1);
}

/// A server that redirects to another origin, and that origin: it answers 401 to all requests, and
/// replaces the key before it answers `/late`.
fn redirecting(key: &RotatingKey) -> (Stub, Stub) {
    let replaced = key.clone();
    let away = Stub::new(move |request| {
        if request.target == "/late" {
            replaced.replace("two");
        }
        Reply::new(401, "who are you")
    });
    let url = away.url();
    let home = Stub::new(move |request| match request.target.as_str() {
        "/away" | "/late" => {
            Reply::new(307, "").header("Location", &format!("{url}{}", request.target))
        }
        "/here" => Reply::new(307, "").header("Location", "/there"),
        "/loop" => Reply::new(307, "").header("Location", "/loop"),
        _ => Reply::new(200, "here"),
    });
    (home, away)
}

#[tokio::test]
async fn a_response_from_another_origin_says_nothing_about_the_key() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let (home, away) = redirecting(&key);
    for (path, generation) in [("/away", 1), ("/late", 2)] {
        let response = client(&key).get(home.url() + path).send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(key.state().generation, generation);
    }
    assert_eq!(header_values(&home, "authorization"), some(&["Bearer one", "Bearer one"]));
    assert_eq!(header_values(&away, "authorization"), [None, None]);
    assert_eq!(key.observed(), 0);
}

#[tokio::test]
async fn same_origin_redirects_do_not_carry_a_key_to_another_origin() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let (home, away) = redirecting(&key);
    let client = api_key(&key).client(plain()).unwrap();
    let response = client.get(format!("{}/away", home.url())).send().await.unwrap();
    assert_eq!((response.status().as_u16(), away.requests().len()), (307, 0));
    let response = client.get(format!("{}/here", home.url())).send().await.unwrap();
    assert_eq!(response.url().path(), "/there");
    assert_eq!(header_values(&home, "x-api-key"), some(&["one", "one", "one"]));
    let error = client.get(format!("{}/loop", home.url())).send().await.unwrap_err();
    assert!(error.is_redirect());
}

#[tokio::test]
async fn a_redirect_never_takes_a_key_to_an_origin_that_is_not_allowed() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let (home, away) = redirecting(&key);
    let allowed = |middleware: RotatingKeyMiddleware| middleware.allow_origin(&home.url()).unwrap();
    let error = client_of(allowed(api_key(&key))).get(home.url()).send().await.unwrap_err();
    let MiddlewareError::Middleware(error) = error else { panic!("{error}") };
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("RotatingKeyMiddleware::client"), "{error}");
    assert!(home.requests().is_empty());

    // The client removes this header by itself.
    let bearer = client_of(allowed(RotatingKeyMiddleware::new(key.clone())));
    let none = plain().redirect(Policy::none()).build().unwrap();
    let declared = allowed(api_key(&key)).without_cross_origin_redirects();
    let declared = ClientBuilder::new(none).with(declared).build();
    let own = allowed(api_key(&key)).client(plain()).unwrap();
    for client in [bearer, declared, own] {
        client.get(format!("{}/away", home.url())).send().await.unwrap();
    }
    assert_eq!(home.requests().len(), 3);
    for name in ["authorization", "x-api-key"] {
        let values = header_values(&away, name);
        assert!(values.iter().all(Option::is_none), "{values:?}");
    }
}

#[tokio::test]
async fn a_key_that_a_header_cannot_carry_is_an_error_of_this_crate() {
    let (key, _drained) = RotatingKey::fixed("one\n", 1);
    let stub = Stub::new(|_| Reply::new(200, ""));
    let error = client(&key).get(stub.url()).send().await.unwrap_err();
    let MiddlewareError::Middleware(error) = error else { panic!("{error}") };
    let own = error.downcast_ref::<strongroom_core::Error>().unwrap();
    assert_eq!(own.kind(), ErrorKind::WrongType);
    assert!(stub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_keys_are_replaced() {
    let (key, first) = RotatingKey::fixed("key-1", 1);
    // The server accepts the current key and the one before it.
    let accepted = Arc::new(Mutex::new(vec!["Bearer key-1".to_owned()]));
    let known = Arc::clone(&accepted);
    let stub = Stub::new(move |request| {
        let sent = request.header("authorization").unwrap_or_default();
        let known = known.lock().unwrap().iter().any(|key| key == sent);
        Reply::new(if known { 200 } else { 401 }, "hello, world")
    });
    let client = client(&key);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (client, url) = (client.clone(), stub.url());
            tokio::spawn(async move {
                for _ in 0..40 {
                    let response = client.get(&url).send().await.unwrap();
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.text().await.unwrap(), "hello, world");
                }
            })
        })
        .collect();
    let mut drained = first;
    for generation in 2..=20 {
        let value = format!("key-{generation}");
        accepted.lock().unwrap().push(format!("Bearer {value}"));
        let next = key.replace(&value);
        assert!(drained.await.is_err());
        // No request carries the old key now.
        accepted.lock().unwrap().remove(0);
        drained = next;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(stub.requests().len(), 20 * 40);
}
