//! Calls of libraries that block, also for ever.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

/// A library that blocks, with its state. One call at a time runs on a thread of its own, so a library that hangs holds one
/// thread, and no runtime waits for it when it ends.
#[derive(Debug)]
pub struct BlockingCalls<S> {
    /// What errors call the library, with its article: `the token`.
    name: &'static str,
    state: Arc<Mutex<S>>,
}

impl<S: Send + 'static> BlockingCalls<S> {
    /// A library with this state. `name` is what errors call it, with its article.
    #[must_use]
    pub fn new(name: &'static str, state: S) -> Self {
        Self { name, state: Arc::new(Mutex::new(state)) }
    }

    /// Runs a call after those before it, and waits for all of them up to `limit`. A call that has begun runs to its end,
    /// also when its caller no longer waits. Needs a Tokio runtime with time.
    ///
    /// # Errors
    /// That of the call; [`Timeout`](ErrorKind::Timeout) after `limit`; [`Unavailable`](ErrorKind::Unavailable) if no thread
    /// can be started; [`Internal`](ErrorKind::Internal) if the call panics.
    pub async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        run: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let name = self.name;
        let answer = async {
            let mut state = Arc::clone(&self.state).lock_owned().await;
            let (send, receive) = oneshot::channel();
            let work = move || {
                let result = run(&mut state);
                drop(state);
                // The caller may not wait any more.
                drop(send.send(result));
            };
            thread::Builder::new().name("strongroom-call".into()).spawn(work).map_err(|_| {
                Error::new(ErrorKind::Unavailable, "raise the limit on threads")
                    .because(format!("no thread could be started to ask {name}"))
            })?;
            receive.await.map_err(|_| {
                Error::new(ErrorKind::Internal, "report this")
                    .because(format!("the call to {name} panicked"))
            })?
        };
        timeout(limit, answer).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("check {name}, and try again"))
                .because(format!("{name} has not answered in time")))
        })
    }
}

impl<S> Clone for BlockingCalls<S> {
    fn clone(&self) -> Self {
        Self { name: self.name, state: Arc::clone(&self.state) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_call_that_hangs_delays_the_next_up_to_its_limit() {
        let calls = BlockingCalls::new("the library", 0);
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hung = calls.call(LIMIT, move |count| {
            *count += 1;
            let _ = hang.recv();
            Ok(())
        });
        assert_eq!(hung.await.unwrap_err().kind(), ErrorKind::Timeout);
        let next = calls.call(LIMIT, |count| {
            *count += 1;
            Ok(())
        });
        assert_eq!(next.await.unwrap_err().kind(), ErrorKind::Timeout);
        drop(release);
        let count = calls.call(LIMIT * 100, |count| Ok(*count)).await.unwrap();
        assert_eq!(count, 1, "a call whose caller has gone does not begin");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_next_call_runs() {
        let calls = BlockingCalls::new("the library", ());
        let panicked: Result<()> = calls.call(LIMIT * 100, |()| panic!("planned")).await;
        assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(calls.call(LIMIT * 100, |()| Ok(7)).await.unwrap(), 7);
    }
}
