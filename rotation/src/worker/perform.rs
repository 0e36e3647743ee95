//! The calls that the protocol decides on.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use strongroom_core::{Error, ErrorKind, MetadataPatch, Result, SecretValue};
use strongroom_rotation_protocol::{
    Attempt, Call, Change, Event, FailureKind, KeyRef, Pending, Record, Time,
};
use uuid::Uuid;

use super::RotationWorker;
use crate::failures::is_refusal;
use crate::issuer::{IssueAttempt, IssueId, IssuedKey};
use crate::record::{StoredRecord, Writer, is_same_time};
use crate::{calls, clock};

/// How long a read of the store may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl RotationWorker {
    /// Makes a call and returns its event for the protocol. A panic of an issuer or a store is an error.
    pub(super) async fn perform(&mut self, call: Call) -> Event {
        let event = AssertUnwindSafe(self.try_perform(call)).catch_unwind().await;
        let Ok(event) = event else {
            let mut failure = self.state.failures.add(panic_error());
            // A panic does not say whether the issuer has done anything.
            failure.kind = FailureKind::Temporary;
            return Event::Failed(failure);
        };
        event.unwrap_or_else(|error| Event::Failed(self.state.failures.add(error)))
    }

    async fn try_perform(&mut self, call: Call) -> Result<Event> {
        match call {
            Call::Read => self.read().await,
            Call::Write(change) => self.write(&change).await,
            Call::Issue { attempt, current, limit } => self.issue(&attempt, current, limit).await,
            Call::Verify { key, limit } => self.verify(key, limit).await,
            Call::List { current, limit } => {
                let (issuer, current) = (self.issuer()?, self.key(current)?.value);
                let listed = call_issuer(limit, || issuer.list(&current)).await?;
                let numbers = listed.iter().map(|key| self.state.keys.intern(key)).collect();
                Ok(Event::Listed(numbers))
            }
            Call::Revoke { key, current, limit } => {
                let issuer = self.issuer()?;
                let (key, current) = (self.key(key)?.value, self.key(current)?.value);
                let revoked = call_issuer(limit, || issuer.revoke(&key, &current)).await;
                revoked.map(|()| Event::Revoked).map_err(|error| {
                    let advice = format!("the issuer has not revoked a key: {}", error.advice());
                    error.advise(advice)
                })
            }
            Call::Request { limit } => match self.context.store.rotate(limit).await {
                // The store may still be replacing the secret.
                Err(error) if error.kind() == ErrorKind::Timeout => Ok(Event::Requested),
                result => result.map(|()| Event::Requested),
            },
        }
    }

    fn issuer(&self) -> Result<std::sync::Arc<dyn crate::issuer::KeyIssuer>> {
        self.context.issuer.clone().ok_or_else(missing_key)
    }

    fn key(&self, number: KeyRef) -> Result<IssuedKey> {
        self.state.keys.get(number).cloned().ok_or_else(missing_key)
    }

    async fn read(&mut self) -> Result<Event> {
        self.state.check = Some(self.context.key.checks.begin());
        let secret = self.context.store.read(READ_TIMEOUT).await?;
        let member = &self.policy.member;
        let record = match self.context.issuer {
            Some(_) => StoredRecord::parse(&secret, member)?,
            None => StoredRecord::parse_store_managed(&secret, member),
        };
        self.state.record = record.keep_salt(Some(&self.state.record));
        let metadata = secret.metadata();
        self.state.expiry = metadata.expires_at;
        self.state.interval = metadata.rotation_interval;
        Ok(Event::Read(self.protocol_record()))
    }

    /// The record as the protocol sees it.
    pub(super) fn protocol_record(&mut self) -> Record {
        let now = (self.now(), clock::wall());
        let mut view = self.state.record.view(&mut self.state.keys, now);
        if self.context.issuer.is_none() {
            // The store counts no generations.
            let in_use = self.instance.in_use;
            view.generation = in_use.generation + u64::from(in_use.key != view.key);
            view.stored_as = in_use.stored_as;
        }
        view.not_before = view.not_before.map(|until| self.bound_postponement(until));
        view
    }

    /// Until when attempts are postponed, counted from when this instance first read the stored time. An
    /// instance with a wrong clock may have written it, so the limit must not move with each read.
    fn bound_postponement(&mut self, until: Time) -> Time {
        let stored = self.state.record.times.not_before;
        let earlier = self.state.postponed.filter(|(earlier, _)| is_same_time(*earlier, stored));
        let until = earlier.map_or(until, |(_, earlier)| earlier.min(until));
        self.state.postponed = Some((stored, until));
        until
    }

    async fn write(&mut self, change: &Change) -> Result<Event> {
        let issued = match change {
            Change::Store { key, .. } => Some(self.key(*key)?),
            _ => None,
        };
        let writer = Writer {
            instance: Uuid::from_u128(self.instance.id.0),
            now: clock::wall(),
            member: &self.policy.member,
        };
        let next = self.state.record.change(change, issued.as_ref(), &writer)?;
        let patch = match change {
            Change::Store { .. } => self.expiry_patch(issued.and_then(|issued| issued.expires_at)),
            Change::Finish { .. } => self.late_expiry_patch(),
            _ => MetadataPatch::new(),
        };
        if matches!(change, Change::Store { .. }) {
            self.state.expiry_before = self.state.expiry;
        }
        let Some(written) = self.write_record(next, patch).await? else {
            return Ok(Event::Conflict);
        };
        self.state.record = written;
        Ok(Event::Written(self.protocol_record()))
    }

    /// Writes a record, with the secret's own expiry if the store lets the engine change it.
    async fn write_record(
        &mut self,
        next: StoredRecord,
        patch: MetadataPatch,
    ) -> Result<Option<StoredRecord>> {
        let (store, limit) = (&self.context.store, self.policy.attempt_lease);
        let version = &self.state.record.version;
        if patch.is_empty() {
            let written = store.write(version, next.document(), patch, limit).await?;
            return Ok(written.map(|version| next.at(version)));
        }
        let member = &self.policy.member;
        let next = next.fix_expiry(None, member)?;
        let expiry = next.times.expires_at;
        match store.write(version, next.document(), patch, limit).await {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Denied | ErrorKind::ApprovalRequired | ErrorKind::Unsupported
                ) =>
            {
                let path = &store.path;
                tracing::warn!(%path, %error, "the expiry of the secret cannot follow its key's");
                // All instances learn that this expiry belongs to an earlier key.
                let next = next.fix_expiry(self.state.expiry, member)?;
                let written =
                    store.write(version, next.document(), MetadataPatch::new(), limit).await?;
                Ok(written.map(|version| next.at(version)))
            }
            written => {
                let written = written?;
                if written.is_some() {
                    self.state.expiry = expiry;
                }
                Ok(written.map(|version| next.at(version)))
            }
        }
    }

    /// The secret's own expiry, if it has one, follows the key's.
    fn expiry_patch(&self, expiry: Option<std::time::SystemTime>) -> MetadataPatch {
        match expiry {
            _ if self.state.expiry.is_none() => MetadataPatch::new(),
            Some(expiry) => MetadataPatch::new().expires_at(expiry),
            None => MetadataPatch::new().clear_expires_at(),
        }
    }

    /// The same patch, if the expiry has not followed yet: some stores write it separately from the value, and
    /// can fail in between.
    fn late_expiry_patch(&self) -> MetadataPatch {
        let (kept, before) = (self.state.expiry, self.state.expiry_before);
        let fixed = self.state.record.times.fixed_expiry;
        if kept.is_none() || kept != before || is_same_time(kept, fixed) {
            return MetadataPatch::new();
        }
        self.expiry_patch(self.state.record.times.expires_at)
    }

    async fn issue(
        &mut self,
        attempt: &Attempt,
        current: KeyRef,
        limit: Duration,
    ) -> Result<Event> {
        let (issuer, current) = (self.issuer()?, self.key(current)?.value);
        let id = IssueId::from_uuid(Uuid::from_u128(attempt.id.0));
        let request = &IssueAttempt::new(id, attempt.token);
        // Until the issuer says otherwise, it may have issued a key.
        let (is_in_doubt, was_in_doubt) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let call = async || {
            was_in_doubt.store(is_in_doubt.swap(true, Ordering::Relaxed), Ordering::Relaxed);
            let result = issuer.issue(&current, request).await;
            let is_clear = result.as_ref().err().is_none_or(is_refusal);
            let before = was_in_doubt.load(Ordering::Relaxed);
            is_in_doubt.store(before || !is_clear, Ordering::Relaxed);
            result
        };
        let issued = match call_issuer(limit, call).await {
            Ok(issued) => issued,
            Err(error) if is_refusal(&error) && is_in_doubt.load(Ordering::Relaxed) => {
                // The issuer would refuse again, but an earlier call may have issued a key.
                let mut failure = self.state.failures.add(error);
                failure.kind = FailureKind::Permanent;
                return Ok(Event::Failed(failure));
            }
            Err(error) => return Err(error),
        };
        let is_repeated = was_in_doubt.load(Ordering::Relaxed);
        if issued.value.is_empty() || crate::key_table::is_same_key(&issued.value, &current) {
            let error = Error::new(ErrorKind::Corrupt, "check what the issuer returns")
                .because("the issuer returned no new key");
            let mut failure = self.state.failures.add(error);
            if !is_repeated {
                // An idempotent issuer would respond to the same attempt in the same way.
                failure.kind = FailureKind::Refused;
            }
            return Ok(Event::Failed(failure));
        }
        // Convert the key to text, as the record will hold it: text and binary values differ.
        let (issued, unusable) = match issued.value.expose_text() {
            Ok(text) => (IssuedKey { value: SecretValue::from(text), ..issued }, None),
            Err(error) => (issued, Some(self.state.failures.add(error))),
        };
        let key = self.state.keys.add_issued(&issued);
        Ok(Event::Issued { key, unusable, is_repeated })
    }

    async fn verify(&mut self, key: KeyRef, limit: Duration) -> Result<Event> {
        let (issuer, key) = (self.issuer()?, self.key(key)?.value);
        let result = call_issuer(limit, || issuer.verify(&key)).await;
        if self.instance.pending != Pending::VerifyNew {
            return result.map(|()| Event::Verified);
        }
        result.map(|()| Event::Verified).map_err(|error| {
            let advice =
                format!("find out why the issuer refuses its own new key: {}", error.advice());
            error.advise(advice)
        })
    }
}

/// Calls the issuer, and retries after temporary errors.
async fn call_issuer<T, F: Future<Output = Result<T>>>(
    limit: Duration,
    request: impl FnMut() -> F,
) -> Result<T> {
    calls::retry(limit, request).await.unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Timeout,
            "check that the issuer responds, or raise `attempt_lease`",
        )
        .because("the issuer did not respond in time"))
    })
}

fn panic_error() -> Error {
    Error::new(
        ErrorKind::Internal,
        "look for the panic's message in the log; fix the issuer or the store",
    )
    .because("a step of the rotation panicked")
}

fn missing_key() -> Error {
    Error::new(ErrorKind::Internal, "report this with the events before it")
        .because("the rotation has lost track of a key")
}
