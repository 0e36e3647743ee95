//! Remembers for some minutes that the identity may not read in batches.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time until the next attempt at a batch, since a policy may have been changed meanwhile.
const RETRY_AFTER: Duration = Duration::from_mins(5);

/// When `BatchGetSecretValue` was denied the last time.
#[derive(Default)]
pub(crate) struct BatchDenial(Mutex<Option<Instant>>);

impl BatchDenial {
    pub(crate) fn is_recent(&self) -> bool {
        let denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denied.is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    /// Records a denial, and warns of the first one.
    pub(crate) fn record(&self) {
        let mut denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if denied.replace(Instant::now()).is_none() {
            tracing::warn!(
                "secrets are read one by one: `secretsmanager:BatchGetSecretValue` is not granted"
            );
        }
    }
}
