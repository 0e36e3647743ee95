//! Errors of the facade itself.

use strongroom_core::{Error, ErrorKind};

/// The manager is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "open a new manager")
}

/// The backend panicked while several callers waited: each of them gets an error, and none hangs.
pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "report this to the backend's authors")
        .because("the backend panicked")
}
