//! `serve` when something goes wrong: a server that is killed, a database that goes away, a disk that is full. What was
//! acknowledged is there, statuses are clear, and no server has to be started again.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Store;
use support::serving::Serving;

/// How long a test waits for a condition on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn value(body: &str) -> String {
    let document: Value = serde_json::from_str(body).unwrap();
    document.get("value").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn put(server: &Serving, token: &str, name: &str, value: &str) -> Option<u16> {
    let body = format!("{{\"value\": \"{value}\"}}");
    server.try_ask(token, &format!("PUT /v1/secrets/{name}"), &body).ok().map(|(status, _)| status)
}

fn get(server: &Serving, token: &str, name: &str) -> (u16, String) {
    server.ask(token, &format!("GET /v1/secrets/{name}"), "")
}

#[cfg(all(feature = "native-postgres", feature = "access-postgres"))]
mod together {
    use strongroom_testkit::postgres;

    use super::*;

    fn store(database: &postgres::Server) -> Store {
        let (user, password, address) = (database.user(), database.password(), database.address());
        let url = format!("postgresql://{user}:{password}@{address}/postgres");
        let store = Store::none();
        let (key, rules) = (store.file("store.key"), store.file("access.key"));
        store
            .with("SECRETS_BACKEND", "native")
            .with("SECRETS_NATIVE_URL", &url)
            .with("SECRETS_NATIVE_KEY_FILE", key)
            .with("SECRETS_ACCESS_URL", &url)
            .with("SECRETS_ACCESS_KEY_FILE", rules)
    }

    fn start(store: &Store) -> (Serving, String) {
        let file = store.file("first.token");
        let server =
            Serving::start(store, &["--tenant", "acme", "--token-file", file.to_str().unwrap()]);
        (server, fs::read_to_string(file).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_servers_on_one_database_are_one_also_when_one_is_killed() {
        let database = postgres::Server::start_durable().await;
        let store = store(&database);
        let (first, token) = start(&store);
        let (second, _) = start(&store);
        assert_eq!(put(&first, &token, "shared", "one"), Some(200));
        assert_eq!(value(&get(&second, &token, "shared").1), "one");
        // A change is seen by the other one, also in its cache.
        assert_eq!(put(&second, &token, "shared", "two"), Some(200));
        wait_until("the change is not seen", || value(&get(&first, &token, "shared").1) == "two");
        // A token of one is a token of the other, until either of them revokes it.
        let new = "{\"scopes\": [\"secrets:read:shared\"], \"expires_in_seconds\": 600, \"reason\": \"a job\"}";
        let (status, issued) = first.ask(&token, "POST /v1/tokens", new);
        assert_eq!(status, 201);
        let issued: Value = serde_json::from_str(&issued).unwrap();
        let (id, job) = (issued["id"].as_str().unwrap(), issued["token"].as_str().unwrap());
        wait_until("the token is not known", || get(&second, job, "shared").0 == 200);
        assert_eq!(second.ask(&token, &format!("DELETE /v1/tokens/{id}"), "").0, 204);
        wait_until("the token is not revoked", || get(&first, job, "shared").0 == 401);

        // One is killed in the midst of writes: each that was acknowledged is there.
        let acknowledged = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    if put(&first, &token, &format!("n/{number}"), &number.to_string()) != Some(200)
                    {
                        break;
                    }
                    acknowledged.store(number, Ordering::Release);
                }
            });
            wait_until("nothing is written", || acknowledged.load(Ordering::Acquire) > 50);
            first.kill();
        });
        for number in 1..=acknowledged.into_inner() {
            let (status, body) = get(&second, &token, &format!("n/{number}"));
            assert_eq!((status, value(&body)), (200, number.to_string()));
        }
        // The audit is whole, and the next server goes on.
        assert_eq!(second.ask(&token, "POST /v1/audit/verify", "").0, 200);
        let (third, _) = start(&store);
        assert_eq!(value(&get(&third, &token, "shared").1), "two");
        assert_eq!(put(&third, &token, "shared", "three"), Some(200));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_goes_away_and_comes_back_needs_no_restart() {
        let mut database = postgres::Server::start_durable().await;
        let store = store(&database);
        let (server, token) = start(&store);
        assert_eq!(put(&server, &token, "a", "kept"), Some(200));
        database.kill();
        // It runs, and says that it cannot serve: at once, or after the time for which rules may be used.
        wait_until("it is ready without its store", || {
            server.ask("", "GET /v1/ready", "").0 == 503
        });
        assert_eq!(server.ask("", "GET /v1/health", "").0, 200);
        let refused = put(&server, &token, "a", "lost").unwrap();
        assert!([503, 504].contains(&refused), "{refused}");
        let (refused, problem) = server.ask(&token, "GET /v1/secrets", "");
        assert!([503, 504].contains(&refused) && problem.contains("advice"), "{refused} {problem}");
        database.start_again().await;
        wait_until("it does not recover", || get(&server, &token, "a").0 == 200);
        assert_eq!(value(&get(&server, &token, "a").1), "kept");
        wait_until("it is not ready", || server.ask("", "GET /v1/ready", "").0 == 200);
        assert_eq!(put(&server, &token, "a", "new"), Some(200));
        assert_eq!(server.ask(&token, "POST /v1/audit/verify", "").0, 200);
    }
}

#[cfg(all(feature = "native", target_os = "linux"))]
#[test]
fn a_full_disk_stops_writes_and_loses_nothing() {
    let store = Store::none();
    let folder = store.file("data");
    let server = Serving::start_limited(&store, 2048, &["--data", folder.to_str().unwrap()]);
    let token = fs::read_to_string(server.started["token_file"].as_str().unwrap()).unwrap();
    let large = "x".repeat(8 * 1024);
    let mut written = 0;
    let refused = loop {
        match put(&server, &token, &format!("n/{written}"), &format!("{written}:{large}")).unwrap()
        {
            200 => written += 1,
            status => break status,
        }
        assert!(written < 1_000, "the limit is not reached");
    };
    assert_eq!(refused, 503);
    assert!(written > 10, "{written}");
    assert_eq!(server.ask("", "GET /v1/health", "").0, 200);
    // There is room again: it goes on by itself.
    server.lift_limit();
    wait_until("it does not recover", || put(&server, &token, "after", "it").unwrap() == 200);
    for number in 0..written {
        let (status, body) = get(&server, &token, &format!("n/{number}"));
        assert!(status == 200 && value(&body).starts_with(&format!("{number}:")), "{status}");
    }
    assert_eq!(server.ask(&token, "POST /v1/audit/verify", "").0, 200);
}
