//! Where a listener is in the log: a function from what it is told to what it does next, without I/O.
//!
//! The numbers of records have no gaps, so a listener sees from the number alone whether it has missed one.

#[cfg(test)]
mod tests;

/// Where a listener is. It has dealt with each record up to `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Position {
    /// It reads the log.
    CatchingUp { after: u64 },
    /// It takes what the follower of the log tells.
    Live { after: u64 },
}

/// What the follower of the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// It begins, and tells each record after this one.
    Begin(u64),
    /// The record with this number.
    Record(u64),
}

/// A part of the log that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Up to which record the log was searched.
    pub(super) searched: u64,
    /// The first record of the log.
    pub(super) first: u64,
    /// The last record of the log when the search began.
    pub(super) last: u64,
}

/// Records that are not there: those after `after` and before `first`. If the log ends before `after`, it was replaced by an
/// older copy, or is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) after: u64,
    pub(super) first: u64,
}

impl Position {
    /// The last record that was dealt with.
    pub(super) fn after(self) -> u64 {
        match self {
            Self::CatchingUp { after } | Self::Live { after } => after,
        }
    }

    /// Hears what the follower tells. Returns whether the listener takes the record; one that it has missed others before is
    /// read from the log.
    pub(super) fn hear(&mut self, told: Told) -> bool {
        let Self::Live { after } = *self else { return false };
        match told {
            Told::Record(seq) if seq == after.saturating_add(1) => {
                *self = Self::Live { after: seq };
                true
            }
            Told::Record(seq) | Told::Begin(seq) => {
                if seq > after {
                    *self = Self::CatchingUp { after };
                }
                false
            }
        }
    }

    /// Some of what the follower has told is lost.
    pub(super) fn lag(&mut self) {
        *self = Self::CatchingUp { after: self.after() };
    }

    /// Reads a part of the log, from the next record on. Returns which records are not there.
    pub(super) fn read(&mut self, part: Part) -> Option<Gap> {
        let after = self.after();
        let Part { searched, first, last } = part;
        if after > last {
            *self = Self::Live { after: last };
            return Some(Gap { after, first: last.saturating_add(1) });
        }
        let is_end = searched >= last;
        *self = if is_end {
            Self::Live { after: searched }
        } else {
            Self::CatchingUp { after: searched }
        };
        (first > after.saturating_add(1)).then_some(Gap { after, first })
    }
}
