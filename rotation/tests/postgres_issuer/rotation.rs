//! Clients that open connections while the engine rotates their key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strongroom_core::SecretValue;
use strongroom_rotation::{
    IssueAttempt, KeyIssuer as _, ManagedKey, RotatingKey, RotationEngine, RotationPolicy,
    RotationStep,
};
use strongroom_testkit::report;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::fixture::{Fixture, PATH};

const CLIENTS: u64 = 50;
const ROTATIONS: u64 = 25;

/// The counts of all clients.
#[derive(Default)]
struct Tally {
    logins: AtomicU64,
    queries: AtomicU64,
    is_over: AtomicBool,
}

/// Opens one connection after the other, each with the current key.
async fn client(key: RotatingKey, tally: Arc<Tally>) {
    while !tally.is_over.load(Ordering::Relaxed) {
        let guard = key.acquire();
        let (client, connection) =
            tokio_postgres::connect(guard.expose_text().unwrap(), NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        tally.logins.fetch_add(1, Ordering::Relaxed);
        client.batch_execute("SELECT 1").await.unwrap();
        tally.queries.fetch_add(1, Ordering::Relaxed);
        drop(client);
        task.await.unwrap().unwrap();
        drop(guard);
        // The pause leaves time for other work, and keeps the clients out of step.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(200..800))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_fails_while_the_roles_take_turns() {
    let fixture = Fixture::start().await;
    fixture.put(PATH, fixture.first()).await;
    let engine = RotationEngine::new(Arc::clone(&fixture.store));
    let mut events = engine.events();
    // The issuer ends no sessions; the clients close the connections that a guard covers.
    let policy = RotationPolicy::new().single_instance();
    let issuer = fixture.issuer();
    let key = engine.add(ManagedKey::new(PATH, issuer).policy(policy)).await.unwrap();
    let tally = Arc::new(Tally::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(key.clone(), Arc::clone(&tally)));
    }
    let begin = Instant::now();
    let mut revoked = 0;
    for generation in 1..=ROTATIONS {
        assert_eq!(key.rotate().await.unwrap(), generation);
        loop {
            match events.recv().await.unwrap().step {
                RotationStep::Revoked { .. } => revoked += 1,
                RotationStep::Finished { .. } => break,
                RotationStep::Failed { error } | RotationStep::RevocationFailed { error, .. } => {
                    panic!("{error}");
                }
                RotationStep::Orphaned { .. } => panic!("no key can be left behind"),
                _ => {}
            }
        }
        // All clients use each key before the next rotation.
        while tally.logins.load(Ordering::Relaxed) < generation * CLIENTS {
            assert!(clients.try_join_next().is_none(), "a client has failed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let took = begin.elapsed();
    tally.is_over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    engine.shutdown().await;
    let logins = tally.logins.load(Ordering::Relaxed);
    report(format!(
        "{ROTATIONS} rotations in {:.1} s under {CLIENTS} clients: {logins} logins, none failed",
        took.as_secs_f64()
    ));
    assert_eq!(logins, tally.queries.load(Ordering::Relaxed));
    assert_eq!(revoked, ROTATIONS);
    let stored = fixture.stored_key().await;
    assert!(fixture.accepts(&stored));
    let with_password = fixture.roles.iter().filter(|role| fixture.has_password(role)).count();
    assert_eq!(with_password, 1);
    // All of the engine's own connections have ended.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'";
    assert_eq!(fixture.server.sql(left), "0");
}

/// Each of them uses the password that is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_rotate_at_the_same_time_agree_on_one_password() {
    let fixture = Fixture::start().await;
    fixture.put(PATH, fixture.first()).await;
    let short = Duration::from_millis(300);
    let policy = RotationPolicy::new().propagation_timeout(short).drain_timeout(short);
    let mut instances = Vec::new();
    for _ in 0..3 {
        let engine = RotationEngine::new(Arc::clone(&fixture.store));
        let rotation = ManagedKey::new(PATH, fixture.issuer()).policy(policy.clone());
        let key = engine.add(rotation).await.unwrap();
        instances.push((engine, key));
    }
    for generation in 1..=3 {
        let [one, two, three] = [0, 1, 2].map(|at| instances[at].1.clone());
        let (one, two, three) = tokio::join!(one.rotate(), two.rotate(), three.rotate());
        assert!([one, two, three].into_iter().all(|it| it.unwrap() >= generation));
        let stored = fixture.stored_key().await;
        assert!(fixture.accepts(&stored));
        for (_, key) in &instances {
            assert!(fixture.accepts(key.acquire().value()));
        }
    }
    for (engine, _) in instances {
        engine.shutdown().await;
    }
}

/// A process that died after it had set a password, and before it could store it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_the_attempt_of_an_instance_that_has_died() {
    let fixture = Fixture::start().await;
    let (first, id) = (fixture.first(), IssueAttempt::random());
    let lost = fixture.issuer().issue(&first, &id).await.unwrap().value;
    let stored = [
        ("key", first.expose_text().unwrap()),
        ("rotation_intent", id.id.as_str()),
        ("rotation_intent_by", "gone"),
    ];
    fixture.put(PATH, SecretValue::fields(stored)).await;
    let engine = RotationEngine::new(Arc::clone(&fixture.store));
    let mut events = engine.events();
    let policy = RotationPolicy::new().single_instance().attempt_lease(Duration::from_secs(2));
    let rotation = ManagedKey::new(PATH, fixture.issuer()).policy(policy);
    let key = engine.add(rotation).await.unwrap();
    loop {
        match events.recv().await.unwrap().step {
            RotationStep::Finished { .. } => break,
            RotationStep::Orphaned { .. } => panic!("no key can be left behind"),
            _ => {}
        }
    }
    assert!(fixture.accepts(key.acquire().value()));
    assert!(!fixture.accepts(&first) && !fixture.accepts(&lost));
    engine.shutdown().await;
}
