//! Follows the rows that other processes append.

use std::time::SystemTime;

use strongroom_core::{ErrorKind, Result};
use tracing::error;

use super::Appender;
use crate::TenantName;
use crate::event::Body;
use crate::grant::to_millis;
use crate::log::{Row, rules};
use crate::state::{Change, State};

impl Appender {
    /// Asks the log for new rows, and confirms the published rules if there are none or all are folded.
    pub(super) fn follow(&mut self) {
        let followed = match self.store.changed() {
            // `changed` tells each change once: what could not be folded then is still to be folded.
            Ok(false) if !self.follow_fails => Ok(()),
            Ok(_) => self.refresh(),
            Err(error) => Err(error),
        };
        self.published.advance_clock(to_millis(SystemTime::now()).max(self.newest));
        match followed {
            Ok(()) => self.published.confirm(self.max_age),
            Err(error) => {
                if error.kind() == ErrorKind::Corrupt {
                    // Rules that were changed from outside are not used for a moment longer.
                    self.published.expire();
                }
                if !self.follow_fails {
                    error!(%error, "the access rules cannot be read; decisions stop soon");
                }
                self.follow_fails = true;
                return;
            }
        }
        self.follow_fails = false;
    }

    /// Folds the rows that others have appended.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let head = self.store.head()?;
        if head.tail() == self.tail && head.log_id == self.log_id {
            return Ok(());
        }
        // What was pruned may have been a rule that was not folded yet: all living ones are carried.
        let is_pruned = head.first > self.tail.0.saturating_add(1);
        let (head, rows, mut state) = if is_pruned {
            let (head, rows) = rules::read_rules(&mut *self.store, &self.keys)?;
            (head, rows, State::default())
        } else {
            let (head, rows) = rules::read_new_rules(&mut *self.store, &self.keys, &self.tail)?;
            (head, rows, self.state.clone())
        };
        fold(&mut state, &rows)?;
        self.state = state;
        self.tail = head.tail();
        self.note_last_time()?;
        self.publish();
        Ok(())
    }

    /// Takes the time of the last row, which need not be one of the rules.
    pub(super) fn note_last_time(&mut self) -> Result<()> {
        let last = self.store.row_with(self.tail.0)?;
        self.newest = last.map_or(self.newest, |row| row.time.max(self.newest));
        Ok(())
    }

    pub(super) fn publish(&self) {
        self.published.advance_clock(self.newest);
        self.published.publish(&self.state);
        self.published.note_last_record(self.tail.0);
        self.published.confirm(self.max_age);
    }
}

/// Folds rows into the rules.
pub(super) fn fold(state: &mut State, rows: &[Row]) -> Result<()> {
    for row in rows {
        let body = Body::parse(&row.body)?;
        let tenant = row.tenant.as_deref().map(TenantName::parse).transpose()?;
        state.apply(&Change {
            seq: row.seq,
            tenant: tenant.as_ref(),
            path: row.path.as_deref(),
            token: body.context.token,
            event: &body.event,
        });
    }
    Ok(())
}
