//! Several processes that share a store and a key that is about to end.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strongroom::rotation::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};
use strongroom_testkit::issuer::{Counts, Fault, Issuer, Options};
use strongroom_testkit::report;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::child::{Running, pause, role};
use crate::clients::{Clients, Tally};
use crate::setting::Talent;
use crate::store::{PATH, Store, Stored, directory_in_memory};

/// The role of each process.
pub(crate) const INSTANCE: &str = "instance";
/// Whether it looks at the headers of responses.
const OBSERVES: &str = "STRONGROOM_TEST_OBSERVES";

const INSTANCES: usize = 8;
const RUNS: usize = 3;
const CLIENTS: usize = 2;
/// How long the first key works: much less than the warning time of a policy.
const LIFE: Duration = Duration::from_secs(3600);
/// How long the issuer takes to make a key.
const LATENCY: Duration = Duration::from_secs(1);
const PICKUP: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// For how long nobody begins another rotation after the first: all have looked at the store again.
const CALM: Duration = PICKUP;

fn policy() -> RotationPolicy {
    RotationPolicy::new()
        .propagation_timeout(PICKUP)
        .drain_timeout(Duration::from_secs(1))
        .attempt_lease(Duration::from_secs(5))
}

/// Says what happened, and when in microseconds since 1970: processes of one machine share a clock.
fn say(what: impl Display) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    println!("\n{what} {}", since.as_micros());
}

/// One process of a service.
pub(crate) async fn instance() {
    let (talent, base) = Talent::told();
    let engine = RotationEngine::new(Store::told().open().await).observer(|event| {
        say(format_args!("told {}", event.step.name()));
        if let RotationStep::Failed { error } = &event.step {
            println!("{error}");
        }
    });
    pause("open").await;
    let rotation = ManagedKey::new(PATH, talent.asked_at(&base)).policy(policy());
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

/// How the processes come to know that the key ends soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// The store says so to all at once.
    Metadata,
    /// The responses say so, and one process looks at them.
    OneHeader,
}

/// What one process has said.
#[derive(Debug)]
struct Said {
    /// Steps, and when they were told.
    steps: Vec<(String, u64)>,
    generation: u64,
    requests: u64,
}

impl Said {
    fn at(&self, step: &str) -> Vec<u64> {
        self.steps.iter().filter(|(name, _)| name == step).map(|(_, at)| *at).collect()
    }

    fn of(lines: &[String]) -> Self {
        let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut said = Self { steps: Vec::new(), generation: 0, requests: 0 };
        for words in lines.iter().map(words) {
            match words.as_slice() {
                [told, step, at] if told == "told" => {
                    said.steps.push((step.clone(), at.parse().unwrap()));
                }
                [total, generation, requests] if total == "total" => {
                    said.generation = generation.parse().unwrap();
                    said.requests = requests.parse().unwrap();
                }
                _ => {}
            }
        }
        said
    }
}

fn all_go_on(children: &mut [Running], from: &str) {
    for child in &mut *children {
        child.hear(from);
    }
    for child in children {
        child.go_on();
    }
}

/// Starts all processes, and lets them work until the store holds one key and nobody wants another.
fn work(children: &mut [Running], is_over: impl Fn() -> bool) {
    for at in ["open", "added"] {
        all_go_on(children, at);
    }
    let begin = Instant::now();
    while !is_over() {
        assert!(begin.elapsed() < LIMIT, "the rotation does not end");
        std::thread::sleep(LOOK_EVERY);
    }
    all_go_on(children, "at work");
}

async fn run(news: News) -> (Counts, u64, u64) {
    let mut options = Options::default();
    options.first_key_life = Some(LIFE);
    let issuer = Arc::new(Issuer::start(options));
    // All of them have begun before one has got a key.
    issuer.next_issues(1, Fault::Late(LATENCY));
    let directory = directory_in_memory();
    let store = Store::Native(directory.path().to_owned());
    let life = (news == News::Metadata).then_some(LIFE);
    store.put_first(issuer.first_key(), life).await;
    let mut children: Vec<_> = (0..INSTANCES)
        .map(|number| {
            let role = role(INSTANCE, &store, Talent::Repeats, &issuer.base());
            let observes = news == News::OneHeader && number == 0;
            Running::spawn(if observes { role.env(OBSERVES, "yes") } else { role })
        })
        .collect();
    let secrets = store.open().await;
    let (over, is_over) = std::sync::mpsc::channel();
    let all = spawn_blocking(move || {
        work(&mut children, || is_over.try_recv().is_ok());
        children.into_iter().map(|child| Said::of(&child.finish())).collect::<Vec<_>>()
    });
    let mut calm = None;
    let begin = Instant::now();
    while calm.is_none_or(|since: Instant| since.elapsed() < CALM) {
        let stored = Stored::read(&secrets).await;
        let is_ended = stored.generation > 0 && stored.unfinished.is_empty();
        calm = calm.or_else(|| is_ended.then(Instant::now));
        assert!(begin.elapsed() < LIMIT, "{news:?}: {stored:?} {:?}", issuer.counts());
        sleep(LOOK_EVERY).await;
    }
    over.send(()).unwrap();
    let said = all.await.unwrap();

    let counts = issuer.counts();
    assert_eq!(counts.issue_calls, 1, "{news:?}: {counts:?}");
    assert_eq!((counts.issued, counts.revoked), (1, 1), "{news:?}: {counts:?}");
    let refused = (counts.revoked_uses, counts.unknown_uses, counts.unauthorized);
    assert_eq!((refused, counts.revoked_in_flight), ((0, 0, 0), 0), "{news:?}: {counts:?}");
    let at = |step: &str| said.iter().flat_map(|it| it.at(step)).collect::<Vec<_>>();
    let knew = if news == News::Metadata { INSTANCES } else { 1 };
    assert_eq!(at("due").len(), knew, "{news:?}: {said:?}");
    let (stored_at, switched) = (at("stored"), at("switched"));
    assert_eq!((stored_at.len(), switched.len()), (1, INSTANCES), "{news:?}: {said:?}");
    assert!(said.iter().all(|it| it.generation == 1 && it.requests > 0), "{news:?}: {said:?}");
    assert!(at("failed").is_empty(), "{news:?}: {said:?}");
    let last = switched.into_iter().max().unwrap_or_default();
    let picked_up = last - stored_at.first().unwrap();
    assert!(u128::from(picked_up) <= PICKUP.as_micros(), "{news:?}: after {picked_up} µs");
    // The issuer is asked to revoke the old key after this step.
    assert!(at("drained").iter().all(|at| *at > last), "{news:?}: revoked too early: {said:?}");
    let [live] = &issuer.live_keys()[..] else { panic!("{news:?}: {counts:?}") };
    assert!(Stored::read(&secrets).await.key.constant_time_eq(live), "{news:?}");
    (counts, said.iter().map(|it| it.requests).sum(), picked_up)
}

async fn run_all(news: News) {
    let (mut issue_calls, mut requests, mut slowest) = (0, 0, 0);
    for _ in 0..RUNS {
        let (counts, sent, picked_up) = run(news).await;
        issue_calls += counts.issue_calls;
        requests += sent;
        slowest = slowest.max(picked_up);
    }
    report(format_args!(
        "{news:?}: runs: {RUNS}, processes in each: {INSTANCES}, issue calls in all: {issue_calls}, \
         requests: {requests}, failed: 0, all had the new key after at most {} ms",
        slowest / 1000
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_all_know_that_the_key_ends_one_gets_another() {
    run_all(News::Metadata).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_that_saw_the_header_gets_a_key_for_all() {
    run_all(News::OneHeader).await;
}
