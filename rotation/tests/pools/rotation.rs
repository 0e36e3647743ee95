//! Clients that query through a pool while its key rotates.

use std::time::{Duration, Instant};

use strongroom_rotation::{RotatingKey, RotationPolicy};
use strongroom_testkit::report;

use crate::fixture::Fixture;
use crate::{BOUND, DRAIN_TIMEOUT, Pool};

const CLIENTS: usize = 40;
const ROTATIONS: u32 = 9;

/// A drain that lasts until the last connection of the old key is closed, or fails the test.
fn policy() -> RotationPolicy {
    RotationPolicy::new().single_instance().drain_timeout(DRAIN_TIMEOUT)
}

/// 40 clients query while the two roles alternate about once a second.
async fn query_while_roles_take_turns(
    name: &str,
    open: fn(&RotatingKey) -> Pool,
    end_sessions: bool,
) {
    let mut fixture = Fixture::start().await;
    fixture.end_sessions = end_sessions;
    let mut instance = fixture.instance(policy()).await;
    let pool = open(&instance.key);
    let mut load = crate::load::Load::start(CLIENTS, pool.query("SELECT pg_sleep(0.005)"));
    let start = Instant::now();
    let mut begin = String::new();
    for turn in 1..=ROTATIONS {
        load.progress(2 * CLIENTS as u64).await;
        begin = fixture.now();
        instance.rotate().await;
        tokio::time::sleep_until((start + turn * Duration::from_millis(900)).into()).await;
    }
    load.progress(2 * CLIENTS as u64).await;
    let queries = load.stop().await;
    let took = start.elapsed().as_secs_f64();
    report(format!(
        "{name}, sessions ended: {end_sessions}: {ROTATIONS} rotations in {took:.1} s under {CLIENTS} \
         clients: {queries} queries, none failed"
    ));
    assert!(fixture.connections() > 0);
    fixture.only_current(&instance.key, &begin).await;
    assert!(!fixture.server.log().contains("password authentication failed"));
    instance.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_through_sqlx_fails_while_the_roles_take_turns() {
    query_while_roles_take_turns("sqlx", Pool::sqlx, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_through_deadpool_fails_while_the_roles_take_turns() {
    query_while_roles_take_turns("deadpool", Pool::deadpool, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_through_sqlx_fails_when_revocations_end_sessions() {
    query_while_roles_take_turns("sqlx", Pool::sqlx, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_through_deadpool_fails_when_revocations_end_sessions() {
    query_while_roles_take_turns("deadpool", Pool::deadpool, true).await;
}

/// Another instance has the key revoked before this one knows of the new key.
async fn query_while_another_instance_revokes(name: &str, open: fn(&RotatingKey) -> Pool) {
    let fixture = Fixture::start().await;
    // Left alone, an instance notices a new key after a third of this time.
    let policy = RotationPolicy::new().propagation_timeout(5 * BOUND).drain_timeout(DRAIN_TIMEOUT);
    let (one, other) = (fixture.instance(policy.clone()).await, fixture.instance(policy).await);
    let pool = open(&one.key);
    let mut load = crate::load::Load::start(CLIENTS, pool.query_after_login("SELECT 1"));
    for _ in 0..4 {
        load.progress(2 * CLIENTS as u64).await;
        let generation = other.key.rotate_compromised().await.unwrap();
        one.wait_for_generation(generation).await;
    }
    load.progress(2 * CLIENTS as u64).await;
    let queries = load.stop().await;
    let refused = fixture.server.log().matches("password authentication failed").count();
    report(format!(
        "{name}: 4 revocations by another instance under {CLIENTS} clients: {queries} queries, none \
         failed; {refused} logins were refused and tried once more"
    ));
    assert!(refused > 0);
    one.engine.shutdown().await;
    other.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_logs_in_once_more_after_another_instance_revoked_the_key() {
    query_while_another_instance_revokes("sqlx", Pool::sqlx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool_logs_in_once_more_after_another_instance_revoked_the_key() {
    query_while_another_instance_revokes("deadpool", Pool::deadpool).await;
}
