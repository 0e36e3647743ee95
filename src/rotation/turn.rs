//! The steps of a rotation. Each begins with what the store holds, so it does not matter who made the
//! one before it, or whether that process still lives.
//!
//! 1. Note in the store that a key is being got, under a condition: one instance wins.
//! 2. Get it from the issuer, and see that it works.
//! 3. Store it as the current key, and the old one as the previous, in one conditional write.
//! 4. Use it for new requests, and let those with the old key end, here and in other instances.
//! 5. Revoke the old key at the issuer, then remove it from the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use strongroom_core::{
    Error, ErrorKind, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath,
    SecretValue, Version, VersionSelector,
};
use tokio::time::Instant;

use super::event::{Events, RotationStep};
use super::issuer::{IssueId, IssuedKey, KeyIssuer};
use super::key::{Current, Drained, Held};
use super::place::Place;
use super::policy::RotationPolicy;
use super::record::{Intent, Record};
use crate::cache::Terms;
use crate::retry::{Deadline, Retries};
use crate::{SecretsManager, clock};

/// How often a call to the issuer is repeated after errors that may pass.
const ATTEMPTS: u32 = 4;
/// The longest pause before the store is looked at again for what another instance does.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The shortest one.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// How often the store is looked at where nobody else is expected to change it.
const IDLE_LOOK: Duration = Duration::from_secs(300);
/// How often somebody else may write first, one time after the other.
const MOST_CONFLICTS: u32 = 10;

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Rest,
    /// The next step, at once.
    Go,
    /// The next step, after a time, or when something happens.
    Wait(Duration),
    /// The next step, after a time, or when no request carries an old key any more.
    Drain(Duration),
    /// The next step, when there is a place among the keys that are replaced.
    Queue,
}

/// One key in the hands of one instance.
pub(super) struct Turn {
    pub(super) secrets: SecretsManager,
    pub(super) path: SecretPath,
    /// Who makes new keys; `None` if the store does that itself.
    pub(super) issuer: Option<Arc<dyn KeyIssuer>>,
    pub(super) policy: RotationPolicy,
    pub(super) key: Arc<Current>,
    pub(super) events: Events,
    /// The name of this instance in the store.
    pub(super) instance: String,
    /// The generation that is to be replaced.
    pub(super) wanted: Option<u64>,
    /// The generation that somebody else may know.
    pub(super) leaked: Option<u64>,
    /// Whether the store holds the key of the generation before.
    pub(super) has_previous: bool,
    /// What was last seen in the store.
    pub(super) seen: Option<Secret>,
    pub(super) held: Holding,
    /// A key that was got and is not known to be stored.
    pub(super) pending: Option<(IssueId, IssuedKey)>,
    /// Since when the store has shown that a key which was got is not there.
    pub(super) missing_since: Option<Instant>,
    /// How often in a row somebody else has written first.
    pub(super) conflicts: u32,
    /// The generation whose predecessor is known to be in no request any more.
    pub(super) drained: Option<u64>,
    /// Among the keys that are replaced at a time.
    pub(super) place: Place,
    /// Another instance's attempt, and when it was first seen.
    pub(super) watched: Option<(Intent, Instant)>,
    /// When the store was asked to replace the secret.
    pub(super) asked: Option<Instant>,
    /// An attempt of which it is not known whether the issuer has given a key.
    pub(super) doubts: Option<IssueId>,
    /// Keys the fingerprints, as long as the store holds nothing that does.
    pub(super) salt: String,
    /// When the key ends, as its record says.
    pub(super) stored_end: Option<SystemTime>,
    /// The generation that this instance has stored.
    pub(super) own: Option<u64>,
    /// The attempt that it came from.
    pub(super) over: Option<IssueId>,
    /// How often the issuer has refused for good to revoke a key.
    pub(super) refusals: u32,
    pub(super) retries: Retries,
}

/// What tells of the end of requests.
#[derive(Debug)]
pub(super) struct Holding {
    /// Of the key in use.
    pub(super) current: Drained,
    /// Of the same key, as it was called before.
    pub(super) same: Vec<Drained>,
    /// Of earlier ones.
    pub(super) earlier: Vec<Drained>,
    /// Since when the key is in use here.
    pub(super) since: Instant,
}

impl Holding {
    /// Waits until no request carries an earlier key.
    pub(super) async fn all_drained(&mut self) {
        while let Some(drained) = self.earlier.last_mut() {
            // Its sender is dropped with the last request, and never sends.
            let _ = drained.await;
            self.earlier.pop();
        }
    }
}

impl Turn {
    /// Looks at the store and uses the key that is current there; makes the next step if it may.
    pub(super) async fn step(&mut self, may_act: bool) -> Result<Next> {
        let used = self.use_stored().await;
        // Whoever waits for this look, or for the next one.
        self.key.looks.send_replace(());
        let (record, is_new) = used?;
        if is_new {
            // Whoever waits for the new key is told before the old one is dealt with.
            return Ok(Next::Go);
        }
        let Some(issuer) = self.issuer.clone() else { return self.delegate(may_act).await };
        if !may_act {
            return Ok(Next::Rest);
        }
        if let Some(wait) = self.settle_pending(&record, &*issuer).await? {
            return Ok(Next::Wait(wait));
        }
        self.mind_leak(&record);
        // Before the old key is dealt with: whoever goes back to it meanwhile does not want a new one.
        if self.wanted.is_some_and(|wanted| record.generation > wanted) {
            self.wanted = None;
        }
        if let Some(previous) = record.previous.clone() {
            self.place.leave();
            return self.retire(&record, &previous, &*issuer).await;
        }
        let own = record.intent.clone().filter(|intent| intent.by == self.instance);
        let foreign = record.intent.clone().filter(|intent| intent.by != self.instance);
        if let Some(intent) = &foreign {
            let left = self.left_of(intent);
            if !left.is_zero() {
                self.place.leave();
                return Ok(Next::Wait(self.wait_for(left)));
            }
        }
        if record.intent.is_none() && self.wanted.is_none() {
            self.place.leave();
            return Ok(Next::Rest);
        }
        if own.as_ref().is_some_and(|intent| self.over.as_ref() == Some(&intent.id)) {
            // Somebody has put back what was stored while it was under way. Its key is stored no more.
            let value = record.without_intent(true, &self.policy.member)?;
            let written = self.write(&record, value, MetadataPatch::new()).await?;
            return self.after_write(written.is_some());
        }
        match (own, foreign) {
            _ if self.leaked.is_none() && !self.place.take() => Ok(Next::Queue),
            (Some(intent), _) => self.replace(&record, &intent, &*issuer).await,
            (None, Some(intent)) => self.claim(&record, intent.id).await,
            (None, None) => self.claim(&record, IssueId::random()).await,
        }
    }

    /// What the store holds, and whether its key is another one than before; it is used from now on.
    async fn use_stored(&mut self) -> Result<(Record, bool)> {
        let secret = self.look().await?;
        let record = match self.issuer {
            Some(_) => Record::of(&secret, &self.policy.member)?,
            None => Record::foreign(&secret, &self.policy.member),
        };
        let record = record.salted_as(&mut self.salt);
        (self.seen, self.stored_end) = (Some(secret), record.expires_at);
        self.has_previous = record.previous.is_some();
        let is_new = self.adopt(&record);
        Ok((record, is_new))
    }

    /// What the store holds, whatever is cached or declared.
    pub(super) async fn look(&self) -> Result<Secret> {
        self.secrets.ready(Operation::Rotate)?;
        let (shared, active) = (&self.secrets.shared, VersionSelector::Active);
        let now = Terms { max_age: Some(Duration::ZERO), accepts_stale: false };
        let read = shared.load(&self.path, &active, now, None).await;
        read.map_err(|error| self.secrets.named(error, Operation::Get, &self.path))
    }

    /// How often the store is looked at.
    pub(super) fn look_every(&self) -> Duration {
        let third = self.policy.pickup / 3;
        if third.is_zero() { IDLE_LOOK } else { third }
    }

    /// How long to wait at a time for what another instance does.
    pub(super) fn wait_for(&self, left: Duration) -> Duration {
        left.min(self.look_every()).min(LONGEST_WAIT).max(SHORTEST_WAIT)
    }

    /// Uses the key that is current in the store; whether it is another one than before.
    fn adopt(&mut self, record: &Record) -> bool {
        let held = self.key.held.load();
        let is_same = held.value.constant_time_eq(&record.key);
        // The store counts nothing where it replaces keys by itself.
        let generation = match self.issuer {
            Some(_) => record.generation,
            None => held.generation + u64::from(!is_same),
        };
        let fingerprint = record.fingerprint(&record.key);
        if is_same && held.generation == generation && held.fingerprint == fingerprint {
            return false;
        }
        let serial = held.serial + u64::from(!is_same);
        if generation < held.generation {
            // Somebody has put an earlier state back; what was wanted was newer than that.
            self.wanted = self.wanted.map(|wanted| wanted.min(generation));
        }
        drop(held);
        // Many stores do not tell with a secret when they have replaced it.
        let seen_now = (self.issuer.is_none() && !is_same).then(clock::wall);
        let (next, drained) =
            Held::new(record.key.clone(), generation, serial, fingerprint.clone());
        self.key.held.store(Arc::new(next));
        if !is_same {
            self.key.has_complained.store(false, Ordering::Relaxed);
        }
        let current = std::mem::replace(&mut self.held.current, drained);
        self.key.state.send_modify(|state| {
            state.generation = generation;
            state.fingerprint = fingerprint;
            state.rotated_at = record.rotated_at.or(seen_now);
            state.expires_at = record.expires_at;
        });
        if is_same {
            // Requests with either name of it carry one key.
            self.held.same.push(current);
            return false;
        }
        self.asked = None;
        self.held.earlier.append(&mut self.held.same);
        self.held.earlier.push(current);
        self.held.since = Instant::now();
        self.events.tell(&self.path, RotationStep::Switched { generation });
        true
    }

    /// A key that somebody else may know is wanted replaced until it is revoked.
    fn mind_leak(&mut self, record: &Record) {
        if !self.has_previous {
            let is_over = self.leaked.is_some_and(|leaked| record.generation > leaked);
            if is_over || record.worries.leaked {
                self.leaked = record.worries.leaked.then_some(record.generation);
            }
        }
        self.wanted = self.wanted.max(self.leaked);
    }

    /// How long another instance's attempt is left to it, from when it was first seen here: clocks of
    /// two machines differ.
    fn left_of(&mut self, intent: &Intent) -> Duration {
        let now = Instant::now();
        let first_seen = match &self.watched {
            Some((known, at)) if known == intent => *at,
            _ => {
                self.watched = Some((intent.clone(), now));
                now
            }
        };
        self.policy.claim.saturating_sub(now.duration_since(first_seen))
    }

    /// Notes that this instance gets a key. Who goes on where another stopped keeps the id, so that
    /// the issuer gives the key that it may have given before.
    async fn claim(&mut self, record: &Record, id: IssueId) -> Result<Next> {
        let intent = Intent { id, at: Some(clock::wall()), by: self.instance.clone() };
        let leaked = self.leaked.is_some();
        let value = record.with_intent(&intent, leaked, &self.policy.member)?;
        let written = self.write(record, value, MetadataPatch::new()).await?;
        self.after_write(written.is_some())
    }

    /// Writes under the condition that nobody else has; what was written, unless somebody had.
    pub(super) async fn write(
        &self,
        record: &Record,
        value: SecretValue,
        patch: MetadataPatch,
    ) -> Result<Option<Version>> {
        let options = PutOptions::new().must_be_version(&record.version).metadata(patch);
        let write = self.secrets.put_with(self.path.as_str(), value, options);
        match self.in_time(write).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for a change that the store makes, but not without end: whether it was made is seen from
    /// what is stored.
    pub(super) async fn in_time<T>(&self, change: impl Future<Output = Result<T>>) -> Result<T> {
        let made = Deadline::after(self.policy.claim).within(change).await;
        made.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, "see whether the store is well, or raise `claim`")
                .because("the store did not answer in time"))
        })
    }

    /// That somebody else has written first is no error, once: the next step looks anew.
    pub(super) fn after_write(&mut self, written: bool) -> Result<Next> {
        if written {
            self.conflicts = 0;
            return Ok(Next::Go);
        }
        self.conflicts += 1;
        if self.conflicts > MOST_CONFLICTS {
            self.conflicts = 0;
            return Err(Error::new(ErrorKind::Conflict, "see who else writes this secret")
                .because("each write found that another was made before"));
        }
        let pause = Duration::from_millis(20) * 2_u32.saturating_pow(self.conflicts);
        Ok(Next::Wait(pause.min(LONGEST_WAIT) * fastrand::u32(50..=100) / 100))
    }

    /// Asks the issuer, again if that may help.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(
        &self,
        request: impl FnMut() -> F,
    ) -> Result<T> {
        let deadline = Deadline::after(self.policy.claim);
        self.retries.run(deadline, request).await.map_err(|error| {
            if error.operation().is_some() || error.kind() != ErrorKind::Timeout {
                return error;
            }
            Error::new(ErrorKind::Timeout, "see whether the issuer of the key is well")
                .because("the issuer did not answer in time")
        })
    }
}

/// Further attempts at the issuer.
pub(super) fn retries() -> Retries {
    Retries::new(ATTEMPTS)
}
