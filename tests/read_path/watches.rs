//! Handles over a real server.

use std::time::{Duration, Instant};

use strongroom::{ErrorKind, SecretHandle};
use strongroom_testkit::openbao::Server;
use tokio::time::{sleep, timeout};

use crate::support::{KEY, LIMIT, LOOK_EVERY, check, config, open, policy, shown, until, write};

/// How often a handle looks.
const EVERY: Duration = Duration::from_secs(1);

/// The next value, and how long it took to come.
async fn next(handle: &mut SecretHandle) -> (String, Duration) {
    let begin = Instant::now();
    let changed = timeout(LIMIT, handle.changed()).await.expect("it changes").unwrap();
    (shown(&changed).to_owned(), begin.elapsed())
}

#[tokio::test]
async fn a_handle_follows_the_server_through_an_outage() {
    let server = Server::dev().await;
    write(&server, KEY, "first").await;
    // The cache alone would not ask again.
    let policy = policy().cache_ttl(Duration::from_secs(300)).watch_interval(EVERY);
    let secrets = open(config(&server, None).await, policy);
    let mut handle = secrets.watch(KEY).await.unwrap();
    assert_eq!(shown(&handle.current()), "first");

    write(&server, KEY, "second").await;
    let (value, took) = next(&mut handle).await;
    assert_eq!(value, "second");
    assert!(took < 2 * EVERY, "{took:?}");
    assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "second", "the cache has it, too");

    server.seal().await;
    until("the handle does not notice", || handle.last_error().is_some()).await;
    let error = handle.last_error().unwrap();
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let begin = Instant::now();
    while begin.elapsed() < 2 * EVERY {
        let current = handle.current();
        assert!(current.is_stale() && shown(&current) == "second", "{current:?}");
        assert!(handle.last_error().is_some());
        sleep(LOOK_EVERY).await;
    }

    server.unseal().await;
    write(&server, KEY, "third").await;
    let (value, _) = next(&mut handle).await;
    assert_eq!(value, "third");
    assert!(!handle.current().is_stale());
    assert!(handle.last_error().is_none(), "{:?}", handle.last_error());
}

#[tokio::test]
async fn a_handle_keeps_the_value_of_a_secret_that_is_gone_and_says_so() {
    let server = Server::dev().await;
    write(&server, KEY, "first").await;
    let secrets = open(config(&server, None).await, policy().watch_interval(EVERY));
    let mut handle = secrets.watch(KEY).await.unwrap();
    server.admin("DELETE", "secret/data/key", None).await;
    until("the handle does not notice", || handle.last_error().is_some()).await;
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::NotFound);
    assert!(handle.current().is_stale() && shown(&handle.current()) == "first");
    write(&server, KEY, "second").await;
    assert_eq!(next(&mut handle).await.0, "second");
    assert!(handle.last_error().is_none());

    secrets.close().await.unwrap();
    let error = timeout(LIMIT, handle.changed()).await.expect("it ends").unwrap_err();
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(shown(&handle.current()), "second");
}
