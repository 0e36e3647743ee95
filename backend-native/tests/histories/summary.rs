//! Figures of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Action, Operation, Outcome};

/// What came of the operations of a run.
pub(crate) struct Summary {
    duration: Duration,
    operations: u64,
    reads: u64,
    pub(crate) acknowledged: u64,
    conflicts: u64,
    failed: u64,
    unknown: u64,
    /// The number of errors of each text, of reads and of writes.
    errors: BTreeMap<String, u64>,
    longest: u64,
}

impl Summary {
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            duration,
            operations: 0,
            reads: 0,
            acknowledged: 0,
            conflicts: 0,
            failed: 0,
            unknown: 0,
            errors: BTreeMap::new(),
            longest: 0,
        }
    }

    pub(crate) fn add(&mut self, operation: &Operation, error: &str) {
        self.operations += 1;
        self.longest = self.longest.max(operation.end - operation.begin);
        match (operation.action, operation.outcome) {
            (_, Outcome::Read(..) | Outcome::NotFound) => self.reads += 1,
            (_, Outcome::Written(_)) => self.acknowledged += 1,
            (_, Outcome::Conflict) => self.conflicts += 1,
            (_, Outcome::Unknown) => self.unknown += 1,
            (_, Outcome::Failed) => self.failed += 1,
        }
        if !error.is_empty() {
            let verb = if operation.action == Action::Get { "read" } else { "write" };
            *self.errors.entry(format!("{verb}: {error}")).or_default() += 1;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = self.operations as f64 / seconds;
        write!(
            f,
            "{} operations in {seconds:.1} s ({rate:.0}/s): {} reads, {} acknowledged writes, {} conflicts, \
             {} failed, {} with an unknown outcome; the longest took {} ms",
            self.operations,
            self.reads,
            self.acknowledged,
            self.conflicts,
            self.failed,
            self.unknown,
            self.longest / 1_000_000
        )?;
        self.errors.iter().try_for_each(|(error, count)| write!(f, "\n  {count} x {error}"))
    }
}
