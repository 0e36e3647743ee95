//! Searches for the key in all logs at the most verbose level while requests carry it: those of this crate,
//! those of the HTTP client, and the `Debug` of every type and error.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::process::{self, Role};
use strongroom_testkit::stub::{Reply, Stub};
use tower::{BoxError, Layer as _, Service as _, ServiceExt as _, service_fn};
use tracing_subscriber::filter::LevelFilter;

use crate::{KeyHeader, RotatingKey, RotatingKeyLayer, RotatingKeyMiddleware};

const ROLE: &str = "leaks";
const LEAK: &str = "STRONGROOM_LEAK";

#[tokio::test]
async fn child() {
    if process::role().as_deref() != Some(ROLE) {
        return;
    }
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    // With this variable, the client logs all bytes of its connections.
    through_reqwest(std::env::var(LEAK).is_ok()).await;
    through_tower().await;
}

fn key(rest: &str) -> RotatingKey {
    RotatingKey::fixed(&format!("{CANARY}{rest}"), 1).0
}

async fn through_reqwest(verbose: bool) {
    async fn get(client: &ClientWithMiddleware, url: &str) {
        match client.get(url).send().await {
            Ok(response) => {
                canary::witness(&response);
                canary::witness(&response.text().await);
            }
            Err(error) => {
                canary::witness(&error);
                canary::witness(&error.to_string());
            }
        }
    }
    let away = Stub::new(|_| Reply::new(200, "away"));
    let location = away.url();
    let known = key("late");
    let replaced = known.clone();
    let stub = Stub::new(move |request| match request.target.as_str() {
        "/away" => Reply::new(307, "").header("Location", &location),
        "/late" => {
            replaced.replace(&format!("{CANARY}next"));
            Reply::new(401, "")
        }
        "/reset" => Reply::reset(),
        "/broken" => Reply::new(200, "half").truncated(),
        _ => Reply::new(200, "hello"),
    });
    for key in [known, key("\n")] {
        for header in [KeyHeader::bearer(), KeyHeader::new("x-api-key").unwrap()] {
            let middleware = RotatingKeyMiddleware::new(key.clone()).header(header);
            canary::witness(&middleware);
            let client = reqwest::Client::builder().no_proxy().connection_verbose(verbose);
            let client = ClientBuilder::new(client.build().unwrap()).with(middleware).build();
            for path in ["/", "/late", "/away", "/reset", "/broken"] {
                get(&client, &format!("{}{path}", stub.url())).await;
            }
        }
    }
    // The redirect did carry the key away.
    assert!(away.requests().iter().any(|request| request.header("x-api-key").is_some()));
}

async fn through_tower() {
    let service = service_fn(|request: Request<Full<Bytes>>| {
        canary::witness(&request);
        async { Ok::<_, BoxError>(http::Response::new(Full::<Bytes>::from("hello"))) }
    });
    for key in [key("tower"), key("\n")] {
        let layer = RotatingKeyLayer::new(key.clone());
        canary::witness(&layer);
        let mut client = layer.layer(service);
        let ready = client.ready().await.unwrap();
        let response = ready.call(Request::new(Full::default()));
        canary::witness(&response);
        canary::witness(&response.await);
        canary::witness(&key);
        let (guard, mut headers) = (key.acquire(), HeaderMap::new());
        canary::witness(&guard);
        canary::witness(&KeyHeader::bearer().put(&guard, &mut headers));
        canary::witness(&headers);
    }
}

/// Runs the child and returns its logs.
fn run(leak: bool) -> String {
    let mut role = Role::in_test(ROLE, "tests::leaks::child").unwrap();
    if leak {
        role = role.env(LEAK, "1");
    }
    let mut child = role.spawn().unwrap();
    let mut logs = String::new();
    child.stderr().unwrap().read_to_string(&mut logs).unwrap();
    assert!(child.wait_within(Duration::from_secs(60)).unwrap().success(), "the child failed");
    logs
}

#[test]
fn no_log_contains_the_key() {
    let logs = run(false);
    assert_eq!(canary::find(logs.as_bytes()), None);
    for target in [
        "reqwest::connect: ",
        "hyper_util::client::legacy::pool: ",
        "witness: ",
        "a redirect has led a request with a key to another origin",
        "Sensitive",
    ] {
        assert!(logs.contains(target), "the logs lack `{target}`, so the search proves nothing");
    }
}

#[test]
fn the_search_finds_the_key_in_a_log_of_the_connection() {
    assert!(canary::find(run(true).as_bytes()).is_some());
}
