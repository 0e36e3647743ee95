//! Reads that a replica answers if it may, and the primary otherwise.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::{Error, Result};
use strongroom_transport::ensure_runtime;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::DatabaseReaders;
use crate::decode::ReadError;
use crate::key_ring::KeyRing;
use crate::postgres::error::is_outage;
use crate::postgres::read_connection::Query;
use crate::postgres::replica::{Replica, Step};
use crate::store::Store;

/// How long a read that the replica can answer waits for the primary.
const OBSERVE_TIME: Duration = Duration::from_secs(1);

impl DatabaseReaders {
    /// Runs a query on the replica if it may answer, else on the primary, and decodes its rows.
    pub(super) async fn read<T>(
        self: &Arc<Self>,
        query: Query<'_>,
        decode: impl Fn(&Store, &KeyRing, &[Row]) -> Result<T, ReadError>,
    ) -> Result<T> {
        self.read_with(query, &decode, self.read_primary(query, &decode)).await
    }

    /// The same with another way to read from the primary.
    pub(super) async fn read_with<T>(
        self: &Arc<Self>,
        query: Query<'_>,
        decode: impl Fn(&Store, &KeyRing, &[Row]) -> Result<T, ReadError>,
        read_primary: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(replica) = &self.replica else { return read_primary.await };
        let store = self.cell.get()?;
        let step = self.plan(replica, &store).await?;
        if step != Step::AskPrimary {
            let answer = self.ask_replica(replica, &store, step, query, &decode).await;
            return if let Some(answer) = answer { answer } else { read_primary.await };
        }
        let mut read_primary = pin!(read_primary);
        let first = match timeout(OBSERVE_TIME, &mut read_primary).await {
            Ok(Err(error)) if is_outage(&error) => Some(Err(error)),
            Ok(answer) => return answer,
            Err(_) => None,
        };
        // The replica was left alone for a moment.
        let step = replica.plan_without_primary(&store);
        if let Some(answer) = self.ask_replica(replica, &store, step, query, &decode).await {
            return answer;
        }
        if let Some(answer) = first { answer } else { read_primary.await }
    }

    /// `None` if the step is another one, or the primary has to answer.
    async fn ask_replica<T>(
        &self,
        replica: &Arc<Replica>,
        store: &Arc<Store>,
        step: Step,
        query: Query<'_>,
        decode: impl Fn(&Store, &KeyRing, &[Row]) -> Result<T, ReadError>,
    ) -> Option<Result<T>> {
        let Step::AskReplica { required, is_brief, .. } = step else { return None };
        let key_ring = self.key_ring(store).await.ok()?;
        let answer = replica.ask(store, &key_ring, required, is_brief, query, decode).await;
        if *self.closed.borrow() {
            return Some(Err(Error::backend_closed()));
        }
        answer
    }

    /// Compares the state of the primary on a task, which goes on when the read does not wait any longer. `None` if the read does not
    /// know what comes of it.
    async fn observe_on_task(
        self: &Arc<Self>,
        replica: &Replica,
        store: &Arc<Store>,
    ) -> Option<Result<()>> {
        let held = Arc::clone(&replica.observing).try_lock_owned().ok()?;
        let (readers, opened) = (Arc::clone(self), Arc::clone(store));
        let (mut closed, asked_at) = (self.closed.subscribe(), Instant::now());
        let task = tokio::spawn(async move {
            let _held = held;
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => Err(Error::backend_closed()),
                observed = readers.observe(&opened) => observed,
            }
        });
        if let Ok(Ok(observed)) = timeout(OBSERVE_TIME, task).await {
            return Some(observed);
        }
        replica.note_late_observation(asked_at);
        None
    }

    /// What a read does, after the primary was asked for its state if it is time for that.
    async fn plan(self: &Arc<Self>, replica: &Replica, store: &Arc<Store>) -> Result<Step> {
        ensure_runtime()?;
        let mut step = replica.plan(store);
        let observed = match step {
            Step::Observe => Some(self.observe(store).await),
            Step::AskReplica { is_due: true, .. } => self.observe_on_task(replica, store).await,
            _ => None,
        };
        if step != Step::AskPrimary {
            step = replica.plan(store);
        }
        if step == Step::Observe {
            // Without a replica, a read would fail like this, or still wait for the primary.
            observed.transpose()?;
            return Ok(Step::AskPrimary);
        }
        let is_skipped = matches!(step, Step::AskReplica { .. }) && !replica.begin();
        Ok(if is_skipped { Step::AskPrimary } else { step })
    }
}
