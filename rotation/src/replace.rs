//! A key is got, tried and stored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use strongroom_core::{Error, ErrorKind, MetadataPatch, Result, SecretValue, Version};
use tokio::time::Instant;

use super::adopt::BELIEVED_AFTER;
use super::event::RotationStep;
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};
use super::record::{Intent, Record, Worries};
use super::retire::{ENOUGH, Limit};
use super::turn::{Next, Turn};
use crate::clock;

impl Turn {
    /// Gets a key, sees that it works, and stores it.
    pub(super) async fn replace(
        &mut self,
        record: &Record,
        intent: &Intent,
        issuer: &dyn KeyIssuer,
    ) -> Result<Next> {
        self.events.tell(&self.path, RotationStep::Started);
        let noted = self.noted_lately(record, intent).await?;
        let Some(record) = &noted else { return self.after_write(false) };
        let issued = match self.issue(record, intent, issuer).await {
            Ok(issued) => issued,
            Err(error) if error.is_temporary() => return Err(error),
            // The issuer may have given a key all the same: the same attempt is made again, later.
            Err(error) if self.is_in_doubt(intent) && self.pending.is_none() => return Err(error),
            Err(error) => {
                self.give_up(record, intent, issuer).await?;
                return Err(error);
            }
        };
        let noted = self.noted_lately(record, intent).await?;
        let Some(record) = &noted else { return self.after_write(false) };
        if let Err(error) = self.verified(&issued, issuer).await {
            if !error.is_temporary() {
                self.give_up(record, intent, issuer).await?;
            }
            return Err(error);
        }
        let fingerprint = record.fingerprint(&issued.value);
        self.events.tell(&self.path, RotationStep::Issued { fingerprint });
        let (now, member) = (clock::wall(), &self.policy.member);
        let worries = Worries { unsure: self.is_unsure(intent), leaked: self.leaked.is_some() };
        let value = record.with_key(&issued, worries, now, member)?;
        self.unmoved = self.kept_expiry();
        let written = self.store(record, value, self.expiry_of(&issued)).await?;
        if written.is_some() {
            let generation = record.generation.saturating_add(1);
            (self.own, self.over) = (Some(generation), Some((intent.id.clone(), true)));
            self.pending = None;
            self.place.leave();
            self.events.tell(&self.path, RotationStep::Stored { generation });
        }
        self.after_write(written.is_some())
    }

    /// Writes a secret, with its expiry if that may be changed.
    pub(super) async fn store(
        &mut self,
        record: &Record,
        value: SecretValue,
        patch: MetadataPatch,
    ) -> Result<Option<Version>> {
        let has_patch = !patch.is_empty();
        match self.write(record, value.clone(), patch).await {
            Err(error)
                if has_patch
                    && matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported) =>
            {
                tracing::warn!(path = %self.path, %error, "a secret's expiry cannot follow its key's");
                self.stuck = self.kept_expiry();
                self.write(record, value, MetadataPatch::new()).await
            }
            result => result,
        }
    }

    /// Ends an attempt that led to nothing. A key that does not work is revoked first; if the issuer
    /// goes on refusing that, somebody is told to.
    async fn give_up(
        &mut self,
        record: &Record,
        intent: &Intent,
        issuer: &dyn KeyIssuer,
    ) -> Result<()> {
        let Some((_, issued)) = self.pending.clone() else {
            return self.forget(record, intent, self.is_unsure(intent)).await;
        };
        // Another instance may have gone on with this attempt, and got and stored the same key.
        let Some(record) = self.note(record, intent.id.clone()).await? else { return Ok(()) };
        let limit = Limit { time: self.time_left(), reluctance: Some(ENOUGH) };
        let is_revoked = self.revoke(&record, &issued.value, issuer, limit).await?;
        self.pending = None;
        self.forget(&record, intent, !is_revoked || self.is_unsure(intent)).await
    }

    /// Removes an attempt from the store; `unsure` if the issuer may have given a key.
    async fn forget(&mut self, record: &Record, intent: &Intent, unsure: bool) -> Result<()> {
        self.reluctance = 0;
        // If somebody else writes first, or this is not stored, it is removed later.
        self.over = Some((intent.id.clone(), unsure));
        let value = record.without_intent(unsure, &self.policy.member)?;
        self.write(record, value, MetadataPatch::new()).await?;
        self.place.leave();
        Ok(())
    }

    /// The record with an attempt that others leave alone for some time: it is noted once more if much of
    /// that is over. Nothing if it is not this instance's any more.
    async fn noted_lately(&mut self, record: &Record, intent: &Intent) -> Result<Option<Record>> {
        let is_old = self.noted.is_none_or(|at| at.elapsed() >= self.policy.attempt_lease / 4);
        if is_old && !self.policy.propagation_timeout.is_zero() {
            return self.note(record, intent.id.clone()).await;
        }
        Ok(Some(record.clone()))
    }

    /// How long the issuer may take, so that the attempt is over before others go on with it, unless the
    /// store has taken most of that time to note it.
    fn time_left(&self) -> Duration {
        let claim = self.policy.attempt_lease;
        match self.noted {
            Some(at) if !self.policy.propagation_timeout.is_zero() => {
                (claim * 3 / 4).saturating_sub(at.elapsed()).max(claim / 4)
            }
            _ => claim,
        }
    }

    /// Whether the issuer may have given a key in this attempt that nobody knows.
    fn is_unsure(&self, intent: &Intent) -> bool {
        self.is_in_doubt(intent) && !self.is_idempotent()
    }

    fn is_in_doubt(&self, intent: &Intent) -> bool {
        self.doubts.as_ref() == Some(&intent.id)
    }

    /// After an attempt whose outcome another instance may have decided: either the key that was got is
    /// in the store, or is to be, or nobody will ever use it. How long to wait before that is certain.
    pub(super) async fn settle_pending(
        &mut self,
        record: &Record,
        issuer: &dyn KeyIssuer,
    ) -> Result<Option<Duration>> {
        let Some((id, issued)) = self.pending.clone() else { return Ok(None) };
        if record.intent.as_ref().is_some_and(|intent| intent.id == id) {
            self.missing_since = None;
            return Ok(None);
        }
        let is = |key: &SecretValue| key.constant_time_eq(&issued.value);
        if is(&record.key) {
            (self.own, self.over) = (Some(record.generation), Some((id, true)));
        } else if !record.previous.as_ref().is_some_and(is) {
            let since = *self.missing_since.get_or_insert_with(Instant::now);
            let left = BELIEVED_AFTER.saturating_sub(since.elapsed());
            if !left.is_zero() {
                return Ok(Some(left));
            }
            // What was read may be what was there long ago, and this key the current one.
            let Some(record) = self.confirmed(record).await? else {
                self.missing_since = None;
                return Ok(Some(BELIEVED_AFTER));
            };
            let limit = Limit { time: self.policy.attempt_lease, reluctance: Some(ENOUGH) };
            self.revoke(&record, &issued.value, issuer, limit).await?;
            self.reluctance = 0;
            (self.pending, self.missing_since) = (None, None);
            // There is a newer version now.
            return Ok(Some(Duration::ZERO));
        }
        (self.pending, self.missing_since) = (None, None);
        Ok(None)
    }

    async fn issue(
        &mut self,
        record: &Record,
        intent: &Intent,
        issuer: &dyn KeyIssuer,
    ) -> Result<IssuedKey> {
        match &self.pending {
            Some((id, issued)) if *id == intent.id => Ok(issued.clone()),
            _ => self.issue_anew(record, intent, issuer).await,
        }
    }

    /// Sees that a new key works.
    async fn verified(&self, issued: &IssuedKey, issuer: &dyn KeyIssuer) -> Result<()> {
        self.ask_for(self.time_left(), || issuer.verify(&issued.value)).await.map_err(|error| {
            let advice = format!("see why the issuer refuses the key it gave: {}", error.advice());
            Error::new(error.kind(), advice).temporary(error.is_temporary())
        })
    }

    async fn issue_anew(
        &mut self,
        record: &Record,
        intent: &Intent,
        issuer: &dyn KeyIssuer,
    ) -> Result<IssuedKey> {
        let was_in_doubt = record.worries.unsure || self.doubts.as_ref() == Some(&intent.id);
        // Whatever breaks this off, the issuer may have given a key.
        self.doubts = Some(intent.id.clone());
        let passing = AtomicBool::new(was_in_doubt);
        let passing = &passing;
        let token = intent.at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let token = token.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        let attempt = IssueAttempt::new(intent.id.clone(), token);
        let attempt = &attempt;
        let call = async || {
            let before = passing.swap(true, Ordering::Relaxed);
            let result = issuer.issue(&record.key, attempt).await;
            let is_clear = result.as_ref().err().is_none_or(is_refusal);
            passing.store(before || !is_clear, Ordering::Relaxed);
            result
        };
        let result = self.ask_for(self.time_left(), call).await;
        if !passing.load(Ordering::Relaxed) {
            self.doubts = None;
        }
        let mut issued = result?;
        self.reluctance = 0;
        self.pending = Some((intent.id.clone(), issued.clone()));
        // As the record will hold it: text and binary are not the same.
        issued.value = SecretValue::from(issued.value.expose_text()?);
        self.pending = Some((intent.id.clone(), issued.clone()));
        if issued.value.is_empty() || issued.value.constant_time_eq(&record.key) {
            self.pending = None;
            return Err(Error::new(ErrorKind::Corrupt, "look at the issuer's answers")
                .because("the issuer gave no new key"));
        }
        Ok(issued)
    }

    /// The secret's own expiry, as it was last seen.
    pub(super) fn kept_expiry(&self) -> Option<SystemTime> {
        self.seen.as_ref().and_then(|secret| secret.metadata().expires_at)
    }

    /// The secret's own expiry, if it has one, follows the key's.
    fn expiry_of(&self, issued: &IssuedKey) -> MetadataPatch {
        match issued.expires_at {
            _ if self.kept_expiry().is_none() => MetadataPatch::new(),
            Some(expiry) => MetadataPatch::new().expires_at(expiry),
            None => MetadataPatch::new().never_expires(),
        }
    }
}

/// Whether an error says for certain that no key was made.
pub(super) fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Denied, InvalidInput, NotFound, Unauthenticated, Unsupported};
    let kind = error.kind();
    !error.is_temporary()
        && matches!(kind, Denied | InvalidInput | NotFound | Unauthenticated | Unsupported)
}
