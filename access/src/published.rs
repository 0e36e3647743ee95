//! What readers decide on: the rules as the appender has published them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use strongroom_core::time_suspended;
use tokio::sync::watch;

use crate::TenantName;
use crate::grant::{Token, to_millis};
use crate::job::Access;
use crate::policy::PolicyCell;
use crate::state::{State, TenantRules};
use crate::token::TokenHash;

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
    /// How many records are queued that no caller waits for, also those that the appender has taken.
    pub(crate) queued: AtomicUsize,
    /// Those that it has not taken. A job for each would wake its thread each time.
    waiting: Mutex<Vec<Access>>,
    /// How many records of refused tokens and identities wait.
    pub(crate) refused: AtomicUsize,
    pub(crate) policy: PolicyCell,
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
            refused: AtomicUsize::new(0),
            waiting: Mutex::default(),
            policy: PolicyCell::default(),
        }
    }

    /// Keeps accesses for the next batch. Returns whether the appender has to be woken: for the first one of a batch,
    /// and when there are `full` of them.
    pub(crate) fn queue(&self, accesses: Vec<Access>, full: usize) -> bool {
        let added = accesses.len();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = waiting.is_empty();
        waiting.extend(accesses);
        let before = self.queued.fetch_add(added, Ordering::AcqRel);
        is_first || (before < full && before.saturating_add(added) >= full)
    }

    /// Moves the accesses that wait to the end of `queued`.
    pub(crate) fn take_waiting(&self, queued: &mut Vec<Access>) {
        queued.append(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The cell of a tenant, which exists from the first question on.
    pub(crate) fn cell(&self, tenant: &TenantName) -> Arc<TenantCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TenantCell::new(Arc::default()));
        Arc::clone(cells.entry(tenant.clone()).or_insert_with(new))
    }

    /// Publishes the rules of each tenant that differ from those published before.
    pub(crate) fn publish(&self, state: &State) {
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
mod tests {
    use super::*;
    use crate::Person;
    use crate::book::Book;
    use crate::event::Event;
    use crate::grant::Grant;
    use crate::identity::Identity;
    use crate::state::Change;
    use crate::{Action, GrantId, Scope};

    #[test]
    fn a_clock_that_goes_back_revives_nothing_that_has_ended() {
        let tenant = TenantName::parse("acme").unwrap();
        let person = Person::new("acme", "ann").unwrap();
        let hour_ahead = to_millis(SystemTime::now()) + 3_600_000;
        let grant = Grant {
            id: GrantId::random().unwrap(),
            tenant: tenant.clone(),
            subject: person.clone().into(),
            scopes: vec![Scope::parse("secrets:read").unwrap()],
            expires_at: Some(hour_ahead),
            created_at: 0,
            created_by: "administrator:host".to_owned(),
            created_with: None,
            reason: "a test".to_owned(),
        };
        let mut state = State::default();
        let event = Event::GrantCreated(grant);
        state.apply(&Change { seq: 1, tenant: Some(&tenant), token: None, event: &event });
        let published = Published::new();
        published.publish(&state);
        let cell = published.cell(&tenant);
        let identity = Identity::of_person(person);
        let book = Book::compile(&identity, &cell.rules(), published.now());
        assert!(book.decide(Action::Read, "a", published.now()).is_ok());
        // The clock was an hour ahead of where it is now.
        published.advance_clock(hour_ahead);
        assert_eq!(published.now(), hour_ahead);
        assert!(book.decide(Action::Read, "a", published.now()).is_err());
        published.advance_clock(1);
        assert_eq!(published.now(), hour_ahead);
    }

    #[test]
    fn a_tenant_that_has_no_rules_any_more_has_none_published() {
        let tenant = TenantName::parse("acme").unwrap();
        let mut state = State::default();
        let event = Event::GrantDeleted { id: GrantId::random().unwrap() };
        state.apply(&Change { seq: 7, tenant: Some(&tenant), token: None, event: &event });
        let published = Published::new();
        published.publish(&state);
        let cell = published.cell(&tenant);
        let mut changes = cell.subscribe();
        assert_eq!(cell.rules().serial, 7);
        // As after a prune that carries no rule of this tenant.
        published.publish(&State::default());
        assert_eq!(cell.rules().serial, 0);
        assert!(changes.has_changed().unwrap() && *changes.borrow_and_update() == 0);
    }
}
