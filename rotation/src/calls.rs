//! Calls with a deadline, and retries after temporary errors.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use strongroom_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep, timeout_at};

/// How often a call to an issuer is retried after temporary errors.
const RETRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The limit of durations: adding them to an instant or multiplying them cannot overflow.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Caps a duration at ten years.
pub(crate) fn cap_duration(time: Duration) -> Duration {
    time.min(TEN_YEARS)
}

/// Makes a call, and retries after temporary errors while there is time for another attempt. Returns `None` if
/// the last attempt did not end within `limit`.
pub(crate) async fn retry<T, F: Future<Output = Result<T>>>(
    limit: Duration,
    mut call: impl FnMut() -> F,
) -> Option<Result<T>> {
    let deadline = Instant::now() + cap_duration(limit);
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .with_factor(2.0)
        .with_max_times(RETRIES)
        .with_jitter()
        .build();
    loop {
        let error = match timeout_at(deadline, call()).await {
            Ok(Err(error)) if error.is_temporary() => error,
            Ok(result) => return Some(result),
            Err(_) => return None,
        };
        let pause = pauses.next().map(|pause| pause.max(error.retry_after().unwrap_or_default()));
        match pause.and_then(|pause| Instant::now().checked_add(pause)) {
            Some(wake) if wake < deadline => sleep(wake - Instant::now()).await,
            _ => return Some(Err(error)),
        }
    }
}

/// Makes a call to the store that may take at most `limit`.
pub(crate) async fn with_timeout<T>(
    limit: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let deadline = Instant::now() + cap_duration(limit);
    timeout_at(deadline, call).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            "check that the store responds, or raise `attempt_lease`",
        )
        .because("the store did not respond in time"))
    })
}
