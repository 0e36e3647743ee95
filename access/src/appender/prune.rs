//! Retention: removes old rows, and keeps the rules and the chain.

use strongroom_core::Result;

use super::Appender;
use crate::event::{CarriedRules, Context, Draft, Event};
use crate::log::RowFilter;

/// How many rows one transaction removes, so that it does not hold the write lock for long.
pub(crate) const MAX_PRUNED: u64 = 50_000;
/// How many rules of each sort one row carries.
const RULES_PER_ROW: usize = 200;

impl Appender {
    /// Removes the rows before a time, at most [`MAX_PRUNED`]. All living rules are carried to the end of the log
    /// first, in the same transaction, so that none is lost with the row that made it. Returns how many rows were
    /// removed.
    pub(super) fn prune(&mut self, before: i64, by: &str) -> Result<u64> {
        self.flush();
        loop {
            self.refresh()?;
            let head = self.store.head()?;
            let filter = RowFilter { from: Some(before), ..RowFilter::default() };
            let kept = self.store.read_after(head.first.saturating_sub(1), 1, &filter)?;
            let first_kept = kept
                .first()
                .map_or(self.tail.0.saturating_add(1), |row| row.seq)
                .min(head.first.saturating_add(MAX_PRUNED));
            let removed = first_kept.saturating_sub(head.first);
            if removed == 0 {
                return Ok(0);
            }
            let now = self.now();
            let to_draft = |event| Draft {
                tenant: None,
                principal: format!("administrator:{by}"),
                path: None,
                context: Context::default(),
                event,
            };
            let parts = self.state.living(now).split(RULES_PER_ROW);
            let mut drafts: Vec<_> =
                parts.into_iter().map(|part| to_draft(Event::RulesCarried(part))).collect();
            drafts.push(to_draft(Event::AuditPruned { before: first_kept }));
            let after = self.tail.0;
            if self.append(&mut drafts, now, Some(first_kept))? {
                self.fold_own(after, &drafts);
                return Ok(removed);
            }
        }
    }
}

impl CarriedRules {
    /// The same rules in parts, of which the first says that it is the first.
    fn split(self, per_part: usize) -> Vec<Self> {
        let Self { grants, tokens, approvals, .. } = self;
        let count = [grants.len(), tokens.len(), approvals.len()];
        let parts = count.into_iter().map(|count| count.div_ceil(per_part)).max().unwrap_or(0);
        let (mut grants, mut tokens, mut approvals) =
            (grants.into_iter(), tokens.into_iter(), approvals.into_iter());
        (0..parts.max(1))
            .map(|part| Self {
                is_first: part == 0,
                grants: grants.by_ref().take(per_part).collect(),
                tokens: tokens.by_ref().take(per_part).collect(),
                approvals: approvals.by_ref().take(per_part).collect(),
            })
            .collect()
    }
}
