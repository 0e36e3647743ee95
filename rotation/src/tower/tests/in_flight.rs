//! How long a request counts as in flight.

use futures_util::FutureExt as _;
use http_body_util::Empty;

use super::*;

#[tokio::test]
async fn a_key_is_in_flight_until_the_body_has_been_read() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let server = Server::default();
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let response = send(&mut client, request()).await.unwrap();
    key.replace("two");
    assert!(!is_drained(&mut drained));
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(12));
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hello, world");
    // The body says that it has ended; the caller need not poll it again or drop it.
    assert!(body.is_end_stream());
    assert!(is_drained(&mut drained));
}

/// A response body in these pieces, and the end of the requests with its key.
async fn stream_body(
    pieces: Vec<Result<Frame<Bytes>, &'static str>>,
) -> (GuardedBody<impl Body<Data = Bytes, Error = &'static str> + Unpin>, Drained) {
    let (key, drained) = RotatingKey::fixed("one", 1);
    let pieces = Arc::new(Mutex::new(pieces));
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let pieces = std::mem::take(&mut *pieces.lock().unwrap());
        let body = StreamBody::new(stream::iter(pieces));
        async { Ok::<_, BoxError>(Response::new(body)) }
    });
    let mut client = RotatingKeyLayer::new(key.clone()).layer(service);
    let response = send(&mut client, Request::get(URI).body(Empty::new()).unwrap()).await.unwrap();
    key.replace("two");
    (response.into_body(), drained)
}

#[tokio::test]
async fn frames_and_trailers_are_passed_on_until_the_end() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let pieces = vec![Ok(Frame::data(Bytes::from("a"))), Ok(Frame::trailers(trailers.clone()))];
    let (mut body, mut drained) = stream_body(pieces).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(!is_drained(&mut drained));
    assert!(body.frame().await.is_none());
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_body_that_fails_ends_the_request() {
    let (mut body, mut drained) =
        stream_body(vec![Ok(Frame::data(Bytes::from("a"))), Err("broken")]).await;
    body.frame().await.unwrap().unwrap();
    assert!(!is_drained(&mut drained));
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_body_that_is_dropped_early_ends_the_request() {
    let piece = || Ok(Frame::data(Bytes::from("a")));
    let (mut body, mut drained) = stream_body(vec![piece(), piece()]).await;
    body.frame().await.unwrap().unwrap();
    assert!(!is_drained(&mut drained));
    drop(body);
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_response_without_a_body_ends_the_request() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let service = service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
    });
    let mut client = RotatingKeyLayer::new(key.clone()).layer(service);
    let response = send(&mut client, Request::get(URI).body(Empty::new()).unwrap()).await.unwrap();
    key.replace("two");
    assert!(is_drained(&mut drained));
    drop(response);
}

#[tokio::test]
async fn a_cancelled_request_is_no_longer_in_flight() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let service = service_fn(|_: Request<Empty<Bytes>>| {
        std::future::pending::<Result<Response<Empty<Bytes>>, BoxError>>()
    });
    let mut client = RotatingKeyLayer::new(key.clone()).layer(service);
    let waiting = client.ready().await.unwrap().call(Request::new(Empty::new()));
    key.replace("two");
    assert!(!is_drained(&mut drained));
    drop(waiting);
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn a_retry_holds_only_the_new_key() {
    let (key, mut first) = RotatingKey::fixed("one", 1);
    let second = Arc::new(Mutex::new(None));
    let (replaced, kept) = (key.clone(), Arc::clone(&second));
    let server = Server::default().then(move |_| {
        *kept.lock().unwrap() = Some(replaced.replace("two"));
        StatusCode::UNAUTHORIZED
    });
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let response = send(&mut client, request()).await.unwrap();
    assert!(is_drained(&mut first));
    key.replace("three");
    let mut second = second.lock().unwrap().take().unwrap();
    assert!(!is_drained(&mut second));
    drop(response);
    assert!(is_drained(&mut second));
}

/// Accepts one request, replaces the key, and answers 401.
#[derive(Clone)]
struct Once(RotatingKey);

impl Service<Request<Empty<Bytes>>> for Once {
    type Response = Response<Empty<Bytes>>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.0.state().generation == 1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        self.0.replace("two");
        let response = Response::builder().status(401).body(Empty::new());
        std::future::ready(response.map_err(Into::into))
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_retry_holds_no_key() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let mut client = RotatingKeyLayer::new(key.clone()).layer(Once(key));
    let sent = client.ready().await.unwrap().call(Request::new(Empty::new()));
    let mut sent = std::pin::pin!(sent);
    assert!(sent.as_mut().now_or_never().is_none());
    assert!(is_drained(&mut drained));
}

#[tokio::test]
async fn an_error_of_the_service_ends_the_request() {
    let (key, mut drained) = RotatingKey::fixed("one", 1);
    let service = service_fn(|_: Request<Full<Bytes>>| async {
        Err::<Response<Full<Bytes>>, BoxError>("no connection".into())
    });
    let mut client = RotatingKeyLayer::new(key.clone()).layer(service);
    let error = send(&mut client, request()).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection");
    key.replace("two");
    assert!(is_drained(&mut drained));
}
