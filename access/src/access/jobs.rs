//! Hands work to the thread that writes the log.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use strongroom_core::Result;
use tokio::sync::oneshot;

use super::{Inner, closed_error, thread_ended_error};
use crate::event::Draft;
use crate::job::{Access, Job};
use crate::published::Queueing;

impl Inner {
    pub(crate) fn send(&self, job: Job) -> Result<()> {
        self.fork_guard.check()?;
        match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.send(job).map_err(|_| thread_ended_error()),
            None => Err(closed_error()),
        }
    }

    /// Queues accesses to be recorded with the next batch. Gives them back if there is no room.
    pub(crate) fn queue<A>(&self, accesses: A) -> Result<Option<A>>
    where
        A: IntoIterator<Item = Access> + AsRef<[Access]>,
    {
        self.fork_guard.check()?;
        match self.published.queue(accesses) {
            Queueing::Done => Ok(None),
            Queueing::Wakes => match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(jobs) => {
                    jobs.send(Job::Queued).map(|()| None).map_err(|_| thread_ended_error())
                }
                // The last job is sent already, and writes what is queued.
                None => Ok(None),
            },
            Queueing::Full(accesses) => Ok(Some(accesses)),
            Queueing::Closed => Err(closed_error()),
        }
    }

    /// Queues something to be recorded with the next batch.
    pub(crate) fn note(&self, draft: Draft) -> Result<()> {
        self.published.notes.fetch_add(1, Ordering::AcqRel);
        let sent = self.send(Job::Note(Box::new(draft)));
        if sent.is_err() {
            self.published.notes.fetch_sub(1, Ordering::AcqRel);
        }
        sent
    }

    /// Sends a job and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply))?;
        answer.await.map_err(|_| thread_ended_error())?
    }
}
