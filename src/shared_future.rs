//! A future that several tasks wait for, and that runs inside them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::task::AtomicWaker;

/// A future with several owners. It makes progress while at least one of them awaits it.
///
/// `futures::Shared` loses a wake-up if the task that polls is dropped after another task was woken and found it
/// polling (rust-lang/futures-rs issue 2706). So each owner that stops waiting wakes the others.
pub(crate) struct SharedFuture<T: Clone> {
    future: Shared<BoxFuture<'static, T>>,
    waker: Arc<AtomicWaker>,
}

/// A reference that does not keep the future alive.
pub(crate) struct WeakSharedFuture<T: Clone> {
    future: WeakShared<BoxFuture<'static, T>>,
    waker: Arc<AtomicWaker>,
}

impl<T: Clone> Clone for SharedFuture<T> {
    fn clone(&self) -> Self {
        Self { future: self.future.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<T: Clone> SharedFuture<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let waker = Arc::new(AtomicWaker::new());
        let registered = Arc::clone(&waker);
        let future = async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                registered.register(context.waker());
                future.as_mut().poll(context)
            })
            .await
        };
        Self { future: future.boxed().shared(), waker }
    }

    /// Waits for the output.
    pub(crate) async fn wait(self) -> T {
        let Self { future, waker } = self;
        let _wake_others = WakeOnDrop(waker);
        future.await
    }

    /// Whether the output is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.future.peek().is_some()
    }

    /// `None` once the output is there.
    pub(crate) fn downgrade(&self) -> Option<WeakSharedFuture<T>> {
        let future = self.future.downgrade()?;
        Some(WeakSharedFuture { future, waker: Arc::clone(&self.waker) })
    }
}

impl<T: Clone> WeakSharedFuture<T> {
    pub(crate) fn upgrade(&self) -> Option<SharedFuture<T>> {
        let future = self.future.upgrade()?;
        Some(SharedFuture { future, waker: Arc::clone(&self.waker) })
    }
}

struct WakeOnDrop(Arc<AtomicWaker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_the_others_when_a_waiting_task_is_dropped() {
        let shared = SharedFuture::new(std::future::pending::<()>());
        let mut first = Box::pin(shared.clone().wait());
        let mut second = Box::pin(shared.wait());
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&flag));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(matches!(second.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
        drop(first);
        assert!(flag.0.load(Ordering::SeqCst));
    }
}
