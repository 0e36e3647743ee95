//! Hides the `tracing` events of AWS's libraries, because some of them show credentials.
//!
//! At `WARN`, they log STS answers that it cannot parse, what a credential process writes to its
//! standard error, and lines of malformed configuration files; at `TRACE`, the tokens of the instance
//! metadata service and of single sign-on.

use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::{self, NoSubscriber};

/// Runs a future of the SDK without its events.
pub async fn suppress_events<F: Future>(future: F) -> F::Output {
    if has_no_subscriber() {
        return future.await;
    }
    future.with_subscriber(NoSubscriber::new()).await
}

/// Runs synchronous code of the SDK without its events.
pub fn suppress_events_in<T>(work: impl FnOnce() -> T) -> T {
    if has_no_subscriber() { work() } else { subscriber::with_default(NoSubscriber::new(), work) }
}

/// Whether no subscriber is set. Setting one then would stop `tracing` from forwarding events to
/// the `log` crate.
fn has_no_subscriber() -> bool {
    tracing::dispatcher::get_default(tracing::Dispatch::is::<NoSubscriber>)
}
