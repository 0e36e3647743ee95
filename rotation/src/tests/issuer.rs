//! An issuer in memory that counts its calls and fails as a test configures.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_core::{
    Backend as _, Error, ErrorKind, MemoryBackend, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, VersionSelector, async_trait,
};
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::{
    IssueAttempt, IssueId, IssuedKey, KeyGuard, KeyIssuer, ManagedKey, RotatingKey, RotationEngine,
    RotationEvent, RotationPolicy, RotationStep,
};

pub(super) const PATH: &str = "openai/api-key";
pub(super) const FIRST: &str = "key-0";
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A fault of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The issuer does nothing and returns this error.
    Refuse(ErrorKind),
    /// The issuer carries the call out, and the answer is lost.
    Lose,
    /// The issuer carries the call out, and never answers.
    Hang,
}

#[derive(Debug, Default)]
pub(super) struct IssuerState {
    pub(super) live: BTreeSet<String>,
    pub(super) revoked: BTreeSet<String>,
    by_id: BTreeMap<String, String>,
    pub(super) issue_calls: usize,
    pub(super) issued: usize,
    /// The fencing tokens of all calls.
    pub(super) tokens: Vec<u64>,
    pub(super) is_idempotent: bool,
    pub(super) lists_keys: bool,
    pub(super) faults: Faults,
    pub(super) timing: Timing,
}

/// What goes wrong with calls to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) issue: VecDeque<Fault>,
    pub(super) revoke: VecDeque<Fault>,
    pub(super) rejects_keys: bool,
    /// How many of the next calls panic.
    pub(super) panics: usize,
}

/// How long calls take, and when keys work.
#[derive(Debug, Default)]
pub(super) struct Timing {
    pub(super) latency: Duration,
    pub(super) verify_latency: Duration,
    /// How long new keys work.
    pub(super) lifetime: Option<Duration>,
    /// How long after it was issued a new key begins to work.
    pub(super) works_after: Duration,
    works_at: BTreeMap<String, Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Issuer(pub(super) Arc<Mutex<IssuerState>>);

impl Issuer {
    pub(super) fn new() -> Self {
        let live = BTreeSet::from([FIRST.to_owned()]);
        let state = IssuerState { live, is_idempotent: true, ..IssuerState::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut IssuerState)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(super) fn live(&self) -> Vec<String> {
        self.0.lock().unwrap().live.iter().cloned().collect()
    }

    pub(super) fn is_live(&self, guard: &KeyGuard) -> bool {
        self.0.lock().unwrap().live.contains(guard.expose_text().unwrap())
    }

    pub(super) fn issue_calls(&self) -> usize {
        self.0.lock().unwrap().issue_calls
    }

    async fn take_time(&self) {
        let latency = self.0.lock().unwrap().timing.latency;
        sleep(latency).await;
        let left = self.0.lock().unwrap().faults.panics;
        if left > 0 {
            self.0.lock().unwrap().faults.panics -= 1;
            panic!("a defect of an issuer");
        }
    }

    /// The answer to a request for a key, if there is one.
    fn find_issued(&self, current: &SecretValue, id: &IssueId) -> Option<Result<IssuedKey>> {
        let mut state = self.0.lock().unwrap();
        state.issue_calls += 1;
        let fails = state.faults.issue.pop_front();
        if let Some(Fault::Refuse(kind)) = fails {
            return Some(Err(fault(kind)));
        }
        if !state.live.contains(current.expose_text().unwrap()) {
            return Some(Err(fault(ErrorKind::Unauthenticated)));
        }
        let known = state.by_id.get(id.as_str()).filter(|_| state.is_idempotent).cloned();
        let key = known.unwrap_or_else(|| {
            state.issued += 1;
            let key = format!("key-{}", state.issued);
            state.live.insert(key.clone());
            let works_at = Instant::now() + state.timing.works_after;
            state.timing.works_at.insert(key.clone(), works_at);
            state.by_id.insert(id.to_string(), key.clone());
            key
        });
        match fails {
            None => {}
            Some(Fault::Hang) => return None,
            Some(_) => return Some(Err(fault(ErrorKind::Unavailable))),
        }
        let issued = IssuedKey::new(key);
        Some(Ok(match state.timing.lifetime {
            Some(lifetime) => issued.expires_at(clock::wall() + lifetime),
            None => issued,
        }))
    }
}

fn fault(kind: ErrorKind) -> Error {
    Error::new(kind, "wait for the test to go on")
}

#[async_trait]
impl KeyIssuer for Issuer {
    async fn issue(&self, current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        self.0.lock().unwrap().tokens.push(attempt.fencing_token);
        self.take_time().await;
        match self.find_issued(current, &attempt.id) {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        self.take_time().await;
        let mut state = self.0.lock().unwrap();
        let fails = state.faults.revoke.pop_front();
        if let Some(Fault::Refuse(kind)) = fails {
            return Err(fault(kind));
        }
        if !state.live.contains(current.expose_text().unwrap()) {
            return Err(fault(ErrorKind::Unauthenticated));
        }
        let key = key.expose_text().unwrap().to_owned();
        if state.live.remove(&key) {
            state.revoked.insert(key);
        }
        if fails.is_some() { Err(fault(ErrorKind::Unavailable)) } else { Ok(()) }
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let latency = self.0.lock().unwrap().timing.verify_latency;
        sleep(latency).await;
        let state = self.0.lock().unwrap();
        let key = key.expose_text().unwrap();
        let works = state.timing.works_at.get(key).is_none_or(|at| *at <= Instant::now());
        let is_live = state.live.contains(key) && works;
        if is_live && !state.faults.rejects_keys { Ok(()) } else { Err(fault(ErrorKind::Denied)) }
    }

    fn is_idempotent(&self) -> bool {
        self.0.lock().unwrap().is_idempotent
    }

    async fn list(&self, _: &SecretValue) -> Result<Vec<SecretValue>> {
        let state = self.0.lock().unwrap();
        if !state.lists_keys {
            return Err(fault(ErrorKind::Unsupported));
        }
        Ok(state.live.iter().map(|key| key.as_str().into()).collect())
    }
}

/// A store that holds the first key.
pub(super) async fn store() -> Arc<MemoryBackend> {
    let store = Arc::new(MemoryBackend::new());
    store.put(&path(), FIRST.into(), PutOptions::new()).await.unwrap();
    store
}

pub(super) fn path() -> SecretPath {
    SecretPath::parse(PATH).unwrap()
}

pub(super) fn engine(store: &Arc<MemoryBackend>) -> RotationEngine {
    RotationEngine::new(Arc::clone(store))
}

/// A key of one instance. Requests end within five seconds.
pub(super) fn single_instance_key<I: KeyIssuer + Clone>(issuer: &I) -> ManagedKey {
    let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::from_secs(5));
    ManagedKey::new(PATH, issuer.clone()).policy(policy.attempt_lease(Duration::from_secs(10)))
}

/// A key of several instances, which notice a new one within half a minute.
pub(super) fn shared_key(issuer: &Issuer) -> ManagedKey {
    let policy = RotationPolicy::new()
        .propagation_timeout(Duration::from_secs(30))
        .drain_timeout(Duration::from_secs(5))
        .attempt_lease(Duration::from_secs(10));
    ManagedKey::new(PATH, issuer.clone()).policy(policy)
}

pub(super) async fn annotate(store: &MemoryBackend, patch: MetadataPatch) {
    store.annotate(&path(), &patch).await.unwrap();
}

/// The steps since the last call, or the last of them.
pub(super) fn received_steps(events: &mut broadcast::Receiver<RotationEvent>) -> Vec<RotationStep> {
    let mut steps = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) => steps.push(event.step),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return steps,
        }
    }
}

/// Panics if a key in use stops working during that time.
pub(super) async fn assert_live_for(time: Duration, issuer: &Issuer, keys: &[RotatingKey]) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (instance, key) in keys.iter().enumerate() {
            let guard = key.acquire();
            let left = end - Instant::now();
            assert!(issuer.is_live(&guard), "{guard:?} of {instance}, {left:?} before the end");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The names of the members of the stored secret, and the current key.
pub(super) async fn read_record(store: &MemoryBackend) -> (Vec<String>, String) {
    let secret = store.get(&path(), &VersionSelector::Active).await.unwrap();
    match secret.field("key") {
        Ok(key) => (secret.value().field_names().unwrap(), key.expose_text().unwrap().to_owned()),
        Err(_) => (Vec::new(), secret.expose_text().unwrap().to_owned()),
    }
}

/// Panics unless the store holds this key alone, with no rotation under way, and no other key works.
pub(super) async fn assert_settled(store: &MemoryBackend, issuer: &Issuer, key: &str) {
    let (members, current) = read_record(store).await;
    assert_eq!(current, key);
    for gone in
        ["rotation_previous", "rotation_attempt", "rotation_untracked_keys", "rotation_compromised"]
    {
        assert!(!members.iter().any(|member| member == gone), "{members:?}");
    }
    assert_eq!(issuer.live(), [key]);
}
