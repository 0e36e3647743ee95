//! Records that the time of a request or of an approval is over, so that people and programs learn of it.

use std::time::{Duration, Instant};

use super::{Appender, FOLLOW_INTERVAL};
use crate::event::{Context, Draft, Event};
use crate::state::Change;

/// How often it looks for what has expired.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// How many expiries one transaction records.
const MAX_EVENTS: usize = 200;

impl Appender {
    /// Records what has expired, unless the log cannot be read or written: it has ended for all decisions already, and is
    /// recorded later.
    pub(super) fn record_expiries(&mut self) {
        if self.follow_fails || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        loop {
            let now = self.now();
            let mut drafts = self.expiries(now);
            if drafts.is_empty() {
                return;
            }
            let after = self.tail.0;
            match self.append(Vec::new(), &mut drafts, now, None) {
                Ok(true) => return self.fold_own(after, &drafts),
                // Another process may have recorded them.
                Ok(false) => {}
                Err(_) => {
                    self.retry_at = Some(Instant::now() + FOLLOW_INTERVAL);
                    return;
                }
            }
        }
    }

    fn expiries(&self, now: i64) -> Vec<Draft> {
        let tenants = self.state.tenants.iter();
        let expiries = tenants.flat_map(|(tenant, rules)| {
            rules.expiries(now).map(|(approval, event)| Draft {
                tenant: Some(tenant.clone()),
                principal: approval.request.requester.clone(),
                path: Some(approval.request.path.clone()),
                context: Context::default(),
                event: Event::Approval(event),
            })
        });
        expiries.take(MAX_EVENTS).collect()
    }

    /// Folds rows that this process has just appended.
    pub(super) fn fold_own(&mut self, after: u64, drafts: &[Draft]) {
        for (draft, seq) in drafts.iter().zip(after.saturating_add(1)..) {
            let (tenant, event) = (draft.tenant.as_ref(), &draft.event);
            self.state.apply(&Change { seq, tenant, path: None, token: None, event });
        }
        self.publish();
    }
}
