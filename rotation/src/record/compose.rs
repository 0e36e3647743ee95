//! Writing a record.

use std::time::{Duration, SystemTime};

use strongroom_core::{Error, ErrorKind, Result, Rfc3339, SecretValue, ValueFormat, Version};
use strongroom_rotation_protocol::Change;
use uuid::Uuid;

use super::{
    ATTEMPT, ATTEMPT_AT, ATTEMPT_BY, ATTEMPT_TOKEN, COMPROMISED, EXPIRES_AT, FAILURES,
    FIXED_EXPIRY, FORMAT_VERSION, GENERATION, LEGACY, NOT_BEFORE, PREVIOUS, ROTATED_AT, SALT,
    StoredAttempt, StoredRecord, UNTRACKED, VERSION, milliseconds,
};
use crate::issuer::IssuedKey;

/// The instance that writes, the time, and the key's member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) instance: Uuid,
    pub(crate) now: SystemTime,
    /// The member that holds the key.
    pub(crate) member: &'a str,
}

impl StoredRecord {
    /// Applies a change; `issued` is the new key that it stores.
    pub(crate) fn change(
        &self,
        change: &Change,
        issued: Option<&IssuedKey>,
        writer: &Writer<'_>,
    ) -> Result<Self> {
        let mut next = self.clone();
        next.salt.is_stored = true;
        match *change {
            Change::Confirm => {}
            Change::Claim { id, untracked, compromised } => {
                next.attempt = Some(StoredAttempt {
                    id: Uuid::from_u128(id.0),
                    at: Some(writer.now),
                    by: writer.instance.to_string(),
                });
                next.token = milliseconds(writer.now).max(self.token.saturating_add(1));
                next.flags.has_untracked_keys |= untracked;
                next.flags.is_compromised |= compromised;
            }
            Change::Postpone { pause } => next.postpone(pause, writer),
            Change::Withdraw { untracked, pause } => {
                next.attempt = None;
                next.flags.has_untracked_keys |= untracked;
                if let Some(pause) = pause {
                    next.postpone(pause, writer);
                }
            }
            Change::Store { untracked, compromised, .. } => {
                let issued = issued.ok_or_else(no_key)?;
                next.previous = Some(std::mem::replace(&mut next.key, issued.value.clone()));
                next.generation = next.generation.saturating_add(1);
                next.times.rotated_at = Some(next_time(self.times.rotated_at, writer.now));
                next.times.expires_at = issued.expires_at.map(Rfc3339::clamp);
                (next.times.not_before, next.flags.failures) = (None, 0);
                next.attempt = None;
                next.flags.has_untracked_keys |= untracked;
                next.flags.is_compromised |= compromised;
            }
            Change::Finish { untracked } => {
                next.previous = None;
                next.flags.has_untracked_keys = untracked;
                next.flags.is_compromised = false;
            }
        }
        next.document = next.compose(writer.member)?;
        next.is_plain = false;
        Ok(next)
    }

    fn postpone(&mut self, pause: Duration, writer: &Writer<'_>) {
        self.times.not_before = writer.now.checked_add(pause);
        self.flags.failures = self.flags.failures.saturating_add(1);
    }

    /// Sets another fixed expiry.
    pub(crate) fn fix_expiry(&self, expiry: Option<SystemTime>, member: &str) -> Result<Self> {
        let mut next = self.clone();
        next.times.fixed_expiry = expiry;
        next.document = next.compose(member)?;
        Ok(next)
    }

    /// The secret to store.
    pub(crate) fn document(&self) -> SecretValue {
        self.document.clone()
    }

    /// Sets the version in which the record was written.
    pub(crate) fn at(self, version: Version) -> Self {
        Self { version, ..self }
    }

    fn compose(&self, member: &str) -> Result<SecretValue> {
        let time = |time: Option<SystemTime>| time.map(rfc3339);
        let mark = |is_so: bool| is_so.then(|| "true".to_owned());
        let attempt = self.attempt.as_ref();
        let replaced = self.generation - u64::from(self.previous.is_some() && self.generation > 0);
        let texts = [
            (VERSION, Some(FORMAT_VERSION.to_string())),
            (GENERATION, (self.generation > 0).then(|| self.generation.to_string())),
            (ROTATED_AT, time(self.times.rotated_at)),
            (EXPIRES_AT, time(self.times.expires_at)),
            (SALT, Some(self.salt.value.clone())),
            (ATTEMPT, attempt.map(|attempt| attempt.id.to_string())),
            (ATTEMPT_AT, time(attempt.and_then(|attempt| attempt.at))),
            (ATTEMPT_BY, attempt.map(|attempt| attempt.by.clone())),
            // The token stays after the attempt: an issuer that has seen it rejects smaller ones.
            (ATTEMPT_TOKEN, (self.token > 0).then(|| self.token.to_string())),
            (NOT_BEFORE, time(self.times.not_before)),
            (FAILURES, (self.flags.failures > 0).then(|| self.flags.failures.to_string())),
            (UNTRACKED, mark(self.flags.has_untracked_keys)),
            (COMPROMISED, self.flags.is_compromised.then(|| replaced.to_string())),
            (FIXED_EXPIRY, time(self.times.fixed_expiry)),
        ];
        let previous = self.previous.as_ref().map(SecretValue::expose_text).transpose()?;
        let mut members: Vec<(&str, Option<&str>)> = vec![(PREVIOUS, previous)];
        members.extend(texts.iter().map(|(name, text)| (*name, text.as_deref())));
        members.extend(LEGACY.iter().map(|(name, _)| (*name, None)));
        if self.is_plain && self.document.format() == ValueFormat::Binary {
            return Err(Error::new(ErrorKind::WrongType, "store the key as text")
                .because("a binary key cannot be kept beside another one"));
        }
        members.push((member, Some(self.key.expose_text()?)));
        if self.is_plain {
            return SecretValue::fields([(member, self.key.expose_text()?)]).with_fields(&members);
        }
        self.document.with_fields(&members)
    }
}

/// A time for a write at `now` that is later than that of the last write, so that the time identifies the write.
fn next_time(last: Option<SystemTime>, now: SystemTime) -> SystemTime {
    let next = last.and_then(|last| last.checked_add(Duration::from_millis(1)));
    // A time far ahead was written by a wrong clock.
    next.filter(|next| *next > now && *next <= now + Duration::from_secs(1)).unwrap_or(now)
}

fn rfc3339(time: SystemTime) -> String {
    Rfc3339::millis(time).to_string()
}

fn no_key() -> Error {
    Error::new(ErrorKind::Internal, "report this with the events before it")
        .because("a rotation has lost its new key")
}
