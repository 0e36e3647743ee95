//! Handles that follow a real server.

use std::time::{Duration, Instant};

use strongroom::{ErrorKind, SecretHandle};
use strongroom_testkit::openbao::Server;
use tokio::time::{sleep, timeout};

use crate::support::{
    KEY, LIMIT, POLL_INTERVAL, check, config, open, policy, text_of, wait_until, write,
};

/// How often a handle checks the server.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The next value, and the time until it came.
async fn next(handle: &mut SecretHandle) -> (String, Duration) {
    let begin = Instant::now();
    let changed = timeout(LIMIT, handle.changed()).await.expect("the value changes").unwrap();
    (text_of(&changed).to_owned(), begin.elapsed())
}

#[tokio::test]
async fn a_handle_follows_the_server_through_an_outage() {
    let server = Server::dev().await;
    write(&server, KEY, "first").await;
    // The cache alone would not send another request.
    let policy = policy().cache_ttl(Duration::from_secs(300)).watch_interval(WATCH_INTERVAL);
    let secrets = open(config(&server, None).await, policy).await;
    let mut handle = secrets.watch(KEY).await.unwrap();
    assert_eq!(text_of(&handle.current()), "first");

    write(&server, KEY, "second").await;
    let (value, took) = next(&mut handle).await;
    assert_eq!(value, "second");
    // On a busy machine, the check itself takes longer.
    let begin = Instant::now();
    server.admin("GET", "secret/data/key", None).await;
    let longest = 2 * WATCH_INTERVAL + 10 * begin.elapsed();
    assert!(took < longest, "{took:?} instead of {longest:?}");
    assert_eq!(
        text_of(&secrets.get(KEY).await.unwrap()),
        "second",
        "the cache has the new value, too"
    );

    server.seal().await;
    wait_until("the handle does not notice", || handle.last_error().is_some()).await;
    let error = handle.last_error().unwrap();
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let begin = Instant::now();
    while begin.elapsed() < 2 * WATCH_INTERVAL {
        let current = handle.current();
        assert!(current.is_stale() && text_of(&current) == "second", "{current:?}");
        assert!(handle.last_error().is_some());
        sleep(POLL_INTERVAL).await;
    }

    server.unseal().await;
    write(&server, KEY, "third").await;
    let (value, _) = next(&mut handle).await;
    assert_eq!(value, "third");
    assert!(!handle.current().is_stale());
    assert!(handle.last_error().is_none(), "{:?}", handle.last_error());
}

#[tokio::test]
async fn a_handle_keeps_the_value_of_a_deleted_secret_and_reports_the_error() {
    let server = Server::dev().await;
    write(&server, KEY, "first").await;
    let secrets = open(config(&server, None).await, policy().watch_interval(WATCH_INTERVAL)).await;
    let mut handle = secrets.watch(KEY).await.unwrap();
    server.admin("DELETE", "secret/data/key", None).await;
    wait_until("the handle does not notice", || handle.last_error().is_some()).await;
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::NotFound);
    assert!(handle.current().is_stale() && text_of(&handle.current()) == "first");
    write(&server, KEY, "second").await;
    assert_eq!(next(&mut handle).await.0, "second");
    assert!(handle.last_error().is_none());

    secrets.close().await.unwrap();
    let error = timeout(LIMIT, handle.changed()).await.expect("the handle ends").unwrap_err();
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(text_of(&handle.current()), "second");
}
