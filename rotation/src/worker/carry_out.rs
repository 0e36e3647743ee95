//! What a worker changes and tells when the protocol has decided.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_core::{Error, ErrorKind, SecretValue};
use strongroom_rotation_protocol::{Cause, Effect, Failure, KeyRef, Pending, Stage};

use super::RotationWorker;
use crate::clock;
use crate::event::RotationStep;
use crate::fingerprint::Fingerprint;
use crate::key::KeyGeneration;
use crate::schedule::KeyTimes;

impl RotationWorker {
    pub(super) fn carry_out(&mut self, effect: &Effect) {
        match *effect {
            Effect::Use { key, generation } => self.use_key(key, generation),
            Effect::Started => self.tell(RotationStep::Started),
            Effect::Issued(key) => {
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.tell(RotationStep::Issued { fingerprint });
                }
            }
            Effect::Stored { generation } => self.tell(RotationStep::Stored { generation }),
            Effect::Drained { timed_out } => {
                // The protocol takes it that requests carry a key that has just gone out of use.
                let timed_out = timed_out && self.drain.is_in_flight();
                self.drain.forget();
                self.tell(RotationStep::Drained { timed_out });
            }
            Effect::Revoked(key) => {
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.tell(RotationStep::Revoked { fingerprint });
                }
            }
            Effect::RevocationFailed(key, ref failure) => {
                let error = self.error(failure);
                self.callers.note_revocation_error(error.clone());
                if let Some(fingerprint) = self.fingerprint(key) {
                    self.tell(RotationStep::RevocationFailed { fingerprint, error });
                }
            }
            Effect::Orphaned { revoked } => self.tell(RotationStep::Orphaned { revoked }),
            Effect::Finished { generation } => self.tell(RotationStep::Finished { generation }),
            Effect::Failed(cause) => {
                let error = self.cause(cause);
                self.fail(error);
            }
            Effect::Healthy => {
                let complaint = self.schedule.complaint();
                self.outside.key.state.send_if_modified(|state| {
                    std::mem::replace(&mut state.last_error, complaint.cloned()).is_some()
                });
            }
            Effect::ReleasePermit => self.permit.release(),
        }
    }

    /// What the last read has shown is in use: requests that waited for it go on.
    pub(super) fn finish_check(&mut self) {
        if self.is_accepted() {
            self.publish_record();
        }
        // The issuer is asked first whether an earlier key is in use again.
        let is_in_doubt =
            matches!(self.instance.pending, Pending::DistrustInUse(_) | Pending::DistrustRead(_));
        if let Some(check) = self.known.check.take_if(|_| !is_in_doubt) {
            let key = &self.outside.key;
            key.checks.end(check);
            self.inbox.pacer.note(key.current.load().serial, &key.checks);
        }
    }

    pub(super) fn answer_callers(&mut self) {
        let has_previous = matches!(self.instance.record.stage, Stage::Overlap { .. });
        self.callers.answer(self.instance.in_use.generation, has_previous);
    }

    /// Reports that a rotation cannot go on for now.
    pub(super) fn fail(&mut self, error: Error) {
        let error = error.at(&self.outside.store.path);
        self.callers.fail(&error);
        self.outside.key.state.send_modify(|state| state.last_error = Some(error.clone()));
        self.tell(RotationStep::Failed { error });
    }

    fn cause(&self, cause: Cause) -> Error {
        match cause {
            Cause::Call(failure) => self.error(&failure),
            Cause::Conflicts => {
                Error::new(ErrorKind::Conflict, "see which other program writes this secret")
                    .because("before each write, another one was made")
            }
            Cause::NotReplaced => {
                Error::new(ErrorKind::Timeout, "see in the store why, or raise `attempt_lease`")
                    .because("the store was asked to replace the secret and has not")
            }
        }
    }

    fn error(&self, failure: &Failure) -> Error {
        self.known.failures.get(failure).unwrap_or_else(|| {
            Error::new(ErrorKind::Internal, "see the errors before this one")
                .because("a step of the rotation failed")
        })
    }

    fn fingerprint(&self, key: KeyRef) -> Option<Fingerprint> {
        let key = self.known.keys.get(key)?;
        Some(self.known.record.fingerprint(&key.value))
    }

    /// Requests carry this key from now on.
    fn use_key(&mut self, key: KeyRef, generation: u64) {
        let Some(value) = self.known.keys.get(key).map(|key| key.value.clone()) else { return };
        let is_new = self.publish(value, generation);
        if is_new {
            self.callers.start_key();
            self.schedule.start_key();
            self.outside.key.has_complained.store(false, Ordering::Relaxed);
            self.tell(RotationStep::Switched { generation });
        }
    }

    /// Lets the schedule and the handles know what the record says besides the key.
    pub(super) fn publish_record(&mut self) {
        let times = self.known.record.times;
        // Where the store replaces the secret and does not tell when, this instance has seen it.
        let seen_at = self.outside.key.state.borrow().rotated_at;
        self.schedule.times = KeyTimes {
            rotated_at: times.rotated_at.or(seen_at),
            expires_at: times.expires_at,
            secret_expires_at: self.known.expiry,
            fixed_expiry: times.fixed_expiry,
            interval: self.known.interval,
        };
        self.publish_fingerprint();
        self.publish_previous();
    }

    /// A salt that another instance has stored changes the fingerprint of a key that stays.
    fn publish_fingerprint(&mut self) {
        let current = self.outside.key.current.load_full();
        let is_known = current.value.constant_time_eq(&self.known.record.key);
        if is_known && current.fingerprint != self.known.record.fingerprint(&current.value) {
            self.publish(current.value.clone(), current.generation);
        }
    }

    /// Puts a key in the place of the current one. Whether it is another key.
    fn publish(&mut self, value: SecretValue, generation: u64) -> bool {
        let key = Arc::clone(&self.outside.key);
        let current = key.current.load_full();
        let is_new = !crate::key_table::is_same_key(&current.value, &value);
        let record = &self.known.record;
        let fingerprint = record.fingerprint(&value);
        // Many stores do not tell with a secret when they have replaced it.
        let seen_now = (self.outside.issuer.is_none() && is_new).then(clock::wall);
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

    /// Lets verifiers have the key before the current one, as long as the store holds it.
    fn publish_previous(&mut self) {
        let record = &self.known.record;
        let is_in_use = matches!(self.instance.record.stage, Stage::Overlap { .. });
        let shared = &self.outside.key.previous;
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
