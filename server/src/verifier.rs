//! Verifies the audit, one walk over the log at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom::access::{Access, SignedCheckpoint, Verification};
use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// For how long a result stands.
const STANDS_FOR: Duration = Duration::from_secs(10);
/// When a caller is to come back while another walk is under way.
const COME_BACK: Duration = Duration::from_secs(5);

/// The walks over the log, and the result of the last one.
pub(crate) struct Verifier {
    walks: Arc<Semaphore>,
    last: Arc<Mutex<Option<Walk>>>,
}

/// A walk that found the log as it should be, or not.
struct Walk {
    ended: Instant,
    checkpoints: Vec<SignedCheckpoint>,
    result: Result<Verification>,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        Self { walks: Arc::new(Semaphore::new(1)), last: Arc::default() }
    }

    /// Verifies the log against these checkpoints, or answers with the result of a moment ago.
    pub(crate) async fn verify(
        &self,
        access: &Access,
        checkpoints: Vec<SignedCheckpoint>,
    ) -> Result<Verification> {
        if let Some(result) = self.known(&checkpoints) {
            return result;
        }
        let walk = Arc::clone(&self.walks).try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::RateLimited, "ask again later")
                .because("another verification of the audit is under way")
                .with_retry_after(COME_BACK)
        })?;
        let (access, last) = (access.clone(), Arc::clone(&self.last));
        // The walk goes on if its caller goes away, and so takes its place until it has ended.
        let task = tokio::spawn(async move {
            let _walk = walk;
            let result = access.verify_audit(checkpoints.clone()).await;
            if result.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Corrupt) {
                let done = Walk { ended: Instant::now(), checkpoints, result: result.clone() };
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            }
            result
        });
        task.await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, "ask again later")
                .because("the verification of the audit was cut off")
        })?
    }

    fn known(&self, checkpoints: &[SignedCheckpoint]) -> Option<Result<Verification>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = |walk: &&Walk| {
            walk.ended.elapsed() < STANDS_FOR && walk.checkpoints.as_slice() == checkpoints
        };
        last.as_ref().filter(stands).map(|walk| walk.result.clone())
    }
}

#[cfg(test)]
mod tests {
    use strongroom::access::AccessConfig;

    use super::*;

    #[tokio::test]
    async fn one_walk_is_under_way_at_a_time_and_its_result_stands_for_a_while() {
        let access = Access::open(AccessConfig::in_memory()).await.unwrap();
        let verifier = Verifier::new();
        let walk = Arc::clone(&verifier.walks).try_acquire_owned().unwrap();
        let error = verifier.verify(&access, Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(COME_BACK));
        drop(walk);
        let first = verifier.verify(&access, Vec::new()).await.unwrap();
        // Another walk would find the log closed.
        let (checkpoint, _) = access.sign_checkpoint().await.unwrap();
        access.close().await;
        assert_eq!(verifier.verify(&access, Vec::new()).await.unwrap(), first);
        // With other checkpoints it is another question, and a log that cannot be read is no result.
        for _ in 0..2 {
            let error = verifier.verify(&access, vec![checkpoint.clone()]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
        }
    }
}
