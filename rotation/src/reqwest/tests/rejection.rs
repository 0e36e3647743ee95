//! Responses that reject the key.

use http::StatusCode;

use super::*;

#[tokio::test]
async fn a_401_finds_the_key_that_another_instance_has_stored() {
    for newer in [Some("two"), None] {
        let key = RotatingKey::looking("one", newer);
        let stub = Stub::new(|request| match request.header("authorization") {
            Some("Bearer two") => Reply::new(200, "hello, world"),
            _ => Reply::new(401, "who are you"),
        });
        let response = client(&key).get(stub.url()).send().await.unwrap();
        assert_eq!(response.status(), if newer.is_some() { 200 } else { 401 });
        let text = response.text().await.unwrap();
        assert_eq!(text, if newer.is_some() { "hello, world" } else { "who are you" });
        let carried = ["Bearer one", "Bearer two"];
        let carried = if newer.is_some() { &carried[..] } else { &carried[..1] };
        assert_eq!(header_values(&stub, "authorization"), some(carried));
    }
}

/// Replaces the key, and answers with these statuses in turn; then with 200.
fn replacing_with(key: &RotatingKey, statuses: &'static [u16]) -> Stub {
    let (key, left) = (key.clone(), Mutex::new(statuses.iter()));
    Stub::new(move |_| match left.lock().unwrap().next() {
        Some(status) => {
            key.replace(&format!("after {status}"));
            Reply::new(*status, "no").header("WWW-Authenticate", "Bearer error=\"invalid_token\"")
        }
        None => Reply::new(200, "hello, world"),
    })
}

async fn status_of(middleware: RotatingKeyMiddleware, stub: &Stub) -> u16 {
    client_of(middleware).get(stub.url()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_403_rejects_the_key_only_if_it_is_configured() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let middleware = RotatingKeyMiddleware::new(key.clone());
    let stub = replacing_with(&key, &[403]);
    assert_eq!(status_of(middleware.clone(), &stub).await, 403);
    assert_eq!(stub.requests().len(), 1);

    let or_forbidden = Rejection::statuses([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
    for status in [&[401], &[403]] {
        let stub = replacing_with(&key, status);
        assert_eq!(status_of(middleware.clone().rejection(or_forbidden.clone()), &stub).await, 200);
        assert_eq!(stub.requests().len(), 2);
    }
    let stub = replacing_with(&key, &[403, 403, 403]);
    assert_eq!(status_of(middleware.rejection(or_forbidden), &stub).await, 403);
    assert_eq!(stub.requests().len(), 2);
}

#[tokio::test]
async fn a_function_can_find_a_rejection_in_the_headers() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = replacing_with(&key, &[400]);
    let invalid_token = Rejection::when(|_, headers| {
        let challenge = headers.get(header::WWW_AUTHENTICATE);
        challenge.is_some_and(|line| line.to_str().unwrap().contains("invalid_token"))
    });
    let middleware = RotatingKeyMiddleware::new(key).rejection(invalid_token);
    assert_eq!(status_of(middleware, &stub).await, 200);
    assert_eq!(header_values(&stub, "authorization"), some(&["Bearer one", "Bearer after 400"]));
}

#[tokio::test]
async fn a_rejection_function_that_panics_does_not_lose_the_response() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let stub = replacing_with(&key, &[401]);
    let broken = Rejection::when(|_, _| panic!("a bug"));
    let client = client_of(RotatingKeyMiddleware::new(key).rejection(broken));
    let response = client.get(stub.url()).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((response.text().await.unwrap().as_str(), stub.requests().len()), ("no", 1));
}
