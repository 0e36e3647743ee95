//! What a server tells of changes, when servers fail.

use std::time::{Duration, Instant};

use strongroom_core::{Backend as _, Change, ChangeFeed, ErrorKind};
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_wire::{ChangeEvent, KEEP_ALIVE};
use tokio::time::timeout;

use crate::support::{NOWHERE, open, problem, serve};

/// How long a test waits for what has to come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server that begins to answer, and then is silent but keeps the connection.
fn falling_silent() -> Stub {
    Stub::new(|request| match request.target.as_str() {
        "/v1/changes" => {
            Reply::new(200, ChangeEvent::Listening.encode()).in_pieces(1_000, PATIENCE)
        }
        _ => serve(request, "v"),
    })
}

async fn next(feed: &mut dyn ChangeFeed) -> Change {
    timeout(PATIENCE, feed.next()).await.unwrap().unwrap()
}

fn is_changes(request: &strongroom_testkit::stub::Request) -> bool {
    request.target == "/v1/changes"
}

#[tokio::test]
async fn a_server_that_cannot_tell_leads_to_another_one() {
    let full = Stub::new(|request| match request.target.as_str() {
        "/v1/changes" => Reply::new(503, "<html>"),
        _ => serve(request, "v"),
    });
    // It is silent for longer than a listener waits, so it is asked again and again.
    let silent = Stub::new(|request| match request.target.as_str() {
        "/v1/changes" => Reply::silence(),
        _ => serve(request, "v"),
    });
    for first in [NOWHERE.to_owned(), full.url(), silent.url()] {
        let second = Stub::new(|request| match request.target.as_str() {
            "/v1/changes" => Reply::new(200, ChangeEvent::Listening.encode()),
            _ => serve(request, "v"),
        });
        let backend = open(&[&first, &second.url()]).await;
        let mut feed = backend.changes().unwrap();
        assert_eq!(next(&mut *feed).await, Change::Any, "{first}");
        assert!(second.count(is_changes) > 0);
    }
}

#[tokio::test]
async fn a_store_that_tells_of_nothing_ends_the_feed() {
    let stub = Stub::new(|request| match request.target.as_str() {
        "/v1/changes" => {
            problem(&strongroom_core::Error::new(ErrorKind::Unsupported, "read again"))
        }
        _ => serve(request, "v"),
    });
    let backend = open(&[&stub.url()]).await;
    let mut feed = backend.changes().unwrap();
    assert_eq!(timeout(PATIENCE, feed.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_connection_that_is_silent_is_given_up_also_if_the_wait_is_interrupted() {
    let stub = falling_silent();
    let backend = open(&[&stub.url()]).await;
    let mut feed = backend.changes().unwrap();
    let begin = Instant::now();
    while stub.count(is_changes) < 2 {
        // The manager looks now and then whether it still has to follow the store.
        let _ = timeout(Duration::from_secs(1), feed.next()).await;
        assert!(begin.elapsed() < PATIENCE, "the silent connection is still used");
    }
    assert!(begin.elapsed() >= KEEP_ALIVE, "a connection was given up too early");
    backend.close().await.unwrap();
    let ended = async { while feed.next().await.is_some() {} };
    timeout(PATIENCE, ended).await.unwrap();
}
