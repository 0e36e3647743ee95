//! The primary is lost, and its synchronous standby takes its place.

use strongroom_testkit::postgres::Server;
use strongroom_testkit::report;

use crate::processes::{Processes, Progress};
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
    let processes = Processes::start(&url, PROCESSES, OPERATIONS, seed(), directory);
    let have_run = |progress: &[Progress]| {
        let least = OPERATIONS / u64::from(PROCESSES) / 3;
        progress.iter().all(|process| process.recorded >= least)
    };
    processes.wait_until("the processes do not begin", have_run).await;
    primary.kill();
    let before = processes.progress();
    let have_noticed = |progress: &[Progress]| {
        progress.iter().zip(&before).all(|(now, before)| now.failed > before.failed)
    };
    processes.wait_until("the processes do not fail", have_noticed).await;
    standby.promote();
    processes
        .wait_until("the processes do not go on", |progress| {
            progress.iter().all(|process| process.has_finished)
        })
        .await;
    let (histories, summary) = processes.finish(&url).await;
    report(&summary);
    check_all(&histories);
    assert_violations_are_found(&histories);
}
