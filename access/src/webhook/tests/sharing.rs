//! What survives a process, and what several of them do with one log.

use super::*;
use crate::webhook::delivery::Stop;

/// Deliveries that end as a crash would end them; the log stays open.
fn crash(access: &Access) {
    access.0.webhooks.as_ref().unwrap().stop.send_replace(Stop::Crash);
}

#[tokio::test]
async fn a_new_webhook_begins_at_the_end_of_the_log() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::new(200));
    let config = in_file(folder.path(), receiver.webhook(FAST));
    let access = Access::open(config.clone().without_webhooks()).await.unwrap();
    grant(&access).await;
    access.close().await;
    let access = Access::open(config).await.unwrap();
    let first = grant(&access).await;
    receiver.takes(1).await;
    assert_eq!(receiver.seqs(), [first]);
    access.close().await;
}

#[tokio::test]
async fn a_closed_process_leaves_its_progress_and_what_it_did_not_deliver() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::new(200));
    let limits = Limits { progress: NEVER, ..FAST };
    let config = in_file(folder.path(), receiver.webhook(limits));
    let access = Access::open(config.clone()).await.unwrap();
    let mut expected = vec![grant(&access).await, grant(&access).await];
    receiver.takes(2).await;
    access.close().await;
    let access = Access::open(config.clone().without_webhooks()).await.unwrap();
    expected.push(grant(&access).await);
    access.close().await;
    let access = Access::open(config.clone()).await.unwrap();
    receiver.takes(3).await;
    // The last handle ends the thread as well as `close` does.
    drop(access);
    let access = loop {
        let access = Access::open(config.clone().without_webhooks()).await.unwrap();
        let rows = records(&access, "webhook.advanced").await;
        if rows.last().unwrap().details["settled_to"].as_u64() >= expected.last().copied() {
            break access;
        }
        access.close().await;
    };
    access.close().await;
    let access = Access::open(config).await.unwrap();
    expected.push(grant(&access).await);
    receiver.takes(4).await;
    assert_eq!(receiver.seqs(), expected);
    access.close().await;
}

#[tokio::test]
async fn a_crash_repeats_what_was_delivered_since_the_last_progress_with_the_same_ids() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::new(200));
    let limits = Limits { progress: 3_000, lease: 1_500, margin: 500, ..FAST };
    let config = in_file(folder.path(), receiver.webhook(limits));
    let crashed = Access::open(config.clone()).await.unwrap();
    let first = grant(&crashed).await;
    receiver.takes(1).await;
    let started = Instant::now();
    let is_settled = |row: &AuditRecord| row.details["settled_to"].as_u64() >= Some(first);
    while !records(&crashed, "webhook.advanced").await.iter().any(is_settled) {
        assert!(started.elapsed() < PATIENCE);
    }
    let second = grant(&crashed).await;
    receiver.takes(2).await;
    crash(&crashed);
    let other = Access::open(config).await.unwrap();
    let third = grant(&other).await;
    receiver.takes(4).await;
    assert_eq!(receiver.seqs(), [first, second, second, third]);
    let taken = receiver.taken();
    assert_eq!(taken[1], taken[2]);
    other.close().await;
    crashed.close().await;
}

#[tokio::test]
async fn one_of_two_processes_delivers_and_the_other_takes_over() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::new(200));
    let config = in_file(folder.path(), receiver.webhook(FAST));
    let one = Access::open(config.clone()).await.unwrap();
    let two = Access::open(config).await.unwrap();
    let mut expected = Vec::new();
    for access in [&one, &two, &one, &two] {
        expected.push(grant(access).await);
    }
    receiver.takes(4).await;
    one.close().await;
    for _ in 0..2 {
        expected.push(grant(&two).await);
    }
    receiver.takes(6).await;
    assert_eq!(receiver.seqs(), expected);
    let holders: std::collections::BTreeSet<_> = records(&two, "webhook.advanced")
        .await
        .iter()
        .map(|record| record.details["holder"].to_string())
        .collect();
    assert_eq!(holders.len(), 2);
    two.close().await;
    assert_eq!(receiver.seqs(), expected);
}

#[tokio::test]
async fn a_prune_carries_the_progress() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::new(200));
    let config = in_file(folder.path(), receiver.webhook(FAST));
    let access = Access::open(config.clone()).await.unwrap();
    let first = grant(&access).await;
    receiver.takes(1).await;
    access.close().await;
    let access = Access::open(config.clone().without_webhooks()).await.unwrap();
    let second = grant(&access).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let cut = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let third = grant(&access).await;
    assert!(access.prune_audit(cut, "ops").await.unwrap() > 0);
    access.verify_audit(Vec::new()).await.unwrap();
    access.close().await;
    let access = Access::open(config).await.unwrap();
    receiver.takes(2).await;
    // The second one was removed before it could be delivered.
    assert_eq!(receiver.seqs(), [first, third]);
    assert!(second < third);
    access.close().await;
}
