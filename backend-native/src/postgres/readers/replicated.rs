//! Reads that a replica answers if it may, and the primary otherwise.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, Result};
use strongroom_postgres::Failure;
use strongroom_transport::ensure_runtime;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::DatabaseReaders;
use crate::decode::ReadError;
use crate::key_ring::KeyRing;
use crate::postgres::error::{from_failure, is_outage};
use crate::postgres::read_connection::Query;
use crate::postgres::replica::{Replica, Step};
use crate::store::Store;

/// How long a read that the replica can answer waits for the state of the primary.
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
        if let Some(answer) = self.ask_replica(replica, &store, step, query, &decode).await {
            return answer;
        }
        let error = match read_primary.await {
            Err(error) if is_outage(&error) => error,
            answer => return answer,
        };
        replica.note_outage_of_primary();
        if step != Step::AskPrimary {
            return Err(error);
        }
        // The replica was left alone for a moment.
        let step = replica.plan(&store);
        let answer = self.ask_replica(replica, &store, step, query, &decode).await;
        answer.unwrap_or(Err(error))
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
        let Step::AskReplica { required, is_primary_up, .. } = step else { return None };
        let key_ring = self.key_ring(store).await.ok()?;
        let answer = replica.ask(store, &key_ring, required, is_primary_up, query, decode).await;
        if *self.closed.borrow() {
            return Some(Err(Error::backend_closed()));
        }
        answer
    }

    /// Compares the state of the primary on a task, which goes on when the read does not wait any longer. `None` if another task does it.
    async fn observe_on_task(
        self: &Arc<Self>,
        replica: &Replica,
        store: &Arc<Store>,
    ) -> Option<Result<()>> {
        let held = Arc::clone(&replica.observing).try_lock_owned().ok()?;
        let (readers, opened) = (Arc::clone(self), Arc::clone(store));
        let task = tokio::spawn(async move {
            let _held = held;
            readers.observe(&opened).await
        });
        if let Ok(Ok(observed)) = timeout(OBSERVE_TIME, task).await {
            return Some(observed);
        }
        replica.note_outage_of_primary();
        Some(Err(from_failure(&Failure::TimedOut)))
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
        if let Some(observed) = observed {
            step = replica.plan(store);
            if step == Step::Observe {
                // Without a replica, a read would fail like this.
                observed?;
                return Ok(Step::AskPrimary);
            }
        }
        let is_skipped = matches!(step, Step::AskReplica { .. }) && !replica.begin();
        Ok(if is_skipped { Step::AskPrimary } else { step })
    }
}
