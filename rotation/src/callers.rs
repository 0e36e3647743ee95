//! Callers that wait for a newer key.

use strongroom_core::{Error, Result};
use tokio::sync::oneshot;

/// Gives a caller the generation that took the place of the key, or the reason why none did.
pub(crate) type Answer = oneshot::Sender<Result<u64>>;

/// The callers that wait for one key.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    waiting: Vec<Caller>,
    /// Why the key before the one in use was not revoked.
    revocation_error: Option<Error>,
}

#[derive(Debug)]
struct Caller {
    /// The key is to be newer than this generation.
    newer_than: u64,
    /// Whether the key before is to be revoked, too.
    needs_revocation: bool,
    answer: Answer,
}

impl Callers {
    pub(crate) fn add(&mut self, newer_than: u64, needs_revocation: bool, answer: Answer) {
        self.waiting.push(Caller { newer_than, needs_revocation, answer });
    }

    /// The generation that the first caller wants replaced.
    pub(crate) fn first(&self) -> Option<u64> {
        self.waiting.first().map(|caller| caller.newer_than)
    }

    /// Another key comes into use.
    pub(crate) fn start_key(&mut self) {
        self.revocation_error = None;
    }

    /// The issuer does not revoke the key before the one in use.
    pub(crate) fn note_revocation_error(&mut self, error: Error) {
        self.revocation_error = Some(error);
    }

    /// Answers the callers that have what they wait for.
    pub(crate) fn answer(&mut self, generation: u64, has_previous: bool) {
        let is_done = |caller: &mut Caller| {
            generation > caller.newer_than && !(caller.needs_revocation && has_previous)
        };
        for caller in self.waiting.extract_if(.., is_done) {
            let error = self.revocation_error.clone().filter(|_| caller.needs_revocation);
            // A caller that went away needs no answer.
            let _ = caller.answer.send(error.map_or(Ok(generation), Err));
        }
        for caller in &mut self.waiting {
            // After a rollback, a key that is newer than the one put back will do.
            caller.newer_than = caller.newer_than.min(generation);
        }
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        for caller in self.waiting.drain(..) {
            let _ = caller.answer.send(Err(error.clone()));
        }
    }
}
