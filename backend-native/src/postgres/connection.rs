//! A connection with its prepared statements, which sends several statements before it waits for their answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};
use strongroom_postgres::{Failure, ServerProcess, Session};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// A value of a statement.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// A statement to run.
pub(super) enum Request {
    /// One without values and rows.
    Plain(&'static str),
    Prepared(&'static str, Vec<Value>),
}

/// A connection to the primary.
pub(super) struct Connection {
    session: Session,
    /// What serves it.
    pub(super) process: ServerProcess,
    prepared: RefCell<HashMap<&'static str, Statement>>,
}

impl Connection {
    pub(super) async fn new(session: Session) -> Result<Self, Failure> {
        let process = session.process().await?;
        // Planning a statement takes longer than running it, and no plan depends on the values. A write that is a statement
        // alone cannot say that it writes.
        let settings =
            "SET plan_cache_mode = force_generic_plan; SET default_transaction_read_only = off";
        session.client.batch_execute(settings).await?;
        Ok(Self { session, process, prepared: RefCell::default() })
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn is_closed(&self) -> bool {
        self.session.client.is_closed()
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }

    /// Runs statements in their order. They are sent at once. The first failure is that of the one that failed; those
    /// after it fail as a consequence. Returns the rows of each.
    pub(super) async fn run(&self, requests: &[Request]) -> Vec<Result<Vec<Row>, Failure>> {
        for request in requests {
            if let Request::Prepared(sql, _) = request
                && let Err(failure) = self.prepare(sql).await
            {
                return vec![Err(failure)];
            }
        }
        let mut answers: Vec<_> =
            requests.iter().map(|request| Box::pin(maybe_done(self.send(request)))).collect();
        poll_fn(|context| {
            let mut is_pending = false;
            // In their order, in which the first poll sends them. Nothing is sent after one that cannot be sent.
            for answer in &mut answers {
                is_pending |= answer.as_mut().poll(context).is_pending();
                if let MaybeDone::Done(Err(_)) = &**answer {
                    return Poll::Ready(());
                }
            }
            if is_pending { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let take = |answer: &mut Pin<Box<MaybeDone<_>>>| {
            answer.as_mut().take_output().unwrap_or(Err(Failure::Unreachable))
        };
        answers.iter_mut().map(take).collect()
    }

    async fn send(&self, request: &Request) -> Result<Vec<Row>, Failure> {
        match request {
            Request::Plain(sql) => {
                self.session.client.batch_execute(sql).await?;
                Ok(Vec::new())
            }
            Request::Prepared(sql, values) => {
                let statement = self.prepare(sql).await?;
                let values: Vec<&(dyn ToSql + Sync)> =
                    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
                Ok(self.session.client.query(&statement, &values).await?)
            }
        }
    }

    async fn prepare(&self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = self.prepared.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.session.client.prepare(sql).await?;
        self.prepared.borrow_mut().insert(sql, statement.clone());
        Ok(statement)
    }
}
