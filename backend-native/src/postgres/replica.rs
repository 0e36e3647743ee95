//! A replica of the database for reads. It answers while it is proved to be fresh enough; else the primary does.

mod freshness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom_core::{Error, ErrorKind, Result};
use tokio_postgres::Row;
use tracing::{info, warn};

pub(super) use self::freshness::Step;
use self::freshness::{Comparison, Freshness, Notice, Observation, Outcome, Own, Refusal};
use super::error::is_outage;
use super::location::{DatabaseLocation, ReplicaLocation};
use super::read_connection::{Answer, Connections, Query, READ_TIME, lock};
use super::rows::state_of;
use crate::decode::ReadError;
use crate::key_ring::KeyRing;
use crate::settings::REPLICA_URL;
use crate::state::{State, state_corrupt};
use crate::store::Store;

/// How long a read waits for the replica while the primary could answer, or the replica is in doubt.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The connections to a replica, and what is known of it.
pub(super) struct Replica {
    connections: Connections,
    freshness: Mutex<Freshness>,
    /// Held while a task asks the primary for its state.
    pub(super) observing: Arc<tokio::sync::Mutex<()>>,
    is_closed: AtomicBool,
}

/// Where an observation begins: before the primary is asked.
#[derive(Clone, Copy)]
pub(super) struct Beginning {
    asked_at: Instant,
    unknown_outcomes: u64,
}

impl Beginning {
    pub(super) fn now(store: &Store) -> Self {
        Self { asked_at: Instant::now(), unknown_outcomes: store.guard().unknown_outcomes() }
    }
}

impl Own {
    fn of(store: &Store) -> Self {
        let guard = store.guard();
        Self { highest_number: guard.highest_number(), unknown_outcomes: guard.unknown_outcomes() }
    }
}

impl Replica {
    /// `None` if no replica is configured.
    pub(super) fn of(location: &DatabaseLocation) -> Option<Arc<Self>> {
        let ReplicaLocation { endpoint, max_age } = location.replica.as_ref()?;
        Some(Arc::new(Self {
            connections: Connections::new(endpoint),
            freshness: Mutex::new(Freshness::new(*max_age)),
            observing: Arc::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.connections.close();
    }

    /// What a read does that begins now.
    pub(super) fn plan(&self, store: &Store) -> Step {
        lock(&self.freshness).plan(Instant::now(), Own::of(store))
    }

    /// What a read does that gets no answer from the primary.
    pub(super) fn plan_without_primary(&self, store: &Store) -> Step {
        lock(&self.freshness).plan_without_primary(Instant::now(), Own::of(store))
    }

    /// Whether a read may carry out its step of asking the replica.
    pub(super) fn begin(&self) -> bool {
        lock(&self.freshness).begin(Instant::now())
    }

    /// Records what came of asking the primary for its state.
    pub(super) fn note_observation(&self, begun: Beginning, observed: &Result<State>) {
        let Beginning { asked_at, unknown_outcomes } = begun;
        let mut freshness = lock(&self.freshness);
        match observed {
            Ok(State { number, .. }) => {
                let number = *number;
                let seen = Observation { number, asked_at, unknown_outcomes };
                if freshness.note_observation(seen) {
                    self.connections.forget_numbers();
                }
            }
            Err(error) => {
                let refusal = if is_outage(error) { Refusal::Outage } else { Refusal::Other };
                freshness.note_refusal(Instant::now(), asked_at, refusal);
            }
        }
    }

    /// The primary has not shown its state in time.
    pub(super) fn note_late_observation(&self, asked_at: Instant) {
        lock(&self.freshness).note_refusal(Instant::now(), asked_at, Refusal::Outage);
    }

    /// The change feed has seen a state on the primary. Called before it tells of the change.
    pub(super) fn note_reported(&self, number: u64) {
        lock(&self.freshness).note_reported(Instant::now(), number);
    }

    /// Runs a query on the replica and decodes its rows. `None` if the primary has to answer.
    pub(super) async fn ask<T>(
        &self,
        store: &Store,
        key_ring: &KeyRing,
        required: u64,
        is_brief: bool,
        query: Query<'_>,
        decode: impl Fn(&Store, &KeyRing, &[Row]) -> Result<T, ReadError>,
    ) -> Option<Result<T>> {
        let limit = if is_brief { ANSWER_TIME } else { READ_TIME };
        let proved = match self.connections.ask(query, required, limit).await {
            Ok(answer) => self.prove(store, key_ring, required, &answer).map(|()| answer.rows),
            Err(error) => Err((Outcome::Failed, error)),
        };
        match proved {
            Ok(rows) => {
                self.note_outcome(Outcome::Answered, None);
                match decode(store, key_ring, &rows) {
                    Ok(value) => Some(Ok(value)),
                    Err(ReadError::Failed(error)) if is_answer(&error) => Some(Err(error)),
                    // The primary knows whether the keys or the rows have changed.
                    Err(_) => None,
                }
            }
            Err((outcome, error)) => {
                self.note_outcome(outcome, Some(&error));
                None
            }
        }
    }

    /// Checks that rows are not older than the required state.
    fn prove(
        &self,
        store: &Store,
        key_ring: &KeyRing,
        required: u64,
        answer: &Answer,
    ) -> Result<(), (Outcome, Error)> {
        let Some(state) = &answer.state else { return Ok(()) };
        let open = || {
            let row = state.first().ok_or_else(|| state_corrupt("the table `state` is empty"))?;
            state_of(row)?.open(&key_ring.rows)
        };
        let state = open().map_err(|error| (Outcome::Unproved, error))?;
        if state.number < required {
            return Err((Outcome::Behind, behind()));
        }
        let comparison = match store.guard().is_highest(&state) {
            None => Comparison::Incomparable,
            Some(true) => Comparison::Same,
            Some(false) => Comparison::Different,
        };
        // Locked until the number is noted: an observation may find meanwhile that the replica has diverged.
        let mut freshness = lock(&self.freshness);
        if !freshness.note_shown(Instant::now(), state.number, comparison) {
            self.connections.forget_numbers();
            return Err((Outcome::Unproved, diverged()));
        }
        answer.connection.note_number(required);
        Ok(())
    }

    fn note_outcome(&self, outcome: Outcome, error: Option<&Error>) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let notice = lock(&self.freshness).note_outcome(Instant::now(), outcome);
        let setting = REPLICA_URL.variable();
        match (notice, error) {
            (Some(Notice::Back), _) => {
                info!(setting, "the replica answers reads again");
            }
            (Some(Notice::Lost), Some(error)) => {
                warn!(setting, %error, "the replica answers no reads; the primary does");
            }
            _ => {}
        }
    }
}

fn behind() -> Error {
    Error::new(ErrorKind::Unavailable, "check that the replica receives and replays the log")
        .because("the replica lacks changes that the primary has")
}

fn diverged() -> Error {
    state_corrupt("the replica has other secrets than the primary had")
}

/// Whether a read may fail so by what the store holds.
fn is_answer(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Expired)
}
