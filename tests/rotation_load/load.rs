//! A key that is replaced every second while clients use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use strongroom::rotation::{
    HttpIssuer, HttpIssuerConfig, ManagedKey, RotatingKey, RotationEngine, RotationPolicy,
};
use strongroom::{Error, Result, SecretValue, SecretsManager};
use strongroom_testkit::issuer::{Issuer, KeyStatus};
use strongroom_testkit::report;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clients::{CLIENTS, Clients, Tally, slow_responses};
use crate::faults;
use crate::issued::{self, Records};
use crate::stores::Store;

const PATH: &str = "partner/api-key";
/// How often a rotation without faults is tried again.
const MAX_RETRIES: usize = 10;
/// How long after a switch a request may still carry the old key.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the test asks for a new key.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a test waits for the last rotation to end.
const SETTLE_LIMIT: Duration = Duration::from_secs(600);

/// A store, an issuer, and how long to run.
pub(crate) struct Load {
    store: Store,
    issuer: Arc<Issuer>,
    time: Duration,
}

/// What happens besides the rotations.
enum Scenario {
    None,
    /// The issuer fails at random.
    Faults(Rng),
    /// Each key is compromised, and another instance uses it.
    Compromised,
}

/// The outcome, once the last rotation is over.
struct Outcome {
    tally: Tally,
    seen: Records,
    /// How many rotations succeeded.
    rotations: u64,
    /// The errors of the others.
    failed: Vec<Error>,
    /// The duration of the longest rotation.
    longest: Duration,
}

impl Load {
    pub(crate) fn over(store: Store, time: Duration) -> Self {
        let issuer = Arc::new(Issuer::start(slow_responses()));
        Self { store, issuer, time }
    }

    /// No request fails, and the engine makes each call to the issuer once.
    pub(crate) async fn runs_without_a_failure(self) {
        let outcome = self.run(Scenario::None).await;
        self.print(&outcome, "");
        self.check(&outcome).await;
        self.check_grace(&outcome);
        let (seen, counts) = (&outcome.seen, self.issuer.counts());
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        assert_eq!(seen.count("failed"), 0);
        assert!(outcome.rotations >= self.min_rotations(), "only {} rotations", outcome.rotations);
        let rotations = usize::try_from(outcome.rotations).unwrap();
        for step in ["started", "issued", "stored", "switched", "drained", "revoked", "finished"] {
            assert_eq!(seen.count(step), rotations, "{step}");
        }
        assert_eq!((counts.issue_calls, counts.issued), (outcome.rotations, outcome.rotations));
        assert_eq!((counts.revoke_calls, counts.revoked), (outcome.rotations, outcome.rotations));
        // Otherwise the test proves nothing.
        assert!(seen.busy_switches * 10 >= rotations * 9, "{} busy switches", seen.busy_switches);
    }

    /// Rotations may fail, but no request fails and no key is left behind.
    pub(crate) async fn survives_faults(self) {
        let seed = fastrand::u64(..);
        let outcome = self.run(Scenario::Faults(Rng::with_seed(seed))).await;
        self.print(&outcome, &format!(", faults of seed {seed}"));
        self.check(&outcome).await;
        self.check_grace(&outcome);
        let counts = self.issuer.counts();
        let failed_calls =
            counts.issue_calls + counts.revoke_calls - counts.issued - counts.revoked;
        assert!(failed_calls > 0 && !outcome.failed.is_empty(), "no call failed: {counts:?}");
        assert!(outcome.rotations > 1, "no rotation succeeded");
    }

    /// The engine revokes keys at once, and another instance notices that by its rejected requests.
    pub(crate) async fn replaces_compromised_keys(self) {
        let outcome = self.run(Scenario::Compromised).await;
        self.print(&outcome, ", all compromised");
        self.check(&outcome).await;
        let counts = self.issuer.counts();
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        assert_eq!((counts.revoked, counts.issued), (outcome.rotations, outcome.rotations));
        // Otherwise the test proves nothing.
        assert!(counts.unauthorized > outcome.rotations, "{counts:?}");
    }

    /// Replaces the key every second while clients use it, and once more at the end, without faults.
    async fn run(&self, mut scenario: Scenario) -> Outcome {
        let (seen, observer) = issued::observer(&self.issuer);
        let secrets = &self.store.secrets;
        secrets.put(PATH, self.issuer.first_key()).await.unwrap();
        let engine = RotationEngine::new(secrets.clone()).observer(observer);
        let key = engine.add(self.rotation(&scenario)).await.unwrap();
        let another = RotationEngine::new(secrets.clone());
        let mut keys = vec![key.clone()];
        let is_compromised = matches!(scenario, Scenario::Compromised);
        if is_compromised {
            keys.push(another.add(self.rotation(&scenario)).await.unwrap());
        }
        let clients = Clients::start(&self.issuer.base(), &keys);

        let (mut rotations, mut failed, mut longest) = (0, Vec::new(), Duration::ZERO);
        let mut record = |took: Duration, result: Result<u64>| {
            match result {
                Ok(_) => rotations += 1,
                Err(error) => failed.push(error),
            }
            longest = longest.max(took);
        };
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let begin = Instant::now();
        // A busy machine takes longer for as many rotations.
        let min_rotations = match scenario {
            Scenario::None => self.min_rotations(),
            Scenario::Faults(_) | Scenario::Compromised => 0,
        };
        let mut succeeded = 0;
        while begin.elapsed() < self.time
            || succeeded < min_rotations && begin.elapsed() < SETTLE_LIMIT
        {
            ticks.tick().await;
            if let Scenario::Faults(rng) = &mut scenario {
                faults::set(&self.issuer, rng);
            }
            let (took, result) = time_rotation(&key, is_compromised).await;
            succeeded += u64::from(result.is_ok());
            record(took, result);
            if is_compromised {
                // A request is sent again once: it must not outlast two keys, on a busy machine either.
                clients.until_each_has_ended(2).await;
            }
        }
        self.issuer.clear_faults();
        // On a busy machine, the issuer may miss a limit without a fault.
        let mut last = time_rotation(&key, is_compromised).await;
        for _ in 0..MAX_RETRIES {
            if last.1.is_ok() {
                break;
            }
            record(last.0, last.1);
            last = time_rotation(&key, is_compromised).await;
        }
        assert!(last.1.is_ok(), "{:?}", last.1);
        record(last.0, last.1);

        self.until_settled(secrets).await;
        let tally = clients.stop().await;
        tokio::join!(engine.shutdown(), another.shutdown());
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        Outcome { tally, seen, rotations, failed, longest }
    }

    /// Four fifths of the rotations that an idle machine makes in the time of the test.
    fn min_rotations(&self) -> u64 {
        self.time.as_secs() / INTERVAL.as_secs() * 4 / 5
    }

    fn rotation(&self, scenario: &Scenario) -> ManagedKey {
        let mut config = HttpIssuerConfig::new(self.issuer.base());
        config.endpoints.verify_path = Some("/api/whoami".into());
        let policy = RotationPolicy::new().drain_timeout(DRAIN);
        let policy = match scenario {
            Scenario::None => policy.single_instance(),
            Scenario::Faults(_) => {
                config.timeouts.call = faults::CALL_TIMEOUT;
                // Some attempts time out.
                policy.single_instance().attempt_lease(faults::CALL_TIMEOUT * 2)
            }
            Scenario::Compromised => policy,
        };
        ManagedKey::new(PATH, HttpIssuer::new(&config).unwrap()).policy(policy)
    }

    /// What holds as long as no key is compromised.
    fn check_grace(&self, outcome: &Outcome) {
        let counts = self.issuer.counts();
        assert_eq!((counts.revoked_uses, counts.revoked_in_flight), (0, 0), "{counts:?}");
        assert_eq!((counts.unauthorized, outcome.seen.cut_short), (0, 0), "{counts:?}");
    }

    /// Waits until the store holds one key.
    async fn until_settled(&self, secrets: &SecretsManager) {
        let begin = Instant::now();
        loop {
            let left = self.issuer.live_keys().len();
            let value = secrets.refresh(PATH).await.unwrap().value().clone();
            if left == 1 && !has(&value, "rotation_previous") && !has(&value, "rotation_attempt") {
                return;
            }
            assert!(
                begin.elapsed() < SETTLE_LIMIT,
                "{left} keys are left, and {:?}",
                value.field_names()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What holds regardless of faults.
    async fn check(&self, outcome: &Outcome) {
        let (tally, seen, counts) = (&outcome.tally, &outcome.seen, self.issuer.counts());
        let failures = &tally.failures;
        assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
        assert!(tally.fewest > 0 && tally.over_reqwest > 0 && tally.over_tower > 0, "{tally:?}");
        assert_eq!(counts.live_uses, tally.over_reqwest + tally.over_tower);
        assert_eq!((counts.unknown_uses, counts.expired_uses), (0, 0), "{counts:?}");

        let live = self.issuer.live_keys();
        let [last] = live.as_slice() else { unreachable!("{} keys are left", live.len()) };
        let stored = self.store.secrets.refresh(PATH).await.unwrap().value().clone();
        assert!(stored.field("key").unwrap().constant_time_eq(last), "another key is stored");
        let names = stored.field_names().unwrap();
        assert!(
            !has(&stored, "rotation_previous") && !has(&stored, "rotation_attempt"),
            "{names:?}"
        );

        assert_eq!(seen.keys.len() as u64, counts.issued + 1, "the observer missed a key");
        let old = seen.keys.iter().filter(|key| !key.constant_time_eq(last));
        let old: Vec<_> = old.map(|key| self.issuer.status(key)).collect();
        assert_eq!(old.len() as u64, counts.issued);
        assert!(old.iter().all(|status| *status == Some(KeyStatus::Revoked)), "{old:?}");
    }

    fn print(&self, outcome: &Outcome, more: &str) {
        let Outcome { tally, seen, rotations, failed, longest } = outcome;
        let counts = self.issuer.counts();
        report(format_args!(
            "{}: {CLIENTS} clients for {} s sent {} requests over reqwest, {} over tower (longest \
             {} ms), {} failed; {rotations} rotations (longest {} ms), {} failed; {} of {} \
             switches with requests under way; issue calls {}, issued {}, revoke calls {}, revoked \
             {}; uses of revoked keys {}, of unknown keys {}, keys revoked in use {}, answers 401 \
             {}; keys left {}{more}",
            self.store.name,
            self.time.as_secs(),
            tally.over_reqwest,
            tally.over_tower,
            tally.longest.as_millis(),
            tally.failures.len(),
            longest.as_millis(),
            failed.len(),
            seen.busy_switches,
            seen.count("switched"),
            counts.issue_calls,
            counts.issued,
            counts.revoke_calls,
            counts.revoked,
            counts.revoked_uses,
            counts.unknown_uses,
            counts.revoked_in_flight,
            counts.unauthorized,
            self.issuer.live_keys().len(),
        ));
    }
}

/// The duration and the result of a rotation.
async fn time_rotation(key: &RotatingKey, is_compromised: bool) -> (Duration, Result<u64>) {
    let begin = Instant::now();
    let result = if is_compromised { key.rotate_compromised().await } else { key.rotate().await };
    (begin.elapsed(), result)
}

fn has(value: &SecretValue, member: &str) -> bool {
    value.field_names().is_ok_and(|names| names.iter().any(|name| name == member))
}
