//! Callers that wait for a newer key.

use strongroom_core::{Error, Result};
use tokio::sync::oneshot;

/// Sends a caller the generation that replaced the key, or why none did.
pub(crate) type Answer = oneshot::Sender<Result<u64>>;

/// The callers that wait for one key.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    waiting: Vec<Caller>,
    /// Why the previous key was not revoked.
    revocation_error: Option<Error>,
}

#[derive(Debug)]
struct Caller {
    /// The caller waits for a newer key than this generation.
    newer_than: u64,
    /// Whether the caller also waits until the previous key is revoked.
    needs_revocation: bool,
    answer: Answer,
}

impl Callers {
    pub(crate) fn add(&mut self, newer_than: u64, needs_revocation: bool, answer: Answer) {
        self.waiting.push(Caller { newer_than, needs_revocation, answer });
    }

    /// The generation that the first caller asked to replace.
    pub(crate) fn first(&self) -> Option<u64> {
        self.waiting.first().map(|caller| caller.newer_than)
    }

    /// Starts over for a new key in use.
    pub(crate) fn start_key(&mut self) {
        self.revocation_error = None;
    }

    /// Records that the issuer does not revoke the previous key.
    pub(crate) fn note_revocation_error(&mut self, error: Error) {
        self.revocation_error = Some(error);
    }

    /// Answers the callers whose rotation is done.
    pub(crate) fn answer(&mut self, generation: u64, has_previous: bool) {
        let is_done = |caller: &mut Caller| {
            generation > caller.newer_than && !(caller.needs_revocation && has_previous)
        };
        for caller in self.waiting.extract_if(.., is_done) {
            let error = self.revocation_error.clone().filter(|_| caller.needs_revocation);
            // A caller that stopped waiting needs no answer.
            let _ = caller.answer.send(error.map_or(Ok(generation), Err));
        }
        for caller in &mut self.waiting {
            // After a rollback, a key newer than the restored one satisfies the caller.
            caller.newer_than = caller.newer_than.min(generation);
        }
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        for caller in self.waiting.drain(..) {
            let _ = caller.answer.send(Err(error.clone()));
        }
    }
}
