//! Retention: removes old rows, and keeps the rules and the chain.

use strongroom_core::Result;

use super::Appender;
use crate::event::{CarriedRules, Context, Draft, Event};

/// How many records one transaction removes at most, so that it does not hold the write lock for long.
const MAX_PRUNED: u64 = 50_000;
/// How many rules of each sort one row carries.
const RULES_PER_ROW: usize = 200;

/// What one step of a prune did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pruned {
    /// How many records it removed.
    pub(crate) removed: u64,
    /// Whether no older record is left.
    pub(crate) is_complete: bool,
}

impl Appender {
    /// Removes the rows before a time, with at most [`MAX_PRUNED`] records. All living rules are carried to the end of
    /// the log first, in the same transaction, so that none is lost with the row that made it.
    pub(super) fn prune(&mut self, before: i64, by: &str) -> Result<Pruned> {
        self.flush();
        // What has ended is not carried, so its end is recorded first.
        self.record_expiries();
        loop {
            self.refresh()?;
            let head = self.store.head()?;
            let first_kept = self.first_since(head.first, before)?;
            // A row is removed as a whole or not at all.
            let limit = head.first.saturating_add(MAX_PRUNED);
            let is_complete = first_kept <= limit;
            let first_kept = match self.store.row_with(limit)? {
                Some(row) if !is_complete => row.seq,
                _ => first_kept,
            };
            let removed = first_kept.saturating_sub(head.first);
            if removed == 0 {
                return Ok(Pruned { removed, is_complete: true });
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
            if self.append(Vec::new(), &mut drafts, now, Some(first_kept))? {
                self.fold_own(after, &drafts);
                return Ok(Pruned { removed, is_complete });
            }
        }
    }

    /// The first record from a time on; the next one that will be written, if there is none. The records of a row have
    /// one time, so a row begins with it. Recorded times do not go back, so that few rows are read.
    fn first_since(&mut self, first: u64, time: i64) -> Result<u64> {
        // Each row before `low` is older, and each from `high` on is not. Both begin a row.
        let (mut low, mut high) = (first, self.tail.0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.store.row_with(middle)? {
                Some(row) if row.time >= time => high = row.seq,
                Some(row) => low = row.last().saturating_add(1),
                // Another process has removed it meanwhile, and all rows before it.
                None => low = middle.saturating_add(1),
            }
        }
        Ok(low)
    }
}

impl CarriedRules {
    /// The same rules in parts, of which the first says that it is the first.
    fn split(self, per_part: usize) -> Vec<Self> {
        let Self { grants, tokens, approvals, notices, webhooks, .. } = self;
        let count = [grants.len(), tokens.len(), approvals.len(), notices.len(), webhooks.len()];
        let parts = count.into_iter().map(|count| count.div_ceil(per_part)).max().unwrap_or(0);
        let (mut grants, mut tokens) = (grants.into_iter(), tokens.into_iter());
        let (mut approvals, mut notices) = (approvals.into_iter(), notices.into_iter());
        let mut webhooks = webhooks.into_iter();
        (0..parts.max(1))
            .map(|part| Self {
                is_first: part == 0,
                grants: grants.by_ref().take(per_part).collect(),
                tokens: tokens.by_ref().take(per_part).collect(),
                approvals: approvals.by_ref().take(per_part).collect(),
                notices: notices.by_ref().take(per_part).collect(),
                webhooks: webhooks.by_ref().take(per_part).collect(),
            })
            .collect()
    }
}
