//! Follows the changes of the store: the cache and the handles see what other processes write.
//!
//! One task of a manager follows the feed of its store while the cache has entries or there are handles. It runs in the
//! runtime of the read that has started it. If that ends, the next read starts another task, and the cache serves nothing
//! from before: no task may have followed the store meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use strongroom_core::{Change, ChangeFeed, SecretPath, async_trait};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::cache::Cache;
use crate::shared::Shared;
use crate::{SecretsManager, runtime, watch as handles};

/// How often the task looks whether there is still an entry or a handle.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How many handles read again at once after a change, at least.
const AT_ONCE: usize = 16;
/// In how many groups handles read again at most, so that the last one does so soon.
const MAX_GROUPS: usize = 8;

/// Whether a manager follows the feed of its store.
#[derive(Debug, Default)]
pub(crate) struct FeedState {
    /// Whether a task follows the feed, or none has to: the store has no feed, or its feed has ended.
    is_followed: AtomicBool,
    /// Ends the task, also when it is dropped.
    stop: watch::Sender<()>,
}

impl FeedState {
    pub(crate) fn close(&self) {
        self.stop.send_replace(());
    }
}

/// Starts the task, unless it runs already, the store has no feed, or the caller has no runtime.
///
/// To be called before the store is asked, so that the feed tells of each change since then; and after the answer is
/// kept, because the task may have found nothing to do in between.
pub(crate) fn follow(shared: &Arc<Shared>) {
    // Either this sees that the task has ended, or the task sees the entry or the handle.
    fence(Ordering::SeqCst);
    if shared.feed.is_followed.load(Ordering::Acquire) {
        return;
    }
    let Some(runtime) = runtime::with_timer() else { return };
    let stop = shared.feed.stop.subscribe();
    if shared.is_closing() || shared.feed.is_followed.swap(true, Ordering::AcqRel) {
        return;
    }
    let changes = || shared.backend.changes();
    let Ok(feed) = catch_unwind(AssertUnwindSafe(changes)) else {
        return warn_of_panic(shared);
    };
    let Some(feed) = feed else { return };
    // Other reads may have begun before the feed was there, and have missed a change.
    shared.apply(&Change::Any).iter().for_each(|wakeup| wakeup.notify_one());
    let follower = Follower { shared: Arc::downgrade(shared), is_done: false };
    runtime.spawn(follower.run(feed, stop));
}

fn warn_of_panic(shared: &Shared) {
    let backend = shared.backend.info().kind;
    warn!(backend, "the store's feed of changes has panicked; changes are seen later from now on");
}

/// A task that passes the changes of the store on to the cache and the handles.
struct Follower {
    shared: Weak<Shared>,
    is_done: bool,
}

impl Follower {
    async fn run(mut self, mut feed: Box<dyn ChangeFeed>, mut stop: watch::Receiver<()>) {
        let mut check = pin!(sleep(CHECK_INTERVAL));
        loop {
            let next = AssertUnwindSafe(feed.next()).catch_unwind();
            let next = tokio::select! {
                _ = stop.changed() => break,
                next = next => next,
                () = &mut check => {
                    check.as_mut().reset(Instant::now() + CHECK_INTERVAL);
                    let Some(shared) = self.shared.upgrade() else { break };
                    if has_ended_idle(&shared) {
                        break;
                    }
                    continue;
                }
            };
            let Some(shared) = self.shared.upgrade() else { break };
            match next {
                Ok(Some(change)) => {
                    debug!(?change, "the store tells of a change");
                    let wakeups = shared.apply(&change);
                    drop(shared);
                    let at_once = wakeups.len().div_ceil(MAX_GROUPS).max(AT_ONCE);
                    handles::wake_gradually(&wakeups, at_once).await;
                }
                Ok(None) => {
                    debug!("the store tells of no more changes");
                    break;
                }
                Err(_) => {
                    warn_of_panic(&shared);
                    break;
                }
            }
        }
        self.is_done = true;
    }
}

/// Ends following if there is neither an entry nor a handle; whether it has ended. Then another task may start.
fn has_ended_idle(shared: &Shared) -> bool {
    let has_work = || {
        let has_entries = shared.cache.as_ref().is_some_and(Cache::has_entries);
        has_entries || shared.watches.has_handles()
    };
    if has_work() {
        return false;
    }
    shared.feed.is_followed.store(false, Ordering::Release);
    fence(Ordering::SeqCst);
    // An entry or a handle may have come before the flag was reset.
    !has_work() || shared.feed.is_followed.swap(true, Ordering::AcqRel)
}

/// If the task ends with its runtime, another one may start.
impl Drop for Follower {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(shared) = self.shared.upgrade()
        {
            shared.feed.is_followed.store(false, Ordering::Release);
            shared.apply(&Change::Any).iter().for_each(|wakeup| wakeup.notify_one());
        }
    }
}

impl Shared {
    /// Makes the cache forget what has changed. Returns the tasks of the handles that have to read again.
    fn apply(&self, change: &Change) -> Vec<Arc<Notify>> {
        let paths = match change {
            Change::Secrets(paths) => Some(paths.as_slice()),
            _ => None,
        };
        match (&self.cache, paths) {
            (Some(cache), Some(paths)) => paths.iter().for_each(|path| cache.invalidate(path)),
            (Some(cache), None) => cache.revalidate_all(),
            (None, _) => {}
        }
        self.watches.record_change(paths)
    }
}

impl SecretsManager {
    /// The changes of the store, each told after the cache of this manager knows of it: for a host that passes them on to
    /// readers whose reads come from that cache. `None` if the store tells of no changes.
    ///
    /// Paths are relative to the namespace of this manager. The manager need not follow the store for it, and has to be kept.
    #[must_use]
    pub fn cached_changes(&self) -> Option<Box<dyn ChangeFeed>> {
        let feed = self.shared.backend.changes()?;
        let feed = Box::new(KnownChanges { feed, shared: Arc::downgrade(&self.shared) });
        Some(match &self.namespace {
            Some(namespace) => Box::new(FeedBelow::new(feed, namespace.clone())),
            None => feed,
        })
    }
}

/// Tells the cache of each change first.
#[derive(Debug)]
struct KnownChanges {
    feed: Box<dyn ChangeFeed>,
    shared: Weak<Shared>,
}

#[async_trait]
impl ChangeFeed for KnownChanges {
    async fn next(&mut self) -> Option<Change> {
        let change = self.feed.next().await?;
        let shared = self.shared.upgrade()?;
        shared.apply(&change).iter().for_each(|wakeup| wakeup.notify_one());
        Some(change)
    }
}

/// The changes below a prefix, with paths relative to it.
#[derive(Debug)]
pub(crate) struct FeedBelow {
    feed: Box<dyn ChangeFeed>,
    prefix: SecretPath,
}

impl FeedBelow {
    pub(crate) fn new(feed: Box<dyn ChangeFeed>, prefix: SecretPath) -> Self {
        Self { feed, prefix }
    }
}

#[async_trait]
impl ChangeFeed for FeedBelow {
    async fn next(&mut self) -> Option<Change> {
        loop {
            let Change::Secrets(paths) = self.feed.next().await? else { return Some(Change::Any) };
            let below = paths.iter().filter_map(|path| path.below(&self.prefix));
            let below: Vec<_> = below.filter_map(|path| SecretPath::parse(path).ok()).collect();
            if !below.is_empty() {
                return Some(Change::Secrets(below));
            }
        }
    }
}
