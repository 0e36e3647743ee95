//! The steps of a rotation. Each begins with what the store holds, so it does not matter who made the
//! one before it, or whether that process still lives.
//!
//! 1. Note in the store that a key is being got, under a condition: one instance wins.
//! 2. Get it from the issuer, and see that it works.
//! 3. Store it as the current key, and the old one as the previous, in one conditional write.
//! 4. Use it for new requests, and let those with the old key end, here and in other instances.
//! 5. Revoke the old key at the issuer, then remove it from the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_core::{
    Error, ErrorKind, MetadataPatch, Result, Secret, SecretPath, SecretValue, Version,
};
use tokio::time::Instant;

use super::adopt::{Holding, Used};
use super::event::Events;
use super::issuer::{IssueId, IssuedKey, KeyIssuer};
use super::key::Current;
use super::permit::ConcurrencyPermit;
use super::policy::RotationPolicy;
use super::record::{Intent, Record, Worries};
use super::retire::is_same_text;
use super::store::StoredSecret;
use super::{calls, clock};

/// The longest pause before the store is looked at again for what another instance does.
/// How long a read of the store may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The shortest one.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// How often the store is looked at where nobody else is expected to change it.
const IDLE_LOOK: Duration = Duration::from_secs(300);
/// How soon the store is looked at again when it shows an earlier state.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
/// How often somebody else may write first, one time after the other.
const MOST_CONFLICTS: u32 = 10;

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Rest,
    /// The next step, at once.
    Go,
    /// The same: another key has come into use.
    New,
    /// The next step, after a time, or when something happens.
    Wait(Duration),
    /// The next step, after a time, or when no request carries an old key any more.
    Drain(Duration),
    /// The next step, when there is a place among the keys that are replaced.
    Queue,
    /// The next step, when the key is due again.
    Park,
}

/// One key in the hands of one instance.
pub(super) struct Turn {
    pub(super) store: StoredSecret,
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
    /// The key that somebody else may know.
    pub(super) leaked: Option<SecretValue>,
    /// Whether the store holds the key of the generation before.
    pub(super) has_previous: bool,
    /// What was last seen in the store.
    pub(super) seen: Option<Secret>,
    pub(super) held: Holding,
    /// A key that was got and is not known to be stored.
    pub(super) pending: Option<(IssueId, IssuedKey)>,
    /// Since when the store has shown that a key which was got is not there.
    pub(super) missing_since: Option<Instant>,
    /// Since when the store has shown nothing but an earlier generation than the one in use.
    pub(super) older_since: Option<Instant>,
    /// When this instance has noted its attempt.
    pub(super) noted: Option<Instant>,
    /// The secret's expiry that was to be changed with the key.
    pub(super) unmoved: Option<SystemTime>,
    /// The secret's expiry that may not be changed.
    pub(super) stuck: Option<SystemTime>,
    /// How often in a row somebody else has written first.
    pub(super) conflicts: u32,
    /// The generation whose predecessor is known to be in no request any more.
    pub(super) drained: Option<u64>,
    /// Among the keys that are replaced at a time.
    pub(super) place: ConcurrencyPermit,
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
    /// The generation whose predecessor is revoked.
    pub(super) revoked: Option<u64>,
    /// Why the key before this one was left as it is.
    pub(super) unrevoked: Option<Error>,
    /// The generation that this instance has stored.
    pub(super) own: Option<u64>,
    /// An attempt that has ended, and whether the issuer may have given a key in it that is not stored.
    pub(super) over: Option<(IssueId, bool)>,
    /// How reluctant the issuer is to revoke a key, and when it last was.
    pub(super) reluctance: u32,
    pub(super) refused_at: Option<Instant>,
}

impl Turn {
    /// Looks at the store and uses the key that is current there; makes the next step if it may.
    pub(super) async fn step(&mut self, may_act: bool) -> Result<Next> {
        let look = self.key.looks.begin();
        let used = self.use_stored(may_act).await;
        self.key.looks.end(look);
        let (record, used) = used?;
        match used {
            Used::Known => {}
            // Whoever waits for the new key is told before the old one is dealt with.
            Used::New => return Ok(Next::New),
            Used::Doubted => return Ok(Next::Wait(AGAIN)),
        }
        let Some(issuer) = self.issuer.clone() else { return self.delegate(may_act).await };
        if !may_act {
            return Ok(Next::Rest);
        }
        self.mind_leak(&record);
        if let Some(wait) = self.settle_pending(&record, &*issuer).await? {
            return Ok(Next::Wait(wait));
        }
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
        let over =
            self.over.as_ref().filter(|(id, _)| own.as_ref().is_some_and(|own| own.id == *id));
        if let Some((_, unsure)) = over {
            // Its end was not stored, or somebody has put back what was stored while it was under way.
            let value = record.without_intent(*unsure, &self.policy.member)?;
            let written = self.write(&record, value, MetadataPatch::new()).await?;
            return self.after_write(written.is_some());
        }
        match (own, foreign) {
            _ if self.leaked.is_none() && !self.place.take() => Ok(Next::Queue),
            (Some(intent), _) => self.replace(&record, &intent, &*issuer).await,
            (None, Some(intent)) => self.attempt_lease(&record, intent.id).await,
            (None, None) => self.attempt_lease(&record, IssueId::random()).await,
        }
    }

    /// What the store holds, whatever is cached or declared.
    pub(super) async fn look(&self) -> Result<Secret> {
        self.store.read(READ_TIMEOUT).await
    }

    /// How often the store is looked at.
    pub(super) fn look_every(&self) -> Duration {
        let third = self.policy.propagation_timeout / 3;
        if third.is_zero() { IDLE_LOOK } else { third }
    }

    /// How long to wait at a time for what another instance does.
    pub(super) fn wait_for(&self, left: Duration) -> Duration {
        left.min(self.look_every()).min(LONGEST_WAIT).max(SHORTEST_WAIT)
    }

    /// A key that somebody else may know is wanted replaced until it is.
    fn mind_leak(&mut self, record: &Record) {
        if record.worries.leaked && !self.has_previous {
            self.leaked = Some(record.key.clone());
        }
        let is_leaked = |key: &SecretValue| {
            self.leaked.as_ref().is_some_and(|leaked| is_same_text(leaked, key))
        };
        if is_leaked(&record.key) {
            self.wanted = self.wanted.max(Some(record.generation));
        } else if !record.previous.as_ref().is_some_and(is_leaked) {
            self.leaked = None;
        }
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
        self.policy.attempt_lease.saturating_sub(now.duration_since(first_seen))
    }

    /// Notes that this instance gets a key. Who goes on where another stopped keeps the id, so that
    /// the issuer gives the key that it may have given before.
    async fn attempt_lease(&mut self, record: &Record, id: IssueId) -> Result<Next> {
        // It may have been this instance's before, and another's since then.
        self.over.take_if(|(over, _)| *over == id);
        let written = self.note(record, id).await?;
        self.after_write(written.is_some())
    }

    /// Notes an attempt of this instance, also once more: others leave it alone for a while then. The
    /// record with it, unless somebody else has written first.
    pub(super) async fn note(&mut self, record: &Record, id: IssueId) -> Result<Option<Record>> {
        let intent = Intent { id, at: Some(clock::wall()), by: self.instance.clone() };
        let is_of_another = record.intent.as_ref().is_some_and(|known| known.by != intent.by);
        let worries = Worries {
            unsure: is_of_another && !self.is_idempotent(),
            leaked: self.leaked.is_some(),
        };
        let value = record.with_intent(&intent, worries, &self.policy.member)?;
        let now = Instant::now();
        let Some(version) = self.write(record, value.clone(), MetadataPatch::new()).await? else {
            return Ok(None);
        };
        self.noted = Some(now);
        Ok(Some(record.noted(intent, value, version)))
    }

    /// Whether an attempt leaves no key behind that nobody knows, however it ends.
    pub(super) fn is_idempotent(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_idempotent())
    }

    /// Writes under the condition that nobody else has; what was written, unless somebody had.
    pub(super) async fn write(
        &self,
        record: &Record,
        value: SecretValue,
        patch: MetadataPatch,
    ) -> Result<Option<Version>> {
        self.store.write(&record.version, value, patch, self.policy.attempt_lease).await
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
        self.ask_for(self.policy.attempt_lease, request).await
    }

    /// The same, for no longer than this.
    pub(super) async fn ask_for<T, F: Future<Output = Result<T>>>(
        &self,
        time: Duration,
        request: impl FnMut() -> F,
    ) -> Result<T> {
        calls::repeat(time, request).await.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, "see whether the issuer of the key is well")
                .because("the issuer did not answer in time"))
        })
    }
}
