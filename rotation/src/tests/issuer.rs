//! An issuer in memory that does as it is told, and counts.

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

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing is done.
    Refuse(ErrorKind),
    /// It is done, and the answer is lost.
    Lose,
    /// It is done, and nobody hears of it, ever.
    Hang,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) live: BTreeSet<String>,
    pub(super) revoked: BTreeSet<String>,
    by_id: BTreeMap<String, String>,
    pub(super) issue_calls: usize,
    pub(super) issued: usize,
    pub(super) issue_faults: VecDeque<Fault>,
    pub(super) revoke_faults: VecDeque<Fault>,
    pub(super) verify_refuses: bool,
    /// How long a new key does not work.
    pub(super) works_after: Duration,
    works_at: BTreeMap<String, Instant>,
    /// The fencing tokens of all calls.
    pub(super) tokens: Vec<u64>,
    /// How many calls to come panic.
    pub(super) panics: usize,
    pub(super) latency: Duration,
    pub(super) verify_latency: Duration,
    /// How long new keys work.
    pub(super) lifetime: Option<Duration>,
    pub(super) repeats: bool,
    pub(super) lists: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Issuer(pub(super) Arc<Mutex<Books>>);

impl Issuer {
    pub(super) fn new() -> Self {
        let live = BTreeSet::from([FIRST.to_owned()]);
        let books = Books { live, repeats: true, ..Books::default() };
        Self(Arc::new(Mutex::new(books)))
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Books)) {
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
        let latency = self.0.lock().unwrap().latency;
        sleep(latency).await;
        let left = self.0.lock().unwrap().panics;
        if left > 0 {
            self.0.lock().unwrap().panics -= 1;
            panic!("a defect of an issuer");
        }
    }

    /// The answer to a request for a key, if there is one.
    fn issued(&self, current: &SecretValue, id: &IssueId) -> Option<Result<IssuedKey>> {
        let mut books = self.0.lock().unwrap();
        books.issue_calls += 1;
        let fails = books.issue_faults.pop_front();
        if let Some(Fault::Refuse(kind)) = fails {
            return Some(Err(fault(kind)));
        }
        if !books.live.contains(current.expose_text().unwrap()) {
            return Some(Err(fault(ErrorKind::Unauthenticated)));
        }
        let known = books.by_id.get(id.as_str()).filter(|_| books.repeats).cloned();
        let key = known.unwrap_or_else(|| {
            books.issued += 1;
            let key = format!("key-{}", books.issued);
            books.live.insert(key.clone());
            let works_at = Instant::now() + books.works_after;
            books.works_at.insert(key.clone(), works_at);
            books.by_id.insert(id.to_string(), key.clone());
            key
        });
        match fails {
            None => {}
            Some(Fault::Hang) => return None,
            Some(_) => return Some(Err(fault(ErrorKind::Unavailable))),
        }
        let issued = IssuedKey::new(key);
        Some(Ok(match books.lifetime {
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
        match self.issued(current, &attempt.id) {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn revoke(&self, key: &SecretValue, current: &SecretValue) -> Result<()> {
        self.take_time().await;
        let mut books = self.0.lock().unwrap();
        let fails = books.revoke_faults.pop_front();
        if let Some(Fault::Refuse(kind)) = fails {
            return Err(fault(kind));
        }
        if !books.live.contains(current.expose_text().unwrap()) {
            return Err(fault(ErrorKind::Unauthenticated));
        }
        let key = key.expose_text().unwrap().to_owned();
        if books.live.remove(&key) {
            books.revoked.insert(key);
        }
        if fails.is_some() { Err(fault(ErrorKind::Unavailable)) } else { Ok(()) }
    }

    async fn verify(&self, key: &SecretValue) -> Result<()> {
        let latency = self.0.lock().unwrap().verify_latency;
        sleep(latency).await;
        let books = self.0.lock().unwrap();
        let key = key.expose_text().unwrap();
        let works = books.works_at.get(key).is_none_or(|at| *at <= Instant::now());
        let is_live = books.live.contains(key) && works;
        if is_live && !books.verify_refuses { Ok(()) } else { Err(fault(ErrorKind::Denied)) }
    }

    fn is_idempotent(&self) -> bool {
        self.0.lock().unwrap().repeats
    }

    async fn list(&self, _: &SecretValue) -> Result<Vec<SecretValue>> {
        let books = self.0.lock().unwrap();
        if !books.lists {
            return Err(fault(ErrorKind::Unsupported));
        }
        Ok(books.live.iter().map(|key| key.as_str().into()).collect())
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

/// The key is used by one instance, and requests end within five seconds.
pub(super) fn alone<I: KeyIssuer + Clone>(issuer: &I) -> ManagedKey {
    let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::from_secs(5));
    ManagedKey::new(PATH, issuer.clone()).policy(policy.attempt_lease(Duration::from_secs(10)))
}

/// The key is used by several instances, which notice a new one within half a minute.
pub(super) fn shared(issuer: &Issuer) -> ManagedKey {
    let policy = RotationPolicy::new()
        .propagation_timeout(Duration::from_secs(30))
        .drain_timeout(Duration::from_secs(5))
        .attempt_lease(Duration::from_secs(10));
    ManagedKey::new(PATH, issuer.clone()).policy(policy)
}

pub(super) async fn annotate(store: &MemoryBackend, patch: MetadataPatch) {
    store.annotate(&path(), &patch).await.unwrap();
}

/// What was told since the last call, or the last of it.
pub(super) fn told(events: &mut broadcast::Receiver<RotationEvent>) -> Vec<RotationStep> {
    let mut steps = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) => steps.push(event.step),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return steps,
        }
    }
}

/// Panics if one of the keys in use does not work meanwhile.
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

/// The members of the stored secret that are there, and the current key.
pub(super) async fn stored(store: &MemoryBackend) -> (Vec<String>, String) {
    let secret = store.get(&path(), &VersionSelector::Active).await.unwrap();
    match secret.field("key") {
        Ok(key) => (secret.value().field_names().unwrap(), key.expose_text().unwrap().to_owned()),
        Err(_) => (Vec::new(), secret.expose_text().unwrap().to_owned()),
    }
}

/// Panics unless the store holds one key, the issuer knows no other, and it is this one.
pub(super) async fn assert_settled(store: &MemoryBackend, issuer: &Issuer, key: &str) {
    let (members, current) = stored(store).await;
    assert_eq!(current, key);
    for gone in
        ["rotation_previous", "rotation_attempt", "rotation_untracked_keys", "rotation_compromised"]
    {
        assert!(!members.iter().any(|member| member == gone), "{members:?}");
    }
    assert_eq!(issuer.live(), [key]);
}
