//! Responses that reject the key.

use super::*;

#[tokio::test]
async fn a_401_finds_the_key_that_another_instance_has_stored() {
    let key = RotatingKey::looking("one", Some("two"));
    let rejects_one = |request: &Request<Bytes>| {
        let is_one = request.headers()["authorization"] == "Bearer one";
        if is_one { StatusCode::UNAUTHORIZED } else { StatusCode::OK }
    };
    let server = Server::default().then(rejects_one).then(rejects_one);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 200);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_401_without_a_newer_key_is_passed_on_after_one_request() {
    let key = RotatingKey::looking("one", None);
    let server = Server::default().then(|_| StatusCode::UNAUTHORIZED);
    let mut client = server.client(RotatingKeyLayer::new(key.clone()));
    let response = send(&mut client, request()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello, world");
    assert_eq!(server.header_values("authorization"), ["Bearer one"]);

    // Without a copy of the request, the layer does not wait for the check.
    let layer = RotatingKeyLayer::new(RotatingKey::looking("one", Some("two"))).without_retry();
    let server = Server::default().then(|_| StatusCode::UNAUTHORIZED);
    let mut client = server.client(layer);
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 401);
    assert_eq!(server.header_values("authorization"), ["Bearer one"]);
}

#[tokio::test]
async fn a_configured_status_rejects_the_key_in_place_of_401() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 403).then_replace(&key, "three", 401);
    let layer = RotatingKeyLayer::new(key).rejection(Rejection::statuses([StatusCode::FORBIDDEN]));
    let mut client = server.client(layer);
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 401);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 200);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two", "Bearer three"]);
}

#[tokio::test]
async fn a_function_can_find_a_rejection_in_the_headers() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 400);
    let bad = Rejection::when(|status, headers| {
        status == StatusCode::BAD_REQUEST && headers.contains_key("x-key-expires-in")
    });
    let mut client = server.client(RotatingKeyLayer::new(key).rejection(bad));
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 200);
    assert_eq!(server.header_values("authorization"), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_rejection_function_that_panics_does_not_lose_the_response() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 401);
    let broken = Rejection::when(|_, _| panic!("a bug"));
    let mut client = server.client(RotatingKeyLayer::new(key).rejection(broken));
    let response = send(&mut client, request()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello, world");
    assert_eq!(server.header_values("authorization"), ["Bearer one"]);
}

#[tokio::test]
async fn a_response_without_the_key_is_never_a_rejection() {
    let (key, _drained) = RotatingKey::fixed("one", 1);
    let server = Server::default().then_replace(&key, "two", 403);
    let layer = RotatingKeyLayer::new(key).rejection(Rejection::when(|_, _| true));
    let mut client = server.client(layer.allow_origin("https://other.example").unwrap());
    assert_eq!(send(&mut client, request()).await.unwrap().status(), 403);
    assert_eq!(server.header_values("authorization"), [""]);
}
