//! A search for the key in everything that is said at the most verbose level while requests carry it:
//! by this crate, by the HTTP client, and by every type and error that is printed.

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
    // Then the client logs all that goes over the wire.
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
        for header in [KeyHeader::bearer(), KeyHeader::named("x-api-key").unwrap()] {
            let middleware = RotatingKeyMiddleware::new(key.clone()).header(header);
            canary::witness(&middleware);
            let client = reqwest::Client::builder().no_proxy().connection_verbose(verbose);
            let client = ClientBuilder::new(client.build().unwrap()).with(middleware).build();
            for path in ["/", "/late", "/away", "/reset", "/broken"] {
                get(&client, &format!("{}{path}", stub.url())).await;
            }
        }
    }
    // The connection is what it says it is: the key has been there.
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

/// Runs the child; all that it said.
fn run(leak: bool) -> String {
    let mut role = Role::in_test(ROLE, "tests::leaks::child").unwrap();
    if leak {
        role = role.env(LEAK, "1");
    }
    let mut child = role.spawn().unwrap();
    let mut said = String::new();
    child.stderr().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait_within(Duration::from_secs(60)).unwrap().success(), "the child failed");
    said
}

#[test]
fn nothing_says_the_key() {
    let said = run(false);
    assert_eq!(canary::find(said.as_bytes()), None);
    for target in [
        "reqwest::connect: ",
        "hyper_util::client::legacy::pool: ",
        "witness: ",
        "a redirect has led a request with a key to another origin",
        "Sensitive",
    ] {
        assert!(said.contains(target), "`{target}` was not said, so nothing was searched");
    }
}

#[test]
fn what_a_client_logs_of_the_wire_is_found() {
    assert!(canary::find(run(true).as_bytes()).is_some());
}
