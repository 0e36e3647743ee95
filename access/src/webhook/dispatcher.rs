//! What one process does about the deliveries of one webhook: without I/O and without a clock.
//!
//! [`Dispatcher::step`] says what to do next, from the cursor in the log and the time; the caller does it and tells the
//! dispatcher what came of it. `explore.rs` explores all that two of them can do.
//!
//! The lease depends on the monotonic clock of each process alone. A holder begins a request while its last accepted
//! record is younger than `lease - margin`; another process takes over once it has observed the same cursor for
//! `lease + margin`. So a holder stops first, while the clocks run no further apart than these two.

use std::collections::VecDeque;
use std::time::Duration;

use super::cursor::{Advance, Cursor, DeadLetter, HolderId};

/// How many dead letters wait at most until they are recorded.
const MAX_DEAD: usize = 100;

/// The times and numbers of the protocol. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    /// How long a lease lasts.
    pub(crate) lease: i64,
    /// How much of the lease has to be left when a request begins, and how long another process waits after it.
    pub(crate) margin: i64,
    /// How long progress waits at least after the last row.
    pub(crate) progress: i64,
    /// The delay after the first failure; it doubles after each further one.
    pub(crate) min_delay: i64,
    /// The longest of these delays.
    pub(crate) max_delay: i64,
    /// At which age a message is given up while the endpoint fails.
    pub(crate) max_age: i64,
    /// How long the endpoint has to have failed by then, as far as this process has seen it.
    pub(crate) min_failing: i64,
    /// How often the endpoint has to refuse a message.
    pub(crate) max_refusals: u32,
    /// How long after its last lease the cursor of an idle webhook is renewed.
    pub(crate) keep_alive: i64,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        lease: 180_000,
        margin: 60_000,
        progress: 60_000,
        min_delay: 5_000,
        max_delay: 3_600_000,
        max_age: 3 * 86_400_000,
        min_failing: 3_600_000,
        max_refusals: 3,
        keep_alive: 86_400_000,
    };

    /// The delay after so many failures in a row: half of it depends on `random`.
    pub(crate) fn delay(&self, failures: u32, random: u32) -> i64 {
        let doubled = 1_i64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(i64::MAX);
        let half = self.min_delay.saturating_mul(doubled).min(self.max_delay) / 2;
        half + half.saturating_mul(i64::from(random)) / i64::from(u32::MAX)
    }
}

/// The time, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    /// The clock of the machine, which may be set: milliseconds since 1970.
    pub(crate) clock: i64,
    /// Milliseconds since the process has begun, which only grow.
    pub(crate) ticks: i64,
}

/// A record that is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    /// When it was recorded, in milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) event: String,
    /// How often it was sent.
    pub(crate) attempts: u32,
    /// How often the endpoint has refused it.
    pub(crate) refusals: u32,
}

impl Message {
    pub(crate) fn new(seq: u64, time: i64, event: String) -> Self {
        Self { seq, time, event, attempts: 0, refusals: 0 }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Search the log for messages, and call [`Dispatcher::found`].
    Search { after: u64 },
    /// Append this to the log, and call [`Dispatcher::recorded`] with the time of the step if it was accepted.
    Record(Advance),
    /// Send this record, and call [`Dispatcher::sent`].
    Send { seq: u64 },
    /// Wait until the log has new records, until its cursor moves, or up to this time, in ticks.
    Wait { until: i64 },
}

/// How an attempt to send a message ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    Delivered,
    /// The endpoint does not work, so the next message would fail, too.
    Failed {
        reason: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The endpoint wants no messages any more.
    Gone,
    /// The endpoint works, and does not take this message.
    Refused {
        reason: String,
    },
    /// There is nothing that could be sent.
    Undeliverable {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Failing {
    /// Since when, in ticks.
    since: i64,
    failures: u32,
    reason: String,
}

/// What one process knows about the deliveries of one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Dispatcher {
    webhook: String,
    holder: HolderId,
    limits: Limits,
    /// Messages that were found and are not settled, in their order.
    queue: VecDeque<Message>,
    /// Up to which record the queue was searched.
    searched_to: u64,
    dead: Vec<DeadLetter>,
    /// The message of the request that is under way.
    sending: Option<u64>,
    /// The last message that this process has settled. Another process that takes the lease over does not reset it.
    settled: u64,
    /// The last cursor, and when this process has first seen it, in ticks.
    observed: Option<(Cursor, i64)>,
    /// When this process has last begun to move the cursor with success, in ticks.
    recorded_at: Option<i64>,
    failing: Option<Failing>,
    /// When the next attempt is due, in ticks.
    retry_at: i64,
}

impl Dispatcher {
    pub(crate) fn new(webhook: &str, holder: HolderId, limits: Limits) -> Self {
        Self {
            webhook: webhook.to_owned(),
            holder,
            limits,
            queue: VecDeque::new(),
            searched_to: 0,
            dead: Vec::new(),
            sending: None,
            settled: 0,
            observed: None,
            recorded_at: None,
            failing: None,
            retry_at: i64::MIN,
        }
    }

    /// What to do next. `cursor` is that of a log that ends with the record `last`.
    pub(crate) fn step(&mut self, cursor: Option<&Cursor>, last: u64, now: Now) -> Step {
        let Some(cursor) = cursor else {
            // A new webhook begins at the end of the log, as soon as it is there.
            return Step::Record(self.advance(None, false));
        };
        let observed_at = self.observe(cursor, now);
        self.follow(cursor);
        let is_own = cursor.holder == self.holder;
        if is_own {
            self.give_up_expired(now);
        }
        let has_progress = self.settled > cursor.settled_to;
        // When this process may move the cursor.
        let record_at = if is_own || cursor.is_released {
            i64::MIN
        } else {
            observed_at.saturating_add(self.limits.lease).saturating_add(self.limits.margin)
        };
        let may_record = now.ticks >= record_at;
        let claim = || self.advance(may_record.then_some(cursor), false);
        let progress_at = self.progress_at();
        let is_due = now.ticks >= progress_at || self.dead.len() >= MAX_DEAD;
        if has_progress && is_due && may_record {
            return Step::Record(claim());
        }
        let until = if has_progress { progress_at.max(record_at) } else { i64::MAX };
        let Some(front) = self.queue.front() else {
            let is_idle_for_long =
                cursor.lease_until.saturating_add(self.limits.keep_alive) <= now.clock;
            return if self.searched_to < last {
                Step::Search { after: self.searched_to }
            } else if is_idle_for_long && may_record {
                Step::Record(claim())
            } else {
                Step::Wait { until }
            };
        };
        let send_at = self.retry_at.max(record_at);
        if send_at > now.ticks {
            Step::Wait { until: until.min(send_at) }
        } else if self.holds(cursor, now) {
            let seq = front.seq;
            self.sending = Some(seq);
            Step::Send { seq }
        } else {
            Step::Record(claim())
        }
    }

    /// Whether this process may begin a request. A process whose lease is too old renews it first.
    pub(super) fn holds(&self, cursor: &Cursor, now: Now) -> bool {
        let limits = &self.limits;
        let is_young = |at: i64| now.ticks.saturating_sub(at) < limits.lease - limits.margin;
        cursor.holder == self.holder
            && !cursor.is_released
            && self.recorded_at.is_some_and(is_young)
    }

    /// Takes the result of a search: messages, and the last record that was searched for them.
    pub(crate) fn found(&mut self, messages: impl IntoIterator<Item = Message>, searched_to: u64) {
        self.queue.extend(messages);
        self.searched_to = self.searched_to.max(searched_to);
    }

    /// Notes that the last [`Step::Record`] was accepted. `asked` is the time of the step: other processes may observe
    /// the cursor before this one gets the answer, so the lease does not begin later.
    pub(crate) fn recorded(&mut self, asked: Now) {
        self.recorded_at = Some(asked.ticks);
    }

    /// Notes how the last [`Step::Send`] ended.
    pub(crate) fn sent(&mut self, attempt: Attempt, now: Now, random: u32) {
        let sending = self.sending.take();
        let Some(front) = self.queue.front_mut() else { return };
        if sending.is_some_and(|seq| seq != front.seq) {
            // Another process has settled it meanwhile.
            return;
        }
        front.attempts = front.attempts.saturating_add(1);
        match attempt {
            Attempt::Delivered => {
                self.settled = self.settled.max(front.seq);
                self.queue.pop_front();
                self.failing = None;
            }
            Attempt::Failed { reason, retry_after } => {
                let failures = self.note_failure(reason, now);
                let asked = retry_after.and_then(|after| i64::try_from(after.as_millis()).ok());
                let delay = self.limits.delay(failures, random).max(asked.unwrap_or(0));
                self.retry_at = now.ticks.saturating_add(delay);
            }
            Attempt::Gone => {
                self.note_failure("the endpoint is gone (status 410)".to_owned(), now);
                self.retry_at = now.ticks.saturating_add(self.limits.max_delay);
            }
            Attempt::Refused { reason } => {
                self.failing = None;
                front.refusals = front.refusals.saturating_add(1);
                let refusals = front.refusals;
                if refusals >= self.limits.max_refusals {
                    self.give_up(&reason);
                } else {
                    let delay = self.limits.delay(refusals, random);
                    self.retry_at = now.ticks.saturating_add(delay);
                }
            }
            Attempt::Undeliverable { reason } => self.give_up(&reason),
        }
    }

    /// What to append when the process ends: progress, and that another process may deliver at once.
    pub(crate) fn release(&mut self, cursor: Option<&Cursor>) -> Option<Advance> {
        let cursor = cursor?;
        self.follow(cursor);
        let has_progress = self.settled > cursor.settled_to;
        let records = if cursor.is_released { has_progress } else { cursor.holder == self.holder };
        records.then(|| self.advance(None, true))
    }

    /// What a step does first.
    #[cfg(test)]
    pub(super) fn see(&mut self, cursor: &Cursor, now: Now) {
        self.observe(cursor, now);
        self.follow(cursor);
    }

    #[cfg(test)]
    pub(super) fn dead_seqs(&self) -> impl Iterator<Item = u64> {
        self.dead.iter().map(|letter| letter.seq)
    }

    fn advance(&self, observed: Option<&Cursor>, releases: bool) -> Advance {
        Advance {
            holder: self.holder,
            observed: observed.cloned(),
            settled_to: self.settled_to(),
            dead: self.dead.clone(),
            lease: self.limits.lease,
            releases,
        }
    }

    /// Up to where everything is settled, or is not for this webhook.
    fn settled_to(&self) -> u64 {
        self.queue.front().map_or(self.searched_to, |front| front.seq.saturating_sub(1))
    }

    /// Returns since when this process sees this cursor, in ticks.
    fn observe(&mut self, cursor: &Cursor, now: Now) -> i64 {
        match &self.observed {
            Some((observed, at)) if observed == cursor => *at,
            _ => {
                self.observed = Some((cursor.clone(), now.ticks));
                now.ticks
            }
        }
    }

    /// Takes over what the log settles. If another process has taken over without progress of this one, it repeats the
    /// deliveries; this one keeps what it knows, and records it if it gets the lease again.
    fn follow(&mut self, cursor: &Cursor) {
        self.dead.retain(|letter| letter.seq > cursor.settled_to);
        while self.queue.front().is_some_and(|front| front.seq <= cursor.settled_to) {
            self.queue.pop_front();
            if cursor.holder != self.holder {
                // The endpoint has answered another process.
                self.failing = None;
                self.retry_at = i64::MIN;
            }
        }
        self.searched_to = self.searched_to.max(cursor.settled_to);
    }

    /// When progress may be recorded.
    fn progress_at(&self) -> i64 {
        self.recorded_at.map_or(i64::MIN, |at| at.saturating_add(self.limits.progress))
    }

    fn note_failure(&mut self, reason: String, now: Now) -> u32 {
        let (since, before) =
            self.failing.as_ref().map_or((now.ticks, 0), |it| (it.since, it.failures));
        let failures = before.saturating_add(1);
        self.failing = Some(Failing { since, failures, reason });
        failures
    }

    /// Gives messages up that are too old, if the endpoint has failed for long.
    fn give_up_expired(&mut self, now: Now) {
        let Some(failing) = &self.failing else { return };
        if now.ticks.saturating_sub(failing.since) < self.limits.min_failing {
            return;
        }
        let reason = failing.reason.clone();
        let limits = self.limits;
        let is_expired =
            |message: &Message| now.clock.saturating_sub(message.time) >= limits.max_age;
        while self.dead.len() < MAX_DEAD && self.queue.front().is_some_and(is_expired) {
            self.give_up(&reason);
        }
    }

    /// Makes a dead letter of the first message.
    fn give_up(&mut self, reason: &str) {
        let Some(Message { seq, event, attempts, .. }) = self.queue.pop_front() else { return };
        let (webhook, reason) = (self.webhook.clone(), reason.to_owned());
        self.settled = self.settled.max(seq);
        self.dead.push(DeadLetter { webhook, seq, event, attempts, reason });
    }
}

#[cfg(test)]
mod tests;
