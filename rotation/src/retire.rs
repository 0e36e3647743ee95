//! An old key is revoked, when no request carries it any more.

use std::time::Duration;

use strongroom_core::{MetadataPatch, Result, SecretValue};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::event::RotationStep;
use super::issuer::KeyIssuer;
use super::policy::RotationPolicy;
use super::record::Record;
use super::turn::{Next, Turn};

/// How much a refusal to revoke a key counts for, next to a failure that may pass.
const REFUSAL: u32 = 4;
/// How reluctant the issuer may be before a key is left to somebody: five refusals, or twenty failures.
pub(super) const ENOUGH: u32 = 5 * REFUSAL;
/// How long it is not asked again then, unless the next key is wanted.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(86_400);

/// What is done to have a key revoked.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    /// How long the issuer may take.
    pub(super) time: Duration,
    /// How reluctant it may be before the key is left as it is; without end if nothing is in its way.
    pub(super) reluctance: Option<u32>,
}

/// Keys that nobody knows.
enum Unknown {
    /// There can be none.
    None,
    /// The issuer cannot list them.
    Somewhere,
    Keys(Vec<SecretValue>),
}

impl Turn {
    /// Revokes the previous key once no request carries it.
    pub(super) async fn retire(
        &mut self,
        record: &Record,
        previous: &SecretValue,
        issuer: &dyn KeyIssuer,
    ) -> Result<Next> {
        if is_same_text(previous, &record.key) {
            // Somebody has put the old key back by hand; nobody holds the one that was in between.
            self.events.tell(&self.path, RotationStep::Orphaned { revoked: None });
            return self.finish(record, false, MetadataPatch::new()).await;
        }
        // A key that somebody else may know is revoked at once, and one that is in the way of that.
        let has_leaked = |key| self.leaked.as_ref().is_some_and(|leaked| is_same_text(leaked, key));
        let is_urgent = record.worries.leaked || has_leaked(previous) || has_leaked(&record.key);
        // The latter is given up after one refusal: nobody else knows it.
        let is_in_the_way =
            has_leaked(&record.key) && !record.worries.leaked && !has_leaked(previous);
        let others = self.others_need(record);
        if !others.is_zero() && !is_urgent {
            return Ok(Next::Wait(self.wait_for(others)));
        }
        self.held.earlier.retain_mut(|drained| drained.try_recv() == Err(TryRecvError::Empty));
        let left = self.policy.drain_timeout.saturating_sub(self.held.since.elapsed());
        if !self.held.earlier.is_empty() && !left.is_zero() && !is_urgent {
            return Ok(Next::Drain(left));
        }
        if self.is_refused_for_now() && !is_urgent && !self.wants_after(record.generation) {
            return Ok(Next::Park);
        }
        let timed_out = !self.held.earlier.is_empty();
        self.held.earlier.clear();
        if self.drained.replace(record.generation) != Some(record.generation) {
            self.events.tell(&self.path, RotationStep::Drained { timed_out });
        }
        // Never before it is certain that the new key works, and still is the current one.
        self.ask(|| issuer.verify(&record.key)).await?;
        let unknown = self.unknown_keys(record, previous, issuer).await?;
        let Some(record) = &self.confirmed(record).await? else { return self.after_write(false) };
        let enough = if is_in_the_way { 1 } else { ENOUGH };
        let limit = Limit {
            time: self.policy.attempt_lease,
            reluctance: self.wants_after(record.generation).then_some(enough),
        };
        let is_revoked = self.revoke(record, previous, issuer, limit).await?;
        let is_news = self.revoked.replace(record.generation) != Some(record.generation);
        if is_revoked && is_news {
            let fingerprint = record.fingerprint(previous);
            self.events.tell(&self.path, RotationStep::Revoked { fingerprint });
        }
        let mut unsure = false;
        let revoked = match unknown {
            Unknown::None => None,
            Unknown::Somewhere => Some(None),
            Unknown::Keys(keys) => {
                let mut revoked = 0;
                for key in keys {
                    let is_revoked = self.revoke(record, &key, issuer, limit).await?;
                    revoked += usize::from(is_revoked);
                    unsure |= !is_revoked;
                }
                Some(Some(revoked))
            }
        };
        if let Some(revoked) = revoked {
            self.events.tell(&self.path, RotationStep::Orphaned { revoked });
        }
        self.finish(record, unsure, self.late_expiry(record)).await
    }

    /// The record, if it is what the store holds: what was read may be what was there long ago, and the
    /// key that is to be revoked the current one. Only a write makes that certain.
    pub(super) async fn confirmed(&self, record: &Record) -> Result<Option<Record>> {
        let value = record.again(&self.policy.member)?;
        let written = self.write(record, value, MetadataPatch::new()).await?;
        Ok(written.map(|version| record.at(version)))
    }

    /// Revokes a key; whether it is revoked. Where the issuer is too reluctant, it is left as it is.
    pub(super) async fn revoke(
        &mut self,
        record: &Record,
        key: &SecretValue,
        issuer: &dyn KeyIssuer,
        limit: Limit,
    ) -> Result<bool> {
        let request = || issuer.revoke(key, &record.key);
        let Err(error) = self.ask_for(limit.time, request).await else { return Ok(true) };
        let more = if error.is_temporary() { 1 } else { REFUSAL };
        self.reluctance = self.reluctance.saturating_add(more);
        self.refused_at = Some(Instant::now());
        if limit.reluctance.is_none_or(|most| self.reluctance < most) {
            return Err(error);
        }
        let fingerprint = record.fingerprint(key);
        self.unrevoked = Some(error.clone());
        self.events.tell(&self.path, RotationStep::RevocationFailed { fingerprint, error });
        Ok(false)
    }

    /// Whether the issuer is so reluctant to revoke a key that it is not asked again for a while: each time
    /// costs a version in the store, and some keep few.
    fn is_refused_for_now(&self) -> bool {
        let lately = self.refused_at.is_some_and(|at| at.elapsed() < ASKED_AGAIN_AFTER);
        self.reluctance >= ENOUGH && lately
    }

    /// Removes the previous key from the store; `unsure` if there still are keys that nobody knows.
    async fn finish(
        &mut self,
        record: &Record,
        unsure: bool,
        patch: MetadataPatch,
    ) -> Result<Next> {
        let value = record.without_previous(unsure, &self.policy.member)?;
        let written = self.store(record, value, patch).await?;
        if written.is_some() {
            self.reluctance = 0;
            let generation = record.generation;
            self.events.tell(&self.path, RotationStep::Finished { generation });
        }
        self.after_write(written.is_some())
    }

    /// The secret's own expiry, if it has not followed the key's: some stores keep it apart from the
    /// value, and can fail between the two.
    fn late_expiry(&self, record: &Record) -> MetadataPatch {
        let kept = self.kept_expiry();
        match record.expires_at {
            _ if kept.is_none() || kept != self.unmoved || kept == self.stuck => {
                MetadataPatch::new()
            }
            None => MetadataPatch::new().never_expires(),
            Some(end) => MetadataPatch::new().expires_at(end),
        }
    }

    /// Whether this generation is to be replaced, too.
    fn wants_after(&self, generation: u64) -> bool {
        self.wanted.is_some_and(|wanted| wanted >= generation)
    }

    /// Keys that may have been got and not stored, by this instance or one that stopped. They are listed
    /// before the store is written to under the condition that nobody else has, and every attempt to get a
    /// key is noted there first: so none of them is a newer key.
    async fn unknown_keys(
        &self,
        record: &Record,
        previous: &SecretValue,
        issuer: &dyn KeyIssuer,
    ) -> Result<Unknown> {
        if !record.worries.unsure {
            return Ok(Unknown::None);
        }
        let is = |known: &SecretValue| {
            let known = known.clone();
            move |key: &SecretValue| is_same_text(&known, key)
        };
        let (is_current, is_previous) = (is(&record.key), is(previous));
        match self.ask(|| issuer.list(&record.key)).await {
            Ok(mut keys) if keys.iter().any(&is_current) => {
                keys.retain(|key| !is_current(key) && !is_previous(key));
                Ok(Unknown::Keys(keys))
            }
            Err(error) if error.is_temporary() => Err(error),
            // They are not this client's, or cannot be listed, and will not be: somebody has to look.
            Ok(_) | Err(_) => Ok(Unknown::Somewhere),
        }
    }

    /// How much longer other instances need the previous key: to notice the new one, and to let their
    /// requests end. Whoever has not stored the new key waits longer, for the one who has. Counted from
    /// when the new key was first seen here: clocks of two machines differ.
    fn others_need(&self, record: &Record) -> Duration {
        let RotationPolicy {
            propagation_timeout: pickup,
            drain_timeout: drain,
            attempt_lease: claim,
            ..
        } = self.policy;
        let is_own = self.own == Some(record.generation);
        let for_others = if pickup.is_zero() { Duration::ZERO } else { pickup + drain };
        let for_owner = if is_own { Duration::ZERO } else { claim };
        (for_others + for_owner).saturating_sub(self.held.since.elapsed())
    }
}

/// Whether two keys are the same, whether the store keeps them as text or as binary.
pub(super) fn is_same_text(one: &SecretValue, other: &SecretValue) -> bool {
    SecretValue::binary(one.expose_bytes().to_vec())
        .constant_time_eq(&SecretValue::binary(other.expose_bytes().to_vec()))
}
