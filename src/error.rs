//! Errors of the facade itself.

use strongroom_core::{Error, ErrorKind, Health};

/// The manager is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "open a new manager")
}

/// The backend panicked. Every caller that waited for its answer gets this error, and none hangs.
pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "report this to the backend's authors")
        .because("the backend panicked")
}

/// The store answers that it cannot serve.
pub(crate) fn not_serving(health: &Health) -> Error {
    let details: Vec<_> =
        health.details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let cause = "the store answers that it cannot serve";
    let error = Error::new(ErrorKind::Unavailable, "check the store, and ask again once it serves");
    match details.as_slice() {
        [] => error.because(cause),
        details => error.because(format!("{cause} ({})", details.join(", "))),
    }
}
