//! Keeps the SDK from speaking: it shows credentials in its events.
//!
//! At `WARN`, answers of STS that it cannot read, what a credential process writes to its standard
//! error, and lines of broken configuration files; at `TRACE`, the tokens of instance metadata and
//! of single sign-on.

use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::{self, NoSubscriber};

/// Runs a future of the SDK without its events.
pub(crate) async fn muted<F: Future>(future: F) -> F::Output {
    if nobody_listens() {
        return future.await;
    }
    future.with_subscriber(NoSubscriber::new()).await
}

/// Runs code of the SDK without its events.
pub(crate) fn muted_now<T>(work: impl FnOnce() -> T) -> T {
    if nobody_listens() { work() } else { subscriber::with_default(NoSubscriber::new(), work) }
}

/// Setting a subscriber where there is none would end `tracing`'s own output to `log`.
fn nobody_listens() -> bool {
    tracing::dispatcher::get_default(tracing::Dispatch::is::<NoSubscriber>)
}
