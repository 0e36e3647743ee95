//! Several processes that share a store and a key that is about to expire.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strongroom::rotation::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};
use strongroom_testkit::issuer::{Counts, Fault, Issuer, Options};
use strongroom_testkit::report;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::child::{Child, pause, role};
use crate::clients::{Clients, Tally};
use crate::issuer::IssuerKind;
use crate::store::{PATH, Store, Stored, directory_in_memory};

/// The role of each process.
pub(crate) const INSTANCE: &str = "instance";
/// Set if it observes the headers of responses.
const OBSERVES: &str = "STRONGROOM_TEST_OBSERVES";

const INSTANCES: usize = 8;
const RUNS: usize = 3;
const CLIENTS: usize = 2;
/// How long the first key works: much less than `rotate_before`.
const KEY_LIFETIME: Duration = Duration::from_secs(3600);
/// How long the issuer takes to make a key.
const LATENCY: Duration = Duration::from_secs(1);
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// For how long no process may start a second rotation: all have read the store again by then.
const QUIET_PERIOD: Duration = PROPAGATION_TIMEOUT;

fn policy() -> RotationPolicy {
    RotationPolicy::new()
        .propagation_timeout(PROPAGATION_TIMEOUT)
        .drain_timeout(Duration::from_secs(1))
        .attempt_lease(Duration::from_secs(5))
}

/// Prints an event with its time in microseconds since 1970: processes of one machine share a clock.
fn print_event(event: impl Display) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    println!("\nevent {event} {}", since.as_micros());
}

/// One process of a service.
pub(crate) async fn instance() {
    let (kind, base) = IssuerKind::from_env();
    let engine = RotationEngine::new(Store::from_env().open().await).observer(|event| {
        print_event(event.step.name());
        if let RotationStep::Failed { error } = &event.step {
            println!("{error}");
        }
    });
    pause("open").await;
    let rotation = ManagedKey::new(PATH, kind.client(&base)).policy(policy());
    let key = engine.add(rotation).await.unwrap();
    pause("added").await;
    let clients = Clients::start(CLIENTS, &key, &base, std::env::var_os(OBSERVES).is_some());
    pause("at work").await;
    let Tally { requests, failures } = clients.finish().await;
    let generation = key.acquire().generation();
    engine.shutdown().await;
    assert!(failures.is_empty(), "{failures:?}");
    println!("\ntotal {generation} {requests}");
}

/// Where the processes read that the key expires soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpirySource {
    /// In the metadata of the store, all at once.
    Metadata,
    /// In the headers of responses, and only one process.
    OneHeader,
}

/// The report of one process.
#[derive(Debug)]
struct ChildReport {
    /// The steps of its events, and their times.
    steps: Vec<(String, u64)>,
    generation: u64,
    requests: u64,
}

impl ChildReport {
    fn at(&self, step: &str) -> Vec<u64> {
        self.steps.iter().filter(|(name, _)| name == step).map(|(_, at)| *at).collect()
    }

    fn of(lines: &[String]) -> Self {
        let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut report = Self { steps: Vec::new(), generation: 0, requests: 0 };
        for words in lines.iter().map(words) {
            match words.as_slice() {
                [event, step, at] if event == "event" => {
                    report.steps.push((step.clone(), at.parse().unwrap()));
                }
                [total, generation, requests] if total == "total" => {
                    report.generation = generation.parse().unwrap();
                    report.requests = requests.parse().unwrap();
                }
                _ => {}
            }
        }
        report
    }
}

fn resume_all(children: &mut [Child], from: &str) {
    for child in &mut *children {
        child.wait_for_line(from);
    }
    for child in children {
        child.resume();
    }
}

/// Starts all processes, and lets them work until `is_over`.
fn work(children: &mut [Child], is_over: impl Fn() -> bool) {
    for at in ["open", "added"] {
        resume_all(children, at);
    }
    let begin = Instant::now();
    while !is_over() {
        assert!(begin.elapsed() < LIMIT, "the rotation does not end");
        std::thread::sleep(POLL_INTERVAL);
    }
    resume_all(children, "at work");
}

async fn run(source: ExpirySource) -> (Counts, u64, u64) {
    let mut options = Options::default();
    options.first_key_life = Some(KEY_LIFETIME);
    let issuer = Arc::new(Issuer::start(options));
    // All processes have started before one has got a key.
    issuer.next_issues(1, Fault::Late(LATENCY));
    let directory = directory_in_memory();
    let store = Store::Native(directory.path().to_owned());
    let life = (source == ExpirySource::Metadata).then_some(KEY_LIFETIME);
    store.put_first(issuer.first_key(), life).await;
    let mut children: Vec<_> = (0..INSTANCES)
        .map(|number| {
            let role = role(INSTANCE, &store, IssuerKind::Idempotent, &issuer.base());
            let observes = source == ExpirySource::OneHeader && number == 0;
            Child::spawn(if observes { role.env(OBSERVES, "yes") } else { role })
        })
        .collect();
    let secrets = store.open().await;
    let (over, is_over) = std::sync::mpsc::channel();
    let all = spawn_blocking(move || {
        work(&mut children, || is_over.try_recv().is_ok());
        children.into_iter().map(|child| ChildReport::of(&child.finish())).collect::<Vec<_>>()
    });
    let mut settled_at = None;
    let begin = Instant::now();
    while settled_at.is_none_or(|at: Instant| at.elapsed() < QUIET_PERIOD) {
        let stored = Stored::read(&secrets).await;
        let is_finished = stored.generation > 0 && stored.unfinished.is_empty();
        settled_at = settled_at.or_else(|| is_finished.then(Instant::now));
        assert!(begin.elapsed() < LIMIT, "{source:?}: {stored:?} {:?}", issuer.counts());
        sleep(POLL_INTERVAL).await;
    }
    over.send(()).unwrap();
    let reports = all.await.unwrap();

    let counts = issuer.counts();
    assert_eq!(counts.issue_calls, 1, "{source:?}: {counts:?}");
    assert_eq!((counts.issued, counts.revoked), (1, 1), "{source:?}: {counts:?}");
    let refused = (counts.revoked_uses, counts.unknown_uses, counts.unauthorized);
    assert_eq!((refused, counts.revoked_in_flight), ((0, 0, 0), 0), "{source:?}: {counts:?}");
    let at = |step: &str| reports.iter().flat_map(|it| it.at(step)).collect::<Vec<_>>();
    let observers = if source == ExpirySource::Metadata { INSTANCES } else { 1 };
    assert_eq!(at("due").len(), observers, "{source:?}: {reports:?}");
    let (stored_at, switched) = (at("stored"), at("switched"));
    assert_eq!((stored_at.len(), switched.len()), (1, INSTANCES), "{source:?}: {reports:?}");
    assert!(
        reports.iter().all(|it| it.generation == 1 && it.requests > 0),
        "{source:?}: {reports:?}"
    );
    assert!(at("failed").is_empty(), "{source:?}: {reports:?}");
    let last = switched.into_iter().max().unwrap_or_default();
    let propagation = last - stored_at.first().unwrap();
    assert!(
        u128::from(propagation) <= PROPAGATION_TIMEOUT.as_micros(),
        "{source:?}: after {propagation} µs"
    );
    // The issuer is asked to revoke the old key after this step.
    assert!(
        at("drained").iter().all(|at| *at > last),
        "{source:?}: revoked too early: {reports:?}"
    );
    let [live] = &issuer.live_keys()[..] else { panic!("{source:?}: {counts:?}") };
    assert!(Stored::read(&secrets).await.key.constant_time_eq(live), "{source:?}");
    (counts, reports.iter().map(|it| it.requests).sum(), propagation)
}

async fn run_all(source: ExpirySource) {
    let (mut issue_calls, mut requests, mut slowest) = (0, 0, 0);
    for _ in 0..RUNS {
        let (counts, sent, propagation) = run(source).await;
        issue_calls += counts.issue_calls;
        requests += sent;
        slowest = slowest.max(propagation);
    }
    report(format_args!(
        "{source:?}: runs: {RUNS}, processes in each: {INSTANCES}, issue calls in all: {issue_calls}, \
         requests: {requests}, failed: 0, all had the new key after at most {} ms",
        slowest / 1000
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_eight_processes_gets_the_next_key() {
    run_all(ExpirySource::Metadata).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_observes_the_header_gets_a_key_for_all() {
    run_all(ExpirySource::OneHeader).await;
}
