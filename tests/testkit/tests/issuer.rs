//! Tests of the issuer of API keys.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is test code")]

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use strongroom_core::SecretValue;
use strongroom_testkit::canary;
use strongroom_testkit::issuer::{Counts, Fault, Issuer, KeyStatus, Options, Unit};

const LIMIT: Duration = Duration::from_secs(120);
const SHORT_TIMEOUT: Duration = Duration::from_millis(200);

fn client(limit: Duration) -> Client {
    Client::builder().no_proxy().tls_certs_only([]).timeout(limit).build().unwrap()
}

async fn send(
    client: &Client,
    method: Method,
    url: String,
    key: &SecretValue,
) -> reqwest::Result<Response> {
    client.request(method, url).bearer_auth(key.expose_text().unwrap()).send().await
}

async fn ask(issuer: &Issuer, method: Method, path: &str, key: &SecretValue) -> Response {
    send(&client(LIMIT), method, format!("{}{path}", issuer.base()), key).await.unwrap()
}

async fn work(issuer: &Issuer, key: &SecretValue) -> Response {
    ask(issuer, Method::GET, "/work", key).await
}

async fn rotate(issuer: &Issuer, key: &SecretValue) -> SecretValue {
    let answer = ask(issuer, Method::POST, "/api/keys/rotate", key).await;
    assert_eq!(answer.status(), 200);
    new_key(answer).await
}

async fn new_key(answer: Response) -> SecretValue {
    let body: Value = answer.json().await.unwrap();
    SecretValue::from(body["new_key"].as_str().unwrap())
}

async fn revoke(issuer: &Issuer, key: &SecretValue, bearer: &SecretValue) -> u16 {
    let encoded = utf8_percent_encode(key.expose_text().unwrap(), NON_ALPHANUMERIC);
    ask(issuer, Method::DELETE, &format!("/api/keys/{encoded}"), bearer).await.status().as_u16()
}

fn with(change: impl FnOnce(&mut Options)) -> Issuer {
    let mut options = Options::default();
    change(&mut options);
    Issuer::start(options)
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let issuer = Issuer::start(Options::default());
    let first = issuer.first_key();
    assert_eq!(work(&issuer, &first).await.text().await.unwrap(), "some work\n");
    let second = rotate(&issuer, &first).await;
    assert!(issuer.is_live(&first) && issuer.is_live(&second));
    assert_eq!(issuer.live_keys().len(), 2);
    assert_eq!(revoke(&issuer, &first, &second).await, 204);
    assert_eq!(revoke(&issuer, &first, &second).await, 410);
    assert_eq!(revoke(&issuer, &"never".into(), &second).await, 404);
    assert_eq!(revoke(&issuer, &second, &first).await, 401);
    assert_eq!(issuer.status(&first), Some(KeyStatus::Revoked));
    assert_eq!(issuer.status(&"never".into()), None);
    assert_eq!(work(&issuer, &first).await.status(), 401);
    assert_eq!(work(&issuer, &"never".into()).await.status(), 401);
    assert_eq!(work(&issuer, &second).await.status(), 200);
    assert_eq!(ask(&issuer, Method::POST, "/api/keys/rotate", &first).await.status(), 401);
    assert_eq!(ask(&issuer, Method::GET, "/api/whoami", &first).await.status(), 401);
    assert_eq!(ask(&issuer, Method::GET, "/api/whoami", &second).await.status(), 204);
    assert_eq!(ask(&issuer, Method::GET, "/elsewhere", &second).await.status(), 404);
    let Counts { issue_calls, issued, revoke_calls, revoked, .. } = issuer.counts();
    assert_eq!((issue_calls, issued, revoke_calls, revoked), (2, 1, 4, 1));
    let Counts { live_uses, revoked_uses, unknown_uses, unauthorized, .. } = issuer.counts();
    assert_eq!((live_uses, revoked_uses, unknown_uses, unauthorized), (2, 1, 1, 5));
    issuer.reset_counts();
    assert_eq!(issuer.counts(), Counts::default());
}

#[tokio::test]
async fn the_same_id_gives_the_same_key_if_ids_are_honoured() {
    for honours_ids in [true, false] {
        let issuer = with(|options| options.honours_ids = honours_ids);
        let ask = async |id: &str| {
            let url = format!("{}/api/keys/rotate", issuer.base());
            let first = issuer.first_key();
            let request = client(LIMIT).post(url).bearer_auth(first.expose_text().unwrap());
            new_key(request.header("Idempotency-Key", id).send().await.unwrap()).await
        };
        let (one, again, other) = (ask("1").await, ask("1").await, ask("2").await);
        assert_eq!(one.constant_time_eq(&again), honours_ids);
        assert!(!one.constant_time_eq(&other));
        let counts = issuer.counts();
        assert_eq!((counts.issue_calls, counts.issued), (3, if honours_ids { 2 } else { 3 }));
    }
}

#[tokio::test]
async fn a_list_names_the_live_keys() {
    let issuer = Issuer::start(Options::default());
    let (first, second) = (issuer.first_key(), issuer.make_key(None));
    issuer.revoke(&issuer.make_key(None));
    let body: Value = ask(&issuer, Method::GET, "/api/keys", &first).await.json().await.unwrap();
    let keys: Vec<_> =
        body["keys"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [first.expose_text().unwrap(), second.expose_text().unwrap()]);
    let without = with(|options| options.lists_keys = false);
    let answer = ask(&without, Method::GET, "/api/keys", &without.first_key()).await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_key_expires_on_time_and_announces_its_expiry() {
    let day = Duration::from_secs(86_400);
    for (unit, expected) in [(Unit::Seconds, "259199"), (Unit::Days, "2"), (Unit::Suffixed, "2d")] {
        let issuer = with(|options| {
            options.unit = unit;
            options.first_key_life = Some(3 * day);
            options.key_life = Some(day);
        });
        let first = issuer.first_key();
        let answer = work(&issuer, &first).await;
        assert_eq!(answer.headers()["x-key-expires-in"], expected);
        let answer = ask(&issuer, Method::POST, "/api/keys/rotate", &first).await;
        let body: Value = answer.json().await.unwrap();
        assert!(body["expires_at"].is_u64());

        issuer.expire_at(&first, SystemTime::now());
        assert_eq!(work(&issuer, &first).await.status(), 401);
        assert_eq!(issuer.status(&first), Some(KeyStatus::Expired));
        assert_eq!(issuer.counts().expired_uses, 1);
        assert_eq!(issuer.live_keys().len(), 1);
    }
    let endless = Issuer::start(Options::default());
    let answer = work(&endless, &endless.first_key()).await;
    assert!(answer.headers().get("x-key-expires-in").is_none());
}

#[tokio::test]
async fn faults_occur_in_order_and_once() {
    let issuer = Issuer::start(Options::default());
    let key = issuer.first_key();
    issuer.next_issues(2, Fault::Status(503));
    issuer.next_issues(1, Fault::SlowDown(7));
    issuer.next_issues(1, Fault::Late(SHORT_TIMEOUT));
    issuer.next_issues(1, Fault::LoseAnswer);
    let url = || format!("{}/api/keys/rotate", issuer.base());
    for _ in 0..2 {
        assert_eq!(ask(&issuer, Method::POST, "/api/keys/rotate", &key).await.status(), 503);
    }
    let slow_down = ask(&issuer, Method::POST, "/api/keys/rotate", &key).await;
    assert_eq!(
        (slow_down.status().as_u16(), &slow_down.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    let begin = Instant::now();
    rotate(&issuer, &key).await;
    assert!(begin.elapsed() >= SHORT_TIMEOUT);
    assert_eq!(issuer.live_keys().len(), 2);
    let lost = send(&client(LIMIT), Method::POST, url(), &key).await.unwrap_err();
    assert!(!lost.is_timeout());
    assert_eq!(issuer.live_keys().len(), 3);
    for (fault, live) in [(Fault::Hang, 3), (Fault::ActAndHang, 4)] {
        issuer.next_issues(1, fault);
        let none = send(&client(SHORT_TIMEOUT), Method::POST, url(), &key).await.unwrap_err();
        assert!(none.is_timeout());
        assert_eq!(issuer.live_keys().len(), live);
    }
    issuer.next_issues(1, Fault::Hang);
    issuer.clear_faults();
    rotate(&issuer, &key).await;
    assert_eq!(issuer.counts().issue_calls, 8);
}

#[tokio::test]
async fn a_revocation_can_fail_or_lose_its_response() {
    let issuer = Issuer::start(Options::default());
    let (key, old) = (issuer.first_key(), issuer.make_key(None));
    issuer.next_revocations(1, Fault::Status(500));
    assert_eq!(revoke(&issuer, &old, &key).await, 500);
    assert!(issuer.is_live(&old));
    issuer.next_revocations(1, Fault::LoseAnswer);
    let encoded = old.expose_text().unwrap().replace('/', "%2F");
    let url = format!("{}/api/keys/{encoded}", issuer.base());
    send(&client(LIMIT), Method::DELETE, url, &key).await.unwrap_err();
    assert!(!issuer.is_live(&old));
    assert_eq!(issuer.counts().revoked, 1);
}

#[tokio::test]
async fn a_request_is_in_flight_until_the_last_piece() {
    let issuer = with(|options| {
        options.pieces = 3;
        options.pause = SHORT_TIMEOUT;
    });
    let (key, other) = (issuer.first_key(), issuer.make_key(None));
    let mut answer = work(&issuer, &key).await;
    assert!(answer.chunk().await.unwrap().is_some());
    assert_eq!((issuer.in_flight(&key), issuer.in_flight(&other)), (1, 0));
    issuer.revoke(&key);
    assert_eq!(issuer.counts().revoked_in_flight, 1);
    while answer.chunk().await.unwrap().is_some() {}
    assert_eq!(issuer.in_flight(&key), 0);

    let given_up = work(&issuer, &other).await;
    drop(given_up);
    let begin = Instant::now();
    while issuer.in_flight(&other) > 0 {
        assert!(begin.elapsed() < LIMIT, "the issuer did not notice that the client is gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_five_hundred_concurrent_clients() {
    let issuer = Issuer::start(Options::default());
    let (key, url) = (issuer.first_key(), format!("{}/work", issuer.base()));
    let begin = Instant::now();
    join_all((0..500).map(|_| {
        let (key, url, client) = (key.clone(), url.clone(), client(LIMIT));
        tokio::spawn(async move {
            for _ in 0..4 {
                let answer = send(&client, Method::POST, url.clone(), &key).await.unwrap();
                assert_eq!(answer.text().await.unwrap(), "some work\n");
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|client| client.unwrap());
    assert_eq!(issuer.counts().live_uses, 2000);
    strongroom_testkit::report(format_args!(
        "2000 requests of 500 clients in {:?}",
        begin.elapsed()
    ));
}

#[tokio::test]
async fn shows_no_key_and_stops_when_dropped() {
    let issuer = Issuer::start(Options::default());
    let first = issuer.first_key();
    assert!(canary::find(first.expose_bytes()).is_some());
    assert_eq!(
        canary::find(format!("{issuer:?} {first:?} {:?}", issuer.live_keys()).as_bytes()),
        None
    );
    let url = format!("{}/work", issuer.base());
    drop(issuer);
    assert!(send(&client(LIMIT), Method::GET, url, &first).await.unwrap_err().is_connect());
}
