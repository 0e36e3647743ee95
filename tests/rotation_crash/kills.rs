//! A process killed with `SIGKILL` at any step of a rotation: the next process finishes the rotation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::rotation::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};
use strongroom_testkit::issuer::{Fault, Issuer};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::report;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::child::{Child, MAX_LIFETIME, role};
use crate::clients::{Clients, Tally};
use crate::issuer::IssuerKind;
use crate::store::{PATH, Store, Stored, directory_in_memory};

/// The role of a process that is killed.
pub(crate) const VICTIM: &str = "victim";
/// The step at which it stops, to be killed there.
const STEP: &str = "STRONGROOM_TEST_STEP";
/// Set if it starts the rotation; otherwise it resumes one.
const STARTS: &str = "STRONGROOM_TEST_STARTS";

/// How long the last process may take to finish the rotation.
const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How many cases run at a time.
const CONCURRENT_CASES: usize = 6;
const CLIENTS: usize = 3;
/// The smallest number of requests after a restart.
const REQUESTS: u64 = 20;

/// The point at which a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillPoint {
    /// After a step, before the next one.
    After(&'static str),
    /// The issuer has made a key, and has not answered.
    Issuing,
    /// The issuer has been asked to revoke a key, and has not answered.
    Revoking { done: bool },
}
use KillPoint::{After, Issuing, Revoking};

/// Each case: the points at which processes are killed, one after the other.
const CASES: &[&[KillPoint]] = &[
    &[After("due")],
    &[After("started")],
    &[Issuing],
    &[After("issued")],
    &[After("stored")],
    &[After("switched")],
    &[After("drained")],
    &[Revoking { done: false }],
    &[Revoking { done: true }],
    &[After("revoked")],
    &[After("finished")],
    // Processes that resume the rotation are killed, too.
    &[After("due"), After("started")],
    &[After("started"), After("started"), After("issued")],
    &[Issuing, Issuing],
    &[After("issued"), After("issued"), After("switched")],
    &[Issuing, After("stored")],
    &[After("issued"), After("drained")],
    &[Issuing, Revoking { done: true }],
    &[Issuing, After("revoked")],
    &[Issuing, After("finished")],
];

/// Only with an issuer that lists its keys.
const LISTED: &[&[KillPoint]] = &[&[Issuing, After("orphaned")]];

fn policy() -> RotationPolicy {
    RotationPolicy::new()
        .single_instance()
        .attempt_lease(Duration::from_secs(2))
        .drain_timeout(Duration::from_secs(1))
}

/// A process that stops at a step until it is killed, while its clients send requests.
pub(crate) async fn victim() {
    let (kind, base) = IssuerKind::from_env();
    let step = std::env::var(STEP).unwrap();
    let engine = RotationEngine::new(Store::from_env().open().await).observer(move |event| {
        println!("\nevent {}", event.step.name());
        if let RotationStep::Failed { error } = &event.step {
            println!("{error}");
        }
        while event.step.name() == step {
            std::thread::park();
        }
    });
    let rotation = ManagedKey::new(PATH, kind.client(&base)).policy(policy());
    let key = engine.add(rotation).await.unwrap();
    let _clients = Clients::start(CLIENTS, &key, &base, false);
    if std::env::var_os(STARTS).is_some() {
        // The answer may be lost with the step.
        let key = key.clone();
        tokio::spawn(async move { key.rotate().await });
    }
    sleep(MAX_LIFETIME).await;
}

/// Starts a process and kills it at this point.
fn kill(point: KillPoint, starts: bool, store: &Store, kind: IssuerKind, issuer: &Issuer) {
    let mut child = role(VICTIM, store, kind, &issuer.base());
    if starts {
        child = child.env(STARTS, "yes");
    }
    let before = issuer.counts();
    let wait_until = |is_so: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < LIMIT, "{point:?} is not reached: {:?}", issuer.counts());
            std::thread::sleep(POLL_INTERVAL);
        }
    };
    let mut running = match point {
        After(step) => {
            let mut running = Child::spawn(child.env(STEP, step));
            running.wait_for_line(&format!("event {step}"));
            running
        }
        Issuing => {
            issuer.next_issues(1, Fault::ActAndHang);
            let running = Child::spawn(child.env(STEP, "none"));
            wait_until(&|| issuer.counts().issue_calls > before.issue_calls);
            let again = kind == IssuerKind::Idempotent && before.issued > 0;
            wait_until(&|| again || issuer.counts().issued > before.issued);
            running
        }
        Revoking { done } => {
            issuer.next_revocations(1, if done { Fault::ActAndHang } else { Fault::Hang });
            let running = Child::spawn(child.env(STEP, "none"));
            wait_until(&|| issuer.counts().revoke_calls > before.revoke_calls);
            wait_until(&|| !done || issuer.counts().revoked > before.revoked);
            running
        }
    };
    running.process.kill().unwrap();
    issuer.clear_faults();
}

/// The outcome of a case.
struct Outcome {
    issue_calls: u64,
    issued: u64,
    revoked: u64,
    requests: u64,
    took: Duration,
}

/// Kills a process at each of the points, starts another one, and checks that it finishes the rotation.
async fn run(points: &'static [KillPoint], store: Store, kind: IssuerKind) -> Outcome {
    let issuer = Arc::new(kind.start());
    // A key that is not due is replaced because the first process asks for it.
    let is_due = points.first() == Some(&After("due"));
    let life = is_due.then_some(Duration::from_secs(3600));
    store.put_first(issuer.first_key(), life).await;
    for (number, point) in points.iter().enumerate() {
        let (store, issuer) = (store.clone(), Arc::clone(&issuer));
        let starts = number == 0 && !is_due;
        spawn_blocking(move || kill(*point, starts, &store, kind, &issuer)).await.unwrap();
    }
    let before = issuer.counts();
    assert_eq!(before.revoked_uses, 0, "{points:?}: before the restart");

    let begin = Instant::now();
    let secrets = store.open().await;
    let engine = RotationEngine::new(secrets.clone());
    let rotation = ManagedKey::new(PATH, kind.client(&issuer.base())).policy(policy());
    let key = engine.add(rotation).await.unwrap();
    let clients = Clients::start(CLIENTS, &key, &issuer.base(), false);
    let stored = loop {
        let stored = Stored::read(&secrets).await;
        let is_one = stored.generation > 0
            && stored.unfinished.is_empty()
            && key.state().generation == stored.generation;
        let are_at_work = issuer.counts().live_uses >= before.live_uses + REQUESTS;
        if is_one && are_at_work && issuer.live_keys().len() == 1 {
            break stored;
        }
        let (live, counts) = (issuer.live_keys().len(), issuer.counts());
        assert!(
            begin.elapsed() < LIMIT,
            "{points:?} {kind:?}: {live} live keys; {stored:?} {counts:?} {key:?}"
        );
        sleep(POLL_INTERVAL).await;
    };
    let took = begin.elapsed();
    let Tally { requests, failures } = clients.finish().await;
    engine.shutdown().await;

    let counts = issuer.counts();
    assert!(failures.is_empty(), "{points:?}: {failures:?}");
    assert_eq!((counts.revoked_uses, counts.unknown_uses), (0, 0), "{points:?}: {counts:?}");
    let live = issuer.live_keys();
    assert!(live.iter().all(|live| live.constant_time_eq(&stored.key)), "{points:?}");
    assert_eq!(stored.generation, 1, "{points:?}: one rotation");
    assert_eq!(counts.revoked, counts.issued, "{points:?}: all but the last: {counts:?}");
    if kind == IssuerKind::Idempotent {
        assert_eq!(counts.issued, 1, "{points:?}: the same attempt: {counts:?}");
    }
    let (issue_calls, issued, revoked) = (counts.issue_calls, counts.issued, counts.revoked);
    Outcome { issue_calls, issued, revoked, requests, took }
}

/// Runs all cases, each with a store of its own.
async fn run_all(name: &str, kind: IssuerKind, store: impl Fn(usize) -> Store) {
    let permits = Arc::new(Semaphore::new(CONCURRENT_CASES));
    let mut running = JoinSet::new();
    let listed = if kind == IssuerKind::Listing { LISTED } else { &[] };
    let cases = [CASES, listed].concat();
    for (number, points) in cases.iter().copied().enumerate() {
        let (store, permits) = (store(number), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            run(points, store, kind).await
        });
    }
    // A case that fails does not stop the others.
    let mut outcomes = Vec::new();
    while let Some(ended) = running.join_next().await {
        outcomes.extend(ended.ok());
    }
    assert_eq!(outcomes.len(), cases.len(), "the other cases have failed, and have printed why");
    let kills: usize = cases.iter().map(|points| points.len()).sum();
    let total = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let longest = outcomes.iter().map(|it| it.took).max().unwrap_or_default();
    report(format_args!(
        "{name}, an issuer that {}: rotations: {}, kills: {kills}, issue calls: {}, keys issued: {}, \
         revoked: {}, requests after the restart: {}, failed: 0, longest recovery: {} ms",
        if kind == IssuerKind::Idempotent { "is idempotent" } else { "lists its keys" },
        outcomes.len(),
        total(|it| it.issue_calls),
        total(|it| it.issued),
        total(|it| it.revoked),
        total(|it| it.requests),
        longest.as_millis()
    ));
}

async fn native(kind: IssuerKind) {
    let directory = directory_in_memory();
    let store = |number: usize| {
        let own = directory.path().join(number.to_string());
        std::fs::create_dir(&own).unwrap();
        Store::Native(own)
    };
    run_all("native", kind, store).await;
}

async fn openbao(kind: IssuerKind) {
    let server = Server::dev().await;
    run_all("openbao", kind, |number| Store::on(&server, format!("case-{number}"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_finishes_a_killed_rotation_on_native_with_an_idempotent_issuer() {
    native(IssuerKind::Idempotent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_finishes_a_killed_rotation_on_native_with_a_listing_issuer() {
    native(IssuerKind::Listing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_finishes_a_killed_rotation_on_openbao_with_an_idempotent_issuer() {
    openbao(IssuerKind::Idempotent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_finishes_a_killed_rotation_on_openbao_with_a_listing_issuer() {
    openbao(IssuerKind::Listing).await;
}
