//! Effects of a decision: the handles get the key, and events are sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_core::{Error, ErrorKind, SecretValue};
use strongroom_rotation_protocol::{Cause, Failure, KeyRef, LocalEffect, Pending, Stage};

use super::RotationWorker;
use crate::clock;
use crate::event::RotationStep;
use crate::fingerprint::Fingerprint;
use crate::key::KeyGeneration;
use crate::schedule::KeyTimes;

impl RotationWorker {
    pub(super) fn carry_out(&mut self, effect: &LocalEffect) {
        match *effect {
            LocalEffect::Use { key, generation } => self.use_key(key, generation),
            LocalEffect::Started => self.report(RotationStep::Started),
            LocalEffect::Issued(key) => {
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.report(RotationStep::Issued { fingerprint });
                }
            }
            LocalEffect::Stored { generation } => self.report(RotationStep::Stored { generation }),
            LocalEffect::Drained { timed_out } => {
                // The protocol assumes that requests carry the key that has just been replaced.
                let timed_out = timed_out && self.drain.is_in_flight();
                self.drain.forget();
                self.report(RotationStep::Drained { timed_out });
            }
            LocalEffect::Revoked(key) => {
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.report(RotationStep::Revoked { fingerprint });
                }
            }
            LocalEffect::RevocationFailed(key, ref failure) => {
                let error = self.error(failure);
                self.callers.note_revocation_error(error.clone());
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.report(RotationStep::RevocationFailed { fingerprint, error });
                }
            }
            LocalEffect::Orphaned { revoked } => self.report(RotationStep::Orphaned { revoked }),
            LocalEffect::Finished { generation } => {
                self.report(RotationStep::Finished { generation });
            }
            LocalEffect::Failed(cause) => {
                let error = self.cause(cause);
                self.fail(error);
            }
            LocalEffect::Healthy => {
                let implausible_expiry = self.schedule.implausible_expiry();
                self.context.key.state.send_if_modified(|state| {
                    std::mem::replace(&mut state.last_error, implausible_expiry.cloned()).is_some()
                });
            }
            LocalEffect::ReleasePermit => self.permit.release(),
        }
    }

    /// Ends the last read of the store, once its key is in use: this releases the waiting requests.
    pub(super) fn finish_check(&mut self) {
        if self.is_accepted() {
            self.publish_record();
        }
        // While the issuer verifies whether an earlier key is in use again, the read is not over.
        let is_in_doubt =
            matches!(self.instance.pending, Pending::VerifyInUse(_) | Pending::VerifyRead(_));
        if let Some(check) = self.state.check.take_if(|_| !is_in_doubt) {
            let key = &self.context.key;
            key.checks.end(check);
            self.inbox.pacer.note(key.current.load().serial, &key.checks);
        }
    }

    pub(super) fn answer_callers(&mut self) {
        let has_previous = matches!(self.instance.record.stage, Stage::Overlap { .. });
        self.callers.answer(self.instance.in_use.generation, has_previous);
    }

    /// Reports that a step of a rotation failed.
    pub(super) fn fail(&mut self, error: Error) {
        let error = error.at(&self.context.store.path);
        self.callers.fail(&error);
        self.context.key.state.send_modify(|state| state.last_error = Some(error.clone()));
        self.report(RotationStep::Failed { error });
    }

    fn cause(&self, cause: Cause) -> Error {
        match cause {
            Cause::Call(failure) => self.error(&failure),
            Cause::Conflicts => {
                Error::new(ErrorKind::Conflict, "find out which other program writes this secret")
                    .because("another program changed the secret before each write")
            }
            Cause::NotReplaced => Error::new(
                ErrorKind::Timeout,
                "look for the cause in the store, or raise `attempt_lease`",
            )
            .because("the store did not replace the secret in time"),
        }
    }

    fn error(&self, failure: &Failure) -> Error {
        self.state.failures.get(failure).unwrap_or_else(|| {
            Error::new(ErrorKind::Internal, "look at the errors before this one")
                .because("a step of the rotation failed")
        })
    }

    fn fingerprint(&self, key: KeyRef) -> Option<Fingerprint> {
        let key = self.state.keys.get(key)?;
        Some(self.state.record.fingerprint(&key.value))
    }

    /// Makes new requests carry this key.
    fn use_key(&mut self, key: KeyRef, generation: u64) {
        let Some(value) = self.state.keys.get(key).map(|key| key.value.clone()) else { return };
        let is_new = self.publish_key(value, generation);
        if is_new {
            self.callers.start_key();
            self.schedule.start_key();
            self.context.key.has_reported_implausible.store(false, Ordering::Relaxed);
            self.report(RotationStep::Switched { generation });
        }
    }

    /// Publishes what the record says besides the key to the schedule and the handles.
    pub(super) fn publish_record(&mut self) {
        let times = self.state.record.times;
        // If the store replaces the secret and reports no time, the time when this instance saw it counts.
        let seen_at = self.context.key.state.borrow().rotated_at;
        self.schedule.times = KeyTimes {
            rotated_at: times.rotated_at.or(seen_at),
            expires_at: times.expires_at,
            secret_expires_at: self.state.expiry,
            fixed_expiry: times.fixed_expiry,
            interval: self.state.interval,
        };
        self.publish_fingerprint();
        self.publish_previous();
    }

    /// Publishes the key's new fingerprint if another instance has stored another salt.
    fn publish_fingerprint(&mut self) {
        let current = self.context.key.current.load_full();
        let is_same = current.value.constant_time_eq(&self.state.record.key);
        if is_same && current.fingerprint != self.state.record.fingerprint(&current.value) {
            self.publish_key(current.value.clone(), current.generation);
        }
    }

    /// Replaces the current key of the handles. Returns whether the key is another one.
    fn publish_key(&mut self, value: SecretValue, generation: u64) -> bool {
        let key = Arc::clone(&self.context.key);
        let current = key.current.load_full();
        let is_new = !crate::key_table::is_same_key(&current.value, &value);
        let record = &self.state.record;
        let fingerprint = record.fingerprint(&value);
        // Many stores do not report when they replaced a secret.
        let seen_now = (self.context.issuer.is_none() && is_new).then(clock::wall);
        let serial = current.serial + u64::from(is_new);
        let (next, drained) = KeyGeneration::new(value, generation, serial, fingerprint.clone());
        key.current.store(Arc::new(next));
        self.drain.replace(drained, !is_new);
        let times = record.times;
        let rotated_at = times.rotated_at.or(seen_now);
        key.state.send_modify(|state| {
            state.generation = generation;
            state.fingerprint = fingerprint;
            state.rotated_at = rotated_at;
            state.expires_at = times.expires_at;
        });
        is_new
    }

    /// Publishes the previous key for verifiers, while the store holds it.
    fn publish_previous(&mut self) {
        let record = &self.state.record;
        let is_in_use = matches!(self.instance.record.stage, Stage::Overlap { .. });
        let shared = &self.context.key.previous;
        match record.previous.as_ref().filter(|_| is_in_use) {
            None if shared.load().is_some() => shared.store(None),
            Some(value)
                if !shared.load().as_ref().is_some_and(|it| it.value.constant_time_eq(value)) =>
            {
                let generation = record.generation.saturating_sub(1);
                let fingerprint = record.fingerprint(value);
                let (previous, _) =
                    KeyGeneration::new(value.clone(), generation, u64::MAX, fingerprint);
                shared.store(Some(Arc::new(previous)));
            }
            _ => {}
        }
    }
}
