//! Responses of all kinds.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use strongroom_core::{ErrorKind, Result, SecretValue};
use strongroom_rotation::{
    ExpiryHeaders, ExpiryUnit, HttpIssuerConfig, IssueAttempt, IssuedKey, KeyIssuer as _,
};
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_testkit::{canary, planted};

use crate::{expect_error, issuer};

const CURRENT: &str = planted!("-current");
const NEW: &str = planted!("-new");

fn current() -> SecretValue {
    CURRENT.into()
}

/// The result of this response to a request for a key.
async fn issue(reply: Reply, change: impl FnOnce(&mut HttpIssuerConfig)) -> Result<IssuedKey> {
    let stub = Stub::new(move |_| reply.clone());
    issuer(stub.url(), change).issue(&current(), &IssueAttempt::random()).await
}

async fn issue_json(body: Value, change: impl FnOnce(&mut HttpIssuerConfig)) -> Result<IssuedKey> {
    issue(Reply::json(200, &body), change).await
}

#[tokio::test]
async fn maps_each_status_to_a_kind() {
    for (status, kind, temporary) in [
        (301, ErrorKind::Unavailable, false),
        (307, ErrorKind::Unavailable, false),
        (400, ErrorKind::Config, false),
        (401, ErrorKind::Unauthenticated, false),
        (403, ErrorKind::Denied, false),
        (404, ErrorKind::Config, false),
        (405, ErrorKind::Config, false),
        (408, ErrorKind::Timeout, true),
        (409, ErrorKind::Conflict, true),
        (410, ErrorKind::Config, false),
        (422, ErrorKind::Config, false),
        (429, ErrorKind::RateLimited, true),
        (500, ErrorKind::Unavailable, true),
        (503, ErrorKind::Unavailable, true),
        (799, ErrorKind::Corrupt, false),
    ] {
        let body = json!({ "error": CURRENT, "new_key": NEW });
        let reply =
            Reply::json(status, &body).header("Location", "/elsewhere").header("X-Key", NEW);
        let stub = Stub::new(move |_| reply.clone());
        let issuer = issuer(stub.url(), |config| config.endpoints.verify_path = Some("/me".into()));
        let key = SecretValue::from(NEW);
        let error = expect_error(kind, issuer.issue(&current(), &IssueAttempt::random()).await);
        assert_eq!(error.is_temporary(), temporary, "{error}");
        assert!(
            error.to_string().contains(&status.to_string()) || !(400..600).contains(&status),
            "{error}"
        );
        expect_error(kind, issuer.verify(&key).await);
        if status == 404 {
            assert!(error.to_string().contains("`/api/keys/rotate`"), "{error}");
        }
        let revoked = issuer.revoke(&key, &current()).await;
        if matches!(status, 404 | 410) {
            revoked.unwrap();
        } else {
            expect_error(kind, revoked);
        }
        assert_eq!(stub.requests().len(), 3, "no redirect is followed");
    }
}

#[tokio::test]
async fn sends_requests_of_the_common_shape() {
    let stub = Stub::new(|_| Reply::json(200, &json!({ "key": NEW })));
    let issuer = issuer(stub.url(), |_| {});
    let id = IssueAttempt::random();
    issuer.issue(&current(), &id).await.unwrap();
    let key = SecretValue::from(planted!("/+%&?#=ü .."));
    issuer.revoke(&key, &current()).await.unwrap();
    let requests = stub.requests();
    assert_eq!(
        (requests[0].method.as_str(), requests[0].target.as_str()),
        ("POST", "/api/keys/rotate")
    );
    assert_eq!(requests[0].header("authorization"), Some(concat!("Bearer ", planted!("-current"))));
    assert_eq!(requests[0].header("idempotency-key"), Some(id.id.as_str()));
    assert_eq!(requests[0].header("content-length"), Some("0"));
    assert_eq!(requests[1].method, "DELETE");
    assert_eq!(
        requests[1].target,
        concat!("/api/keys/", planted!("%2F%2B%25%26%3F%23%3D%C3%BC%20.."))
    );
    assert_eq!(requests[1].header("idempotency-key"), None);
}

#[tokio::test]
async fn sends_requests_with_the_configured_paths_methods_and_names() {
    let stub = Stub::new(|_| Reply::json(201, &json!({ "data": [{ "s": NEW }] })));
    let issuer = issuer(format!("{}/v2/", stub.url()), |config| {
        config.endpoints.issue_method = http::Method::PUT;
        config.endpoints.issue_path = "/roll?now=1".into();
        config.response.key_pointers = vec!["/none".into(), "/data/0/s".into()];
        config.idempotency_header = Some("X-Attempt".into());
        config.endpoints.revoke_method = http::Method::POST;
        config.endpoints.revoke_path = "/keys/{key}/off".into();
    });
    let issued = issuer.issue(&current(), &IssueAttempt::random()).await.unwrap();
    assert_eq!(issued.value.expose_text().unwrap(), NEW);
    issuer.revoke(&"a".into(), &current()).await.unwrap();
    let requests = stub.requests();
    assert_eq!(format!("{requests:?}"), "[PUT /v2/roll?now=1, POST /v2/keys/a/off]");
    assert!(requests[0].header("x-attempt").is_some());
    assert!(requests[0].header("idempotency-key").is_none());
}

#[tokio::test]
async fn passes_on_retry_after() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
    for (status, line, seconds) in [
        (429, "7", Some(7..=7)),
        (503, "7", Some(7..=7)),
        (409, "7", Some(7..=7)),
        (429, date.as_str(), Some(3500..=3600)),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", Some(0..=0)),
        (429, "18446744073709551615", Some(86_400..=86_400)),
        (429, "soon", None),
        (429, "-1", None),
        (403, "7", None),
    ] {
        let reply = Reply::new(status, "").header("Retry-After", line);
        let error = issue(reply, |_| {}).await.unwrap_err();
        let delay = error.retry_after().map(|delay| delay.as_secs());
        assert_eq!(delay.is_some(), seconds.is_some(), "{line}");
        assert!(seconds.is_none_or(|range| range.contains(&delay.unwrap())), "{line}: {delay:?}");
        canary::witness_error(&error);
    }
}

#[tokio::test]
async fn a_success_without_a_usable_key_is_a_permanent_error() {
    for (body, kind) in [
        (String::new(), ErrorKind::Corrupt),
        ("<html>".into(), ErrorKind::Corrupt),
        (format!("{{\"new_key\": \"{NEW}\""), ErrorKind::Corrupt),
        (format!("{{\"new_key\": \"{NEW}\"}} x"), ErrorKind::Corrupt),
        ("{}".into(), ErrorKind::Config),
        ("[]".into(), ErrorKind::Config),
        (format!("\"{NEW}\""), ErrorKind::Config),
        ("{\"new_key\": null}".into(), ErrorKind::Config),
        ("{\"new_key\": 17}".into(), ErrorKind::Corrupt),
        ("{\"new_key\": \"\"}".into(), ErrorKind::Corrupt),
        ("{\"new_key\": \"a b\"}".into(), ErrorKind::Corrupt),
        (format!("{{\"new_key\": \"{NEW}\\n\"}}"), ErrorKind::Corrupt),
        (format!("{{\"new_key\": {{\"id\": \"{NEW}\"}}}}"), ErrorKind::Corrupt),
        (format!("{{\"key\": \"{CURRENT}\"}}"), ErrorKind::Corrupt),
        (format!("{{\"key\": \"{NEW}\", \"x\": \"{}\"}}", "y".repeat(70_000)), ErrorKind::Corrupt),
    ] {
        let error = expect_error(kind, issue(Reply::new(200, body), |_| {}).await);
        assert!(!error.is_temporary(), "{error}");
    }
    let not_utf8 = Reply::new(200, b"{\"key\": \"\xff\"}".to_vec());
    expect_error(ErrorKind::Corrupt, issue(not_utf8, |_| {}).await);
}

#[tokio::test]
async fn a_broken_connection_is_unavailable() {
    let body = json!({ "key": NEW });
    for reply in [Reply::reset(), Reply::json(200, &body).truncated()] {
        let error = expect_error(ErrorKind::Unavailable, issue(reply, |_| {}).await);
        assert!(error.is_temporary(), "{error}");
    }
}

#[tokio::test]
async fn unescapes_the_key() {
    let body = format!(r#"{{"key": "{NEW}\u002d\/"}}"#);
    let issued = issue(Reply::new(200, body).in_pieces(7, Duration::ZERO), |_| {}).await.unwrap();
    assert_eq!(issued.value.expose_text().unwrap(), format!("{NEW}-/"));
}

#[tokio::test]
async fn takes_the_earliest_plausible_expiry_and_ignores_others() {
    let day = 86_400;
    let at = |pointer: &str| Some(pointer.to_owned());
    for (body, header, days) in [
        (json!({ "key": NEW, "at": null }), "x", None),
        (json!({ "key": NEW, "at": "soon", "in": -1 }), "soon", None),
        (json!({ "key": NEW, "at": NEW, "in": { "a": NEW } }), NEW, None),
        (json!({ "key": NEW, "in": 30 }), "x", Some(30)),
        (json!({ "key": NEW, "in": "30 days" }), "40", Some(30)),
        (json!({ "key": NEW, "in": 30.5 }), "40", Some(40)),
        (json!({ "key": NEW, "at": "9999-12-31T00:00:00Z", "in": 30 }), "20", Some(20)),
    ] {
        let reply = Reply::json(200, &body).header("X-Key-Expires-In", header);
        let begin = SystemTime::now();
        let issued = issue(reply, |config| {
            config.response.expires_at_pointer = at("/at");
            config.response.expires_in_pointer =
                at("/in").map(|pointer| (pointer, ExpiryUnit::Days));
            config.response.expiry_headers = Some(ExpiryHeaders::new(ExpiryUnit::Days));
        });
        let issued = issued.await.unwrap();
        assert_eq!(issued.value.expose_text().unwrap(), NEW);
        let left = issued.expires_at.map(|end| end.duration_since(begin).unwrap().as_secs() / day);
        assert_eq!(left, days, "{body}");
    }
    let ignored = issue_json(json!({ "key": NEW, "expires_at": 1 }), |_| {}).await.unwrap();
    assert_eq!(ignored.expires_at, None);
}

#[tokio::test]
async fn rejects_a_list_of_something_else() {
    for (list, kind) in [
        (json!({ "keys": [] }), ErrorKind::Config),
        (json!({ "keys": ["id-1", "id-2"] }), ErrorKind::Config),
        (json!({ "keys": [{ "key": planted!("-cur…") }] }), ErrorKind::Config),
        (json!({ "keys": [{ "id": 1 }, { "key": CURRENT }] }), ErrorKind::Config),
        (json!({ "keys": [CURRENT, 17] }), ErrorKind::Config),
        (json!({ "keys": { "key": CURRENT } }), ErrorKind::Config),
        (json!([CURRENT]), ErrorKind::Config),
        (json!("x"), ErrorKind::Config),
    ] {
        let stub = Stub::new(move |_| Reply::json(200, &list));
        let issuer = issuer(stub.url(), |config| config.endpoints.list_path = Some("/keys".into()));
        let error = expect_error(kind, issuer.list(&current()).await);
        assert!(!error.is_temporary());
        assert_eq!(stub.requests().len(), 1);
    }
    let stub = Stub::new(|_| Reply::json(200, &json!([CURRENT, NEW, { "k": "other" }])));
    let issuer = issuer(stub.url(), |config| {
        config.endpoints.list_path = Some("/keys".into());
        config.response.list_pointer = String::new();
        config.response.list_key_pointer = "/k".into();
    });
    let listed = issuer.list(&current()).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|key| key.expose_text().unwrap()).collect();
    assert!(listed == [CURRENT, NEW, "other"]);
}
