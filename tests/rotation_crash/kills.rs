//! A process killed with `SIGKILL` at any step of a rotation: whoever starts next ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::rotation::{ManagedKey, RotationEngine, RotationPolicy, RotationStep};
use strongroom_testkit::issuer::{Fault, Issuer};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::report;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::child::{LIFE, Running, role};
use crate::clients::{Clients, Tally};
use crate::setting::Talent;
use crate::store::{PATH, Store, Stored, directory_in_memory};

/// The role of a process that is killed.
pub(crate) const VICTIM: &str = "victim";
/// At which step it stops, to be killed there.
const STEP: &str = "STRONGROOM_TEST_STEP";
/// Whether it asks for the rotation, or only ends what another has begun.
const ASKS: &str = "STRONGROOM_TEST_ASKS";

/// How long a process that starts may take to end the rotation.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many cases run at a time.
const AT_ONCE: usize = 6;
const CLIENTS: usize = 3;
/// How many requests there are at least after a restart.
const REQUESTS: u64 = 20;

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// After a step, before the next.
    After(&'static str),
    /// The issuer has made a key, and its answer has not come.
    Issuing,
    /// The issuer has been asked to revoke a key; whether it has done so, the process does not know.
    Revoking { done: bool },
}
use Moment::{After, Issuing, Revoking};

/// Each case: the moments at which processes are killed, one after the other.
const CASES: &[&[Moment]] = &[
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
    // Those who go on where another stopped are killed, too.
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

/// With an issuer that lists its keys alone.
const LISTED: &[&[Moment]] = &[&[Issuing, After("orphaned")]];

fn policy() -> RotationPolicy {
    RotationPolicy::new()
        .single_instance()
        .attempt_lease(Duration::from_secs(2))
        .drain_timeout(Duration::from_secs(1))
}

/// A process that stops at a step until it is killed, while its clients go on.
pub(crate) async fn victim() {
    let (talent, base) = Talent::told();
    let step = std::env::var(STEP).unwrap();
    let engine = RotationEngine::new(Store::told().open().await).observer(move |event| {
        println!("\ntold {}", event.step.name());
        if let RotationStep::Failed { error } = &event.step {
            println!("{error}");
        }
        while event.step.name() == step {
            std::thread::park();
        }
    });
    let rotation = ManagedKey::new(PATH, talent.asked_at(&base)).policy(policy());
    let key = engine.add(rotation).await.unwrap();
    let _clients = Clients::start(CLIENTS, &key, &base, false);
    if std::env::var_os(ASKS).is_some() {
        // The answer may be lost with the step.
        let asked = key.clone();
        tokio::spawn(async move { asked.rotate().await });
    }
    sleep(LIFE).await;
}

/// Starts a process and kills it at its moment.
fn kill(moment: Moment, asks: bool, store: &Store, talent: Talent, issuer: &Issuer) {
    let mut child = role(VICTIM, store, talent, &issuer.base());
    if asks {
        child = child.env(ASKS, "yes");
    }
    let before = issuer.counts();
    let waited_for = |is_so: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < LIMIT, "{moment:?} does not come: {:?}", issuer.counts());
            std::thread::sleep(LOOK_EVERY);
        }
    };
    let mut running = match moment {
        After(step) => {
            let mut running = Running::spawn(child.env(STEP, step));
            running.hear(&format!("told {step}"));
            running
        }
        Issuing => {
            issuer.next_issues(1, Fault::ActAndHang);
            let running = Running::spawn(child.env(STEP, "none"));
            waited_for(&|| issuer.counts().issue_calls > before.issue_calls);
            let again = talent == Talent::Repeats && before.issued > 0;
            waited_for(&|| again || issuer.counts().issued > before.issued);
            running
        }
        Revoking { done } => {
            issuer.next_revocations(1, if done { Fault::ActAndHang } else { Fault::Hang });
            let running = Running::spawn(child.env(STEP, "none"));
            waited_for(&|| issuer.counts().revoke_calls > before.revoke_calls);
            waited_for(&|| !done || issuer.counts().revoked > before.revoked);
            running
        }
    };
    running.process.kill().unwrap();
    issuer.clear_faults();
}

/// What came of a case.
struct Outcome {
    issue_calls: u64,
    issued: u64,
    revoked: u64,
    requests: u64,
    took: Duration,
}

/// Kills a process at each of the moments, starts another one, and sees that the rotation is ended.
async fn run(moments: &'static [Moment], store: Store, talent: Talent) -> Outcome {
    let issuer = Arc::new(talent.issuer());
    // A key that is not due is replaced because somebody asks for it.
    let is_due = moments.first() == Some(&After("due"));
    let life = is_due.then_some(Duration::from_secs(3600));
    store.put_first(issuer.first_key(), life).await;
    for (number, moment) in moments.iter().enumerate() {
        let (store, issuer) = (store.clone(), Arc::clone(&issuer));
        let asks = number == 0 && !is_due;
        spawn_blocking(move || kill(*moment, asks, &store, talent, &issuer)).await.unwrap();
    }
    let before = issuer.counts();
    assert_eq!(before.revoked_uses, 0, "{moments:?}: before the restart");

    let begin = Instant::now();
    let secrets = store.open().await;
    let engine = RotationEngine::new(secrets.clone());
    let rotation = ManagedKey::new(PATH, talent.asked_at(&issuer.base())).policy(policy());
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
            "{moments:?} {talent:?}: {live} live keys; {stored:?} {counts:?} {key:?}"
        );
        sleep(LOOK_EVERY).await;
    };
    let took = begin.elapsed();
    let Tally { requests, failures } = clients.finish().await;
    engine.shutdown().await;

    let counts = issuer.counts();
    assert!(failures.is_empty(), "{moments:?}: {failures:?}");
    assert_eq!((counts.revoked_uses, counts.unknown_uses), (0, 0), "{moments:?}: {counts:?}");
    let live = issuer.live_keys();
    assert!(live.iter().all(|live| live.constant_time_eq(&stored.key)), "{moments:?}");
    assert_eq!(stored.generation, 1, "{moments:?}: one rotation");
    assert_eq!(counts.revoked, counts.issued, "{moments:?}: all but the last: {counts:?}");
    if talent == Talent::Repeats {
        assert_eq!(counts.issued, 1, "{moments:?}: the same attempt: {counts:?}");
    }
    let (issue_calls, issued, revoked) = (counts.issue_calls, counts.issued, counts.revoked);
    Outcome { issue_calls, issued, revoked, requests, took }
}

/// Runs all cases, each with a store of its own.
async fn run_all(name: &str, talent: Talent, store: impl Fn(usize) -> Store) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let listed = if talent == Talent::Lists { LISTED } else { &[] };
    let cases = [CASES, listed].concat();
    for (number, moments) in cases.iter().copied().enumerate() {
        let (store, permits) = (store(number), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            run(moments, store, talent).await
        });
    }
    // A case that fails does not keep the others from ending.
    let mut outcomes = Vec::new();
    while let Some(ended) = running.join_next().await {
        outcomes.extend(ended.ok());
    }
    assert_eq!(outcomes.len(), cases.len(), "the others have failed, as they have said");
    let kills: usize = cases.iter().map(|moments| moments.len()).sum();
    let total = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let longest = outcomes.iter().map(|it| it.took).max().unwrap_or_default();
    report(format_args!(
        "{name}, an issuer that {}: rotations: {}, kills: {kills}, issue calls: {}, keys issued: {}, \
         revoked: {}, requests after the restart: {}, failed: 0, longest way to the end: {} ms",
        if talent == Talent::Repeats { "repeats" } else { "lists" },
        outcomes.len(),
        total(|it| it.issue_calls),
        total(|it| it.issued),
        total(|it| it.revoked),
        total(|it| it.requests),
        longest.as_millis()
    ));
}

async fn native(talent: Talent) {
    let directory = directory_in_memory();
    let store = |number: usize| {
        let own = directory.path().join(number.to_string());
        std::fs::create_dir(&own).unwrap();
        Store::Native(own)
    };
    run_all("native", talent, store).await;
}

async fn openbao(talent: Talent) {
    let server = Server::dev().await;
    run_all("openbao", talent, |number| Store::on(&server, format!("case-{number}"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_survives_kills_on_native_with_an_issuer_that_repeats() {
    native(Talent::Repeats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_survives_kills_on_native_with_an_issuer_that_lists() {
    native(Talent::Lists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_survives_kills_on_openbao_with_an_issuer_that_repeats() {
    openbao(Talent::Repeats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_survives_kills_on_openbao_with_an_issuer_that_lists() {
    openbao(Talent::Lists).await;
}
