//! The primary is lost, and its synchronous standby takes its place.

use std::time::{Duration, Instant};

use strongroom_core::{Backend as _, ErrorKind, PutOptions, VersionSelector};
use strongroom_testkit::postgres::Server;
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::report;

use crate::processes::{LIMIT, Processes, Progress, total};
use crate::writer::{open, path};
use crate::{assert_violations_are_found, check_all, seed};

const PROCESSES: u32 = 3;
const OPERATIONS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn processes_go_on_with_the_promoted_standby_and_lose_nothing() {
    let mut primary = Server::start().await;
    let standby = primary.start_standby().await;
    let (user, password) = (primary.user(), primary.password());
    let url = format!(
        "postgresql://{user}:{password}@{},{}/postgres",
        primary.address(),
        standby.address()
    );
    let directory = tempfile::tempdir().unwrap();
    let processes = Processes::start(&url, PROCESSES, seed(), directory);
    let have_run = |operations| move |progress: &[Progress]| total(progress) >= operations;
    processes.wait_until("the processes do not begin", have_run(OPERATIONS / 2)).await;
    primary.kill();
    let before = processes.progress();
    let have_failed = |progress: &[Progress]| {
        progress.iter().zip(&before).all(|(now, before)| now.failed > before.failed)
    };
    processes.wait_until("the processes do not notice", have_failed).await;
    standby.promote();
    let before = processes.progress();
    let go_on = |progress: &[Progress]| {
        let mut pairs = progress.iter().zip(&before);
        pairs.all(|(now, before)| now.acknowledged > before.acknowledged)
            && total(progress) >= OPERATIONS
    };
    processes.wait_until("the processes do not go on", go_on).await;
    let (histories, summary) = processes.finish(&url).await;
    report(&summary);
    check_all(&histories);
    assert_violations_are_found(&histories);
}

const WAITS_FOR_STANDBY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

#[tokio::test]
async fn a_write_that_the_standby_does_not_have_is_not_acknowledged() {
    let mut primary = Server::start().await;
    let standby = primary.start_standby().await;
    let proxy = Proxy::new(primary.address());
    let (user, password) = (primary.user(), primary.password());
    let url = format!(
        "postgresql://{user}:{password}@{},{}/postgres",
        proxy.address(),
        standby.address()
    );
    let backend = open(&url).await;
    let secret = path(0);
    backend.put(&secret, "first".into(), PutOptions::new()).await.unwrap();

    let paused = standby.pause();
    let put = backend.put(&secret, "second".into(), PutOptions::new());
    let cut = async {
        let begun = Instant::now();
        while primary.sql(WAITS_FOR_STANDBY) == "0" {
            assert!(begun.elapsed() < LIMIT, "no commit waits for the standby");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.reset_existing();
    };
    let (written, ()) = tokio::join!(put, cut);
    // The primary has it, and would be read from.
    let unknown = written.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
    assert!(unknown.cause().contains("the write may be there or not"), "{unknown}");

    // What the primary has sent is not lost with it, but how much that is cannot be known.
    primary.kill();
    paused.resume();
    standby.promote();
    let read = backend.get(&secret, &VersionSelector::Active).await.unwrap();
    let version = read.version().number().unwrap();
    assert!(["first", "second"].contains(&read.expose_text().unwrap()));
    let next = backend.put(&secret, "third".into(), PutOptions::new()).await.unwrap();
    assert_eq!(next.number(), Some(version + 1));
}
