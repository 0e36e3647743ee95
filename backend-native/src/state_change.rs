//! What a transaction changes about the state of its store.

use std::cell::Cell;

use strongroom_core::Result;

use crate::row_keys::{RowKeys, Signature};
use crate::state::RowSum;
use crate::sum::Sum;

/// The change that a transaction makes to the state. Each write of a row of `secrets` adds to it.
#[derive(Default)]
pub(crate) struct StateChange(Cell<Difference>);

/// A change up to one moment of the transaction.
#[derive(Clone, Copy, Default)]
pub(crate) struct Difference {
    has_changed: bool,
    secrets: i64,
    sum: Sum,
}

impl StateChange {
    /// Records that a row was written, over the one that `before` has signed.
    pub(crate) fn write_row(
        &self,
        keys: &RowKeys,
        before: Option<&Signature>,
        written: &Signature,
    ) -> Result<()> {
        let mut difference = self.0.get();
        difference.has_changed = true;
        difference.sum = difference.sum.plus(keys.state_keys(written.key_id)?.element(written));
        difference.secrets += 1;
        self.0.set(difference);
        before.map_or(Ok(()), |before| self.remove_row(keys, before))
    }

    /// Records that an authentic row was removed.
    pub(crate) fn remove_row(&self, keys: &RowKeys, removed: &Signature) -> Result<()> {
        let mut difference = self.0.get();
        difference.has_changed = true;
        difference.sum = difference.sum.minus(keys.state_keys(removed.key_id)?.element(removed));
        difference.secrets -= 1;
        self.0.set(difference);
        Ok(())
    }

    /// Records a change of the store that is in no row of `secrets`.
    pub(crate) fn touch(&self) {
        self.0.set(Difference { has_changed: true, ..self.0.get() });
    }

    /// The change until now, for [`restore`](Self::restore).
    pub(crate) fn save(&self) -> Difference {
        self.0.get()
    }

    /// Takes back what was recorded since `saved`, after the writes were rolled back.
    pub(crate) fn restore(&self, saved: Difference) {
        self.0.set(saved);
    }

    /// The rows after the transaction; `None` if it has changed nothing.
    pub(crate) fn apply_to(&self, rows: RowSum) -> Option<RowSum> {
        let Difference { has_changed, secrets, sum } = self.0.get();
        let secrets = rows.secrets.wrapping_add_signed(secrets);
        has_changed.then(|| RowSum { secrets, sum: rows.sum.plus(sum) })
    }
}
