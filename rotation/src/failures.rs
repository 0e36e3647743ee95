//! The errors that the protocol refers to by number.

use std::collections::VecDeque;

use strongroom_core::{Error, ErrorKind};
use strongroom_rotation_protocol::{Failure, FailureKind};

/// How many errors are kept: the protocol refers to the last two calls at most.
const KEPT: usize = 8;

/// Gives each error a number.
#[derive(Default)]
pub(crate) struct FailureTable {
    errors: VecDeque<(u32, Error)>,
    last: u32,
}

impl FailureTable {
    pub(crate) fn add(&mut self, error: Error) -> Failure {
        self.last = self.last.wrapping_add(1);
        let (kind, retry_after) = (kind(&error), error.retry_after());
        self.errors.push_back((self.last, error));
        if self.errors.len() > KEPT {
            self.errors.pop_front();
        }
        Failure { kind, retry_after, error: self.last }
    }

    pub(crate) fn get(&self, failure: &Failure) -> Option<Error> {
        let found = self.errors.iter().find(|(number, _)| *number == failure.error);
        found.map(|(_, error)| error.clone())
    }
}

fn kind(error: &Error) -> FailureKind {
    if error.is_temporary() {
        FailureKind::Temporary
    } else if is_refusal(error) {
        FailureKind::Refused
    } else {
        FailureKind::Permanent
    }
}

/// Whether an error is certain to mean that nothing was done. An issuer that has seen a newer fencing token
/// returns a permanent conflict.
pub(crate) fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Conflict, Denied, InvalidInput, NotFound, Unauthenticated, Unsupported};
    let kind = error.kind();
    !error.is_temporary()
        && matches!(
            kind,
            Conflict | Denied | InvalidInput | NotFound | Unauthenticated | Unsupported
        )
}
