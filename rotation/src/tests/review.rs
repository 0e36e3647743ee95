//! What a review of the worker has found, so that it stays found.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, ErrorKind, Health, MemoryBackend, PutOptions, Result, Secret, SecretPath,
    SecretValue, Version, VersionSelector, async_trait,
};
use tokio::time::{sleep, timeout};

use super::issuer::{
    DAY, FIRST, Fault, Issuer, assert_settled, engine, path, received_steps, shared_key,
    single_instance_key, store,
};
use crate::clock;
use crate::{
    IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine, RotationPolicy, RotationStep,
};

const SECOND: Duration = Duration::from_secs(1);

/// A store whose writes take their time.
struct SlowWrites(Arc<MemoryBackend>, Duration, AtomicUsize);

impl fmt::Debug for SlowWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowWrites")
    }
}

#[async_trait]
impl Backend for SlowWrites {
    fn info(&self) -> &BackendInfo {
        self.0.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.0.get(path, version).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.2.fetch_add(1, Ordering::Relaxed);
        sleep(self.1).await;
        self.0.put(path, value, options).await
    }

    async fn health(&self) -> Result<Health> {
        self.0.health().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_after_a_failure_keeps_no_other_key_from_being_replaced() {
    let (store, failing, other) = (store().await, Issuer::new(), Issuer::new());
    let second = SecretPath::parse("second").unwrap();
    store.put(&second, FIRST.into(), PutOptions::new()).await.unwrap();
    let faults = [Fault::Refuse(ErrorKind::Unavailable); 200];
    failing.set(|state| state.faults.issue.extend(faults));
    let engine = engine(&store).max_concurrent_rotations(1);
    let key = engine.add(shared_key(&failing)).await.unwrap();
    let policy = RotationPolicy::new().single_instance();
    let other_key = ManagedKey::new("second", other.clone()).policy(policy);
    let other_key = engine.add(other_key).await.unwrap();
    key.rotate().await.unwrap_err();
    // By now, the pause is longer than that between two reads of the store.
    sleep(200 * SECOND).await;
    let calls = failing.issue_calls();
    for _ in 0..40 {
        timeout(5 * SECOND, other_key.rotate()).await.expect("it need not wait").unwrap();
        sleep(10 * SECOND).await;
    }
    assert!(failing.issue_calls() > calls, "it was tried again");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_until_a_key_put_by_hand_was_verified() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(60 * SECOND).await;
    issuer.set(|state| {
        state.live.remove("key-1");
        state.live.insert("by hand".to_owned());
        state.timing.verify_latency = Duration::from_millis(200);
    });
    store.put(&path(), "by hand".into(), PutOptions::new()).await.unwrap();
    let refused = key.acquire();
    assert!(key.refresh_after_rejection(&refused).await);
    assert_eq!(key.acquire().expose_text().unwrap(), "by hand");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_replaced_in_a_store_whose_writes_are_slow() {
    for works in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| state.faults.rejects_keys = !works);
        // A lease of ten seconds is extended after a quarter of it.
        let slow = Arc::new(SlowWrites(Arc::clone(&store), 3 * SECOND, AtomicUsize::new(0)));
        let engine = RotationEngine::new(Arc::clone(&slow));
        let key = engine.add(shared_key(&issuer)).await.unwrap();
        let answer = timeout(60 * SECOND, key.rotate()).await.expect("an answer");
        if works {
            assert_eq!(answer.unwrap(), 1);
        } else {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Denied);
            assert_eq!(issuer.live(), [FIRST]);
        }
        assert!(slow.2.load(Ordering::Relaxed) < 12);
    }
}

#[tokio::test(start_paused = true)]
async fn drained_tells_only_of_requests_that_were_under_way() {
    for is_under_way in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        let engine = engine(&store);
        let mut events = engine.events();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        let guard = is_under_way.then(|| key.acquire());
        key.rotate_compromised().await.unwrap();
        let told = received_steps(&mut events);
        let drained = told.iter().find_map(|step| match step {
            RotationStep::Drained { timed_out } => Some(*timed_out),
            _ => None,
        });
        assert_eq!(drained, Some(is_under_way), "{told:?}");
        drop(guard);
    }
}

/// An issuer with a defect.
#[derive(Clone, Debug)]
struct Defective {
    inner: Issuer,
    /// How many lists to come panic.
    panics: Arc<AtomicUsize>,
    /// The attempt that gets no key, however often it is made.
    spoilt: Arc<Mutex<Option<String>>>,
}

impl Defective {
    fn new(panics: usize) -> Self {
        let panics = Arc::new(AtomicUsize::new(panics));
        Self { inner: Issuer::new(), panics, spoilt: Arc::default() }
    }
}

#[async_trait]
impl KeyIssuer for Defective {
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        let is_spoilt = {
            let mut spoilt = self.spoilt.lock().unwrap();
            spoilt.get_or_insert_with(|| attempt.id.to_string()) == attempt.id.as_str()
        };
        if is_spoilt {
            return Ok(IssuedKey::new(""));
        }
        self.inner.issue(current, attempt).await
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        self.inner.revoke(key, current).await
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        self.inner.verify(key).await
    }

    fn is_idempotent(&self) -> bool {
        self.inner.is_idempotent()
    }

    async fn list(&self, current: &SecretValue) -> Result<Vec<SecretValue>> {
        let one_less = |left: usize| left.checked_sub(1);
        let panics = self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        assert!(panics.is_err(), "a defect of the issuer");
        self.inner.list(current).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_got_no_new_key_is_not_made_again_under_its_name() {
    let (store, issuer) = (store().await, Defective::new(0));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_settled(&store, &issuer.inner, FIRST).await;
    assert_eq!(key.rotate().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_issuer_is_no_reason_to_forget_untracked_keys() {
    let (store, issuer) = (store().await, Defective::new(1));
    *issuer.spoilt.lock().unwrap() = Some(String::new());
    issuer.inner.set(|state| {
        (state.is_idempotent, state.lists_keys) = (false, true);
        state.faults.issue.push_back(Fault::Lose);
    });
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(60 * SECOND).await;
    assert_settled(&store, &issuer.inner, "key-2").await;
    let told = received_steps(&mut events);
    let is_found =
        |step: &RotationStep| matches!(step, RotationStep::Orphaned { revoked: Some(1) });
    assert!(told.iter().any(is_found), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_postponement_by_a_wrong_clock_ends_after_a_day() {
    let (store, issuer) = (store().await, Issuer::new());
    let wrong = humantime::format_rfc3339(clock::wall() + 3_650 * DAY).to_string();
    let expired = humantime::format_rfc3339(clock::wall()).to_string();
    let record = SecretValue::fields([
        ("key", FIRST),
        ("rotation_version", "1"),
        ("rotation_not_before", wrong.as_str()),
        ("rotation_expires_at", expired.as_str()),
    ]);
    store.put(&path(), record, PutOptions::new()).await.unwrap();
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(DAY).await;
    assert_eq!(key.state().generation, 0);
    sleep(2 * 3600 * SECOND).await;
    assert_eq!(key.state().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn fencing_tokens_grow_after_an_attempt_by_a_clock_that_is_ahead() {
    let (store, issuer) = (store().await, Issuer::new());
    let ahead = u64::MAX / 2;
    let record = SecretValue::fields([
        ("key", FIRST),
        ("rotation_version", "1"),
        ("rotation_attempt", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("rotation_attempt_by", "7d444840-9dc0-41d1-b245-5ffdce74fad2"),
        ("rotation_fencing_token", &ahead.to_string()),
    ]);
    store.put(&path(), record, PutOptions::new()).await.unwrap();
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for rotation in 1..=3 {
        assert_eq!(key.rotate().await.unwrap(), rotation);
        sleep(30 * SECOND).await;
        let secret = store.get(&path(), &VersionSelector::Active).await.unwrap();
        let token = secret.field("rotation_fencing_token").unwrap();
        let token: u64 = token.expose_text().unwrap().parse().unwrap();
        assert_eq!(token, ahead + rotation, "each attempt has a newer token");
    }
}
