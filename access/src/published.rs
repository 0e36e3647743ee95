//! What readers decide on: the rules as the appender has published them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use strongroom_core::time_suspended;
use tokio::sync::watch;

use crate::TenantName;
use crate::config::MAX_QUEUED;
use crate::grant::{Token, to_millis};
use crate::job::Access;
use crate::policy::PolicyCell;
use crate::state::{State, TenantRules};
use crate::token::TokenHash;
use crate::webhook::Cursor;

/// The published rules of one tenant.
#[derive(Debug)]
pub(crate) struct TenantCell {
    rules: ArcSwap<TenantRules>,
    serial: watch::Sender<u64>,
}

impl TenantCell {
    fn new(rules: Arc<TenantRules>) -> Self {
        let serial = watch::Sender::new(rules.serial);
        Self { rules: ArcSwap::new(rules), serial }
    }

    pub(crate) fn rules(&self) -> Guard<Arc<TenantRules>> {
        self.rules.load()
    }

    /// Follows the changes of the rules.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }
}

/// The published rules of all tenants, and how long they may be used.
#[derive(Debug)]
pub(crate) struct Published {
    cells: Mutex<HashMap<TenantName, Arc<TenantCell>>>,
    started: Instant,
    /// How long the machine had been suspended at that time.
    suspended: Duration,
    /// Until when the rules may be used, in milliseconds since `started`.
    fresh_until: AtomicU64,
    /// The latest time that was seen, in milliseconds since 1970: nothing that has ended begins again because the
    /// clock goes back.
    clock_floor: AtomicI64,
    /// Whether the thread that writes has ended.
    ended: watch::Sender<bool>,
    /// Whether records can be written.
    pub(crate) audit_fails: AtomicBool,
    /// How many records are queued that no caller waits for, also those that the appender has taken. It rises under the
    /// lock of `waiting` alone.
    pub(crate) queued: AtomicUsize,
    /// Those that it has not taken. A job for each would wake its thread each time.
    waiting: Mutex<Waiting>,
    /// How many other records wait that no caller waits for.
    pub(crate) notes: AtomicUsize,
    pub(crate) policy: PolicyCell,
    webhooks: ArcSwap<BTreeMap<String, Cursor>>,
    /// The number of the last record.
    last_record: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    accesses: Vec<Access>,
    is_closed: bool,
}

/// What became of accesses that were to be queued.
#[derive(Debug)]
pub(crate) enum Queueing<A> {
    Done,
    /// They are queued, and the appender has to be woken.
    Wakes,
    /// There is no room for all of them, so none is queued.
    Full(A),
    Closed,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            cells: Mutex::default(),
            started: Instant::now(),
            suspended: time_suspended(),
            fresh_until: AtomicU64::new(0),
            clock_floor: AtomicI64::new(0),
            ended: watch::Sender::new(false),
            audit_fails: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            notes: AtomicUsize::new(0),
            waiting: Mutex::default(),
            policy: PolicyCell::default(),
            webhooks: ArcSwap::default(),
            last_record: AtomicU64::new(0),
        }
    }

    /// Keeps accesses for the next batch. The appender has to be woken for the first one of a batch, and when the queue
    /// is half full.
    pub(crate) fn queue<A>(&self, accesses: A) -> Queueing<A>
    where
        A: IntoIterator<Item = Access> + AsRef<[Access]>,
    {
        let added = accesses.as_ref().len();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.queued.load(Ordering::Acquire);
        let after = before.saturating_add(added);
        if waiting.is_closed {
            return Queueing::Closed;
        }
        if after > MAX_QUEUED {
            return Queueing::Full(accesses);
        }
        let is_first = waiting.accesses.is_empty();
        waiting.accesses.extend(accesses);
        self.queued.fetch_add(added, Ordering::AcqRel);
        let fills_half = before < MAX_QUEUED / 2 && after >= MAX_QUEUED / 2;
        if is_first || fills_half { Queueing::Wakes } else { Queueing::Done }
    }

    /// Moves the accesses that wait to the end of `queued`.
    pub(crate) fn take_waiting(&self, queued: &mut Vec<Access>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.is_empty() {
            // The readers wait for the lock, so nothing is copied.
            std::mem::swap(queued, &mut waiting.accesses);
        } else {
            queued.append(&mut waiting.accesses);
        }
    }

    /// Queues no more accesses: the rules are being closed.
    pub(crate) fn close_queue(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
    }

    /// Whether the rules are closed or being closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_closed
    }

    /// The cell of a tenant, which exists from the first question on.
    pub(crate) fn cell(&self, tenant: &TenantName) -> Arc<TenantCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TenantCell::new(Arc::default()));
        Arc::clone(cells.entry(tenant.clone()).or_insert_with(new))
    }

    /// Publishes the rules of each tenant that differ from those published before.
    pub(crate) fn publish(&self, state: &State) {
        if !Arc::ptr_eq(&self.webhooks.load(), &state.webhooks) {
            self.webhooks.store(Arc::clone(&state.webhooks));
        }
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, cell) in &*cells {
            // A tenant whose last rules were pruned has none.
            if !state.tenants.contains_key(tenant) && cell.rules.load().serial != 0 {
                cell.rules.store(Arc::default());
                cell.serial.send_replace(0);
            }
        }
        for (tenant, rules) in &state.tenants {
            match cells.get(tenant) {
                Some(cell) if Arc::ptr_eq(&cell.rules.load(), rules) => {}
                Some(cell) => {
                    cell.rules.store(Arc::clone(rules));
                    cell.serial.send_replace(rules.serial);
                }
                None => {
                    cells.insert(tenant.clone(), Arc::new(TenantCell::new(Arc::clone(rules))));
                }
            }
        }
    }

    /// Notes where the log ends.
    pub(crate) fn note_last_record(&self, seq: u64) {
        self.last_record.store(seq, Ordering::Release);
    }

    /// The number of the last record of the log, as far as it is known.
    #[cfg(feature = "webhooks")]
    pub(crate) fn last_record(&self) -> u64 {
        self.last_record.load(Ordering::Acquire)
    }

    /// How far the deliveries of a webhook are; `None` if it is new.
    #[cfg(feature = "webhooks")]
    pub(crate) fn webhook_cursor(&self, name: &str) -> Option<Cursor> {
        self.webhooks.load().get(name).cloned()
    }

    /// The token with this hash, and whether it may be used at this time. One that was revoked is not known any more.
    pub(crate) fn find_token(&self, hash: &TokenHash, now: i64) -> Option<(Arc<Token>, bool)> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.values().find_map(|cell| {
            let rules = cell.rules();
            let token = rules.token_by_hash(hash)?;
            Some((Arc::clone(token), rules.living_token(token.id, now).is_some()))
        })
    }

    /// Now, in milliseconds since 1970, but not before a time that was seen.
    pub(crate) fn now(&self) -> i64 {
        to_millis(SystemTime::now()).max(self.clock_floor.load(Ordering::Acquire))
    }

    /// Notes a time that was seen.
    pub(crate) fn advance_clock(&self, now: i64) {
        self.clock_floor.fetch_max(now, Ordering::AcqRel);
    }

    /// Stops all decisions for good: the thread that writes has ended.
    pub(crate) fn end(&self) {
        // First, so that a decision that fails from here on is known to fail for that reason.
        self.close_queue();
        self.expire();
        self.ended.send_replace(true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Returns once the thread that writes has ended.
    pub(crate) async fn wait_for_end(&self) {
        // The sender is this value's own, so it is not dropped meanwhile.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Milliseconds since the start, also while the machine was suspended.
    fn elapsed(&self) -> u64 {
        let elapsed = self.started.elapsed() + time_suspended().saturating_sub(self.suspended);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// States that the rules are those of the log at this time, and may be used for `max_age`.
    pub(crate) fn confirm(&self, max_age: Duration) {
        let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        self.fresh_until.store(self.elapsed().saturating_add(max_age), Ordering::Release);
    }

    /// Stops all decisions.
    pub(crate) fn expire(&self) {
        self.fresh_until.store(0, Ordering::Release);
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.elapsed() < self.fresh_until.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
