//! The layer over services in memory.

mod in_flight;
mod rejection;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use strongroom_core::{Error, ErrorKind};
use tokio::sync::oneshot::error::TryRecvError;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::*;
use crate::drain::Drained;

const URI: &str = "https://api.example.com/v1?x=y";

type Answer = Box<dyn FnMut(&Request<Bytes>) -> StatusCode + Send>;

/// A server, and what it was asked.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Server {
    /// Queues an answer. Without one, the server answers 200.
    fn then(self, answer: impl FnMut(&Request<Bytes>) -> StatusCode + Send + 'static) -> Self {
        self.answers.lock().unwrap().push_back(Box::new(answer));
        self
    }

    /// Queues an answer that replaces the key first.
    fn then_replace(self, key: &RotatingKey, value: &'static str, status: u16) -> Self {
        let key = key.clone();
        self.then(move |_| {
            key.replace(value);
            StatusCode::from_u16(status).unwrap()
        })
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        let request = Request::from_parts(head, body);
        let answer = self.answers.lock().unwrap().pop_front();
        let status = answer.map_or(StatusCode::OK, |mut answer| answer(&request));
        self.asked.lock().unwrap().push(request);
        let response = Response::builder().status(status).header("x-key-expires-in", "9");
        Ok(response.body(Full::from("hello, world"))?)
    }

    fn client<B, P>(
        &self,
        layer: RotatingKeyLayer<P>,
    ) -> impl Service<
        Request<B>,
        Response = Response<GuardedBody<Full<Bytes>>>,
        Error = BoxError,
        Future: Send,
    > + use<B, P>
    where
        B: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
        P: RetryBody<B> + Clone,
    {
        let server = self.clone();
        let service = service_fn(move |request: Request<B>| server.clone().answer(request));
        ServiceBuilder::new().layer(layer).concurrency_limit(1).service(service)
    }

    /// The value of this header in each request.
    fn header_values(&self, header: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let values = |headers: &HeaderMap| {
            headers.get_all(header).iter().map(|value| value.to_str().unwrap()).collect()
        };
        asked.iter().map(|request| values(request.headers())).collect()
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::post(URI).body(Full::from("body")).unwrap()
}

async fn send<B, R>(
    client: &mut impl Service<Request<B>, Response = Response<R>, Error = BoxError>,
    request: Request<B>,
) -> Result<Response<R>, BoxError> {
    // A layer that needs more than one slot of the service would wait for ever.
    let sent = async { client.ready().await?.call(request).await };
    tokio::time::timeout(Duration::from_secs(10), sent).await?
}

fn is_drained(drained: &mut Drained) -> bool {
    matches!(drained.try_recv(), Err(TryRecvError::Closed))
}

#[tokio::test]
async fn each_request_carries_the_current_key() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default();
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let mut with_own = request();
    with_own.headers_mut().insert("authorization", "Basic abc".parse().unwrap());
    assert_eq!(send(&mut client, with_own).await.unwrap().status(), 200);
    key.replace("two");
    send(&mut client, request()).await.unwrap();
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn the_key_goes_into_the_configured_header() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default();
    let header = KeyHeader::new("X-Api-Key").unwrap();
    let mut client = server.client(RotatingKeyLayer::new(key).header(header));
    send(&mut client, request()).await.unwrap();
    assert_eq!(server.header_values("x-api-key"), ["one"]);
    assert_eq!(server.header_values("authorization"), [""]);
}

#[tokio::test]
async fn a_request_whose_key_was_replaced_is_sent_again_unchanged() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 401);
    let mut client = server.client(RotatingKeyLayer::new(key));
    let mut first = request();
    *first.method_mut() = Method::PATCH;
    *first.version_mut() = Version::HTTP_2;
    first.headers_mut().append("x-trace", "a".parse().unwrap());
    first.headers_mut().append("x-trace", "b".parse().unwrap());
    first.extensions_mut().insert(7_u8);
    let response = send(&mut client, first).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello, world");
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
    assert_eq!(server.header_values("x-trace"), ["ab", "ab"]);
    for request in &*server.asked.lock().unwrap() {
        assert_eq!((request.method(), request.version()), (&Method::PATCH, Version::HTTP_2));
        assert_eq!((request.uri().to_string().as_str(), &**request.body()), (URI, &b"body"[..]));
        assert_eq!(request.extensions().get(), Some(&7_u8));
    }
}

#[tokio::test]
async fn no_request_is_sent_a_third_time() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 401).then_replace(&key, "three", 401);
    let mut client = server.client(RotatingKeyLayer::new(key));
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 401);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_401_to_the_current_key_is_passed_on() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then(|_| StatusCode::UNAUTHORIZED);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let response = send(&mut client, request()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello, world");
    assert_eq!(server.header_values("authorization"), ["Bearer one"]);
    assert_eq!(key.observed(), 1);
}

#[tokio::test]
async fn other_failures_with_a_replaced_key_are_passed_on() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 403).then_replace(&key, "three", 500);
    let mut client = server.client(RotatingKeyLayer::new(key));
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 403);
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 500);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_request_that_cannot_be_copied_is_not_sent_again() {
    let streamed = || {
        let frame = Ok::<_, BoxError>(Frame::data(Bytes::from("streamed")));
        Request::post(URI).body(StreamBody::new(stream::iter([frame]))).unwrap()
    };
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 401).then_replace(&key, "three", 401);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()).without_retry());
    assert_eq!(send(&mut client, streamed()).await.unwrap().status(), 401);

    let empty_alone = |body: &Full<Bytes>| body.is_end_stream().then(Full::default);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()).retry_with(empty_alone));
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 401);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);

    let server = Server::default().then_replace(&key, "four", 401);
    let mut client = server.client(RotatingKeyLayer::new(key).retry_with(empty_alone));
    let empty = Request::get(URI).body(Full::default()).unwrap();
    assert_eq!(send(&mut client, empty).await.unwrap().status(), 200);
    assert_eq!(server.header_values("authorization"), ["Bearer three", "Bearer four"]);
}

#[tokio::test]
async fn only_responses_to_the_current_key_are_observed() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default()
        .then(|_| StatusCode::OK)
        .then(|_| StatusCode::UNAUTHORIZED)
        .then_replace(&key, "two", 200)
        .then_replace(&key, "three", 401);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    for (status, observed) in [(200, 1), (401, 2), (200, 2), (200, 3)] {
        assert_eq!(send(&mut client, request()).await.unwrap().status(), status);
        assert_eq!(key.observed(), observed);
    }
    assert_eq!(server.asked.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn requests_to_other_origins_go_out_unchanged() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let server = Server::default();
    let layer = RotatingKeyLayer::new(key.clone()).allow_origin("https://api.example.com").unwrap();
    let mut client = server.client(layer.clone().allow_origin("http://localhost:8080").unwrap());
    for (uri, sent) in [
        (URI, "Bearer one"),
        ("http://localhost:8080/", "Bearer one"),
        ("http://api.example.com/v1", "own"),
        ("https://evil.example/", "own"),
        ("/v1", "own"),
    ] {
        let request = Request::get(uri).header("authorization", "own").body(Full::default());
        drop(send(&mut client, request.unwrap()).await.unwrap());
        assert_eq!(server.header_values("authorization").last().unwrap(), sent, "{uri}");
    }
    assert_eq!(key.observed(), 2);

    let server = Server::default().then_replace(&key, "two", 401);
    let mut client = server.client(layer);
    let request = Request::get("https://evil.example/").body(Full::default()).unwrap();
    let response = send(&mut client, request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.header_values("authorization").len()), (401, 1));
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_key_that_a_header_cannot_carry_is_an_error_of_this_crate() {
    let (key, _drained) = RotatingKey::fixed("one\n", 1);
    let server = Server::default();
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let error = send(&mut client, request()).await.map(drop).unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::WrongType);
    assert!(server.asked.lock().unwrap().is_empty());

    key.replace("two");
    let server = Server::default().then_replace(&key, "thr\nee", 401);
    let mut client = server.client(RotatingKeyLayer::new(key));
    let error = send(&mut client, request()).await.map(drop).unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::WrongType);
    assert_eq!(server.header_values("authorization"), ["Bearer two"]);
}
