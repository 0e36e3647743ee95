//! Clients that query through a pool without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

/// Something that a client does over and over.
pub(crate) type Query = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    is_over: AtomicBool,
}

/// Clients at work. The first failure of one ends the test.
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<Result<(), String>>,
}

async fn client(query: Arc<Query>, tally: Arc<Tally>) -> Result<(), String> {
    while !tally.is_over.load(Ordering::Relaxed) {
        query().await?;
        tally.done.fetch_add(1, Ordering::Relaxed);
        // So that clients do not move in step, and the machine has time for the rotation.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
    }
    Ok(())
}

impl Load {
    pub(crate) fn start(clients: usize, query: Query) -> Self {
        let (query, tally) = (Arc::new(query), Arc::<Tally>::default());
        let clients = (0..clients).map(|_| client(Arc::clone(&query), Arc::clone(&tally)));
        Self { clients: clients.collect(), tally }
    }

    fn done(&self) -> u64 {
        self.tally.done.load(Ordering::Relaxed)
    }

    /// Waits until as many more queries are done.
    pub(crate) async fn progress(&mut self, queries: u64) {
        let goal = self.done() + queries;
        while self.done() < goal {
            if let Some(ended) = self.clients.try_join_next() {
                panic!("a client has ended: {:?}", ended.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the load; how many queries were done.
    pub(crate) async fn stop(mut self) -> u64 {
        self.tally.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap().unwrap();
        }
        self.done()
    }
}
