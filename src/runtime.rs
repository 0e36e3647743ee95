//! What the caller's runtime can do. Reads need none; waiting for a time and working in the background
//! need Tokio's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

/// Runtimes that were found to have no timer.
static WITHOUT_TIMER: Mutex<Vec<Id>> = Mutex::new(Vec::new());

/// The runtime that runs the caller, if it is Tokio's and has a timer.
pub(crate) fn with_timer() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let mut without = WITHOUT_TIMER.lock().unwrap_or_else(PoisonError::into_inner);
    if without.contains(&runtime.id()) {
        return None;
    }
    // Tokio does not tell, but by a panic. It is caught, and seen once for each such runtime.
    let probe = || drop(tokio::time::sleep(Duration::ZERO));
    if catch_unwind(AssertUnwindSafe(probe)).is_err() {
        without.push(runtime.id());
        return None;
    }
    Some(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_timer_only_in_a_runtime_that_has_one() {
        assert!(with_timer().is_none());
        let without = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let with = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for _ in 0..2 {
            assert!(without.block_on(async { with_timer() }).is_none());
            assert!(with.block_on(async { with_timer() }).is_some());
        }
    }
}
