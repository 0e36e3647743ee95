//! Decides whether what processes did to one secret is linearisable, and whether an acknowledged write was lost.
//!
//! A history is linearisable if each operation can be given one moment between its begin and its end such that the
//! operations, run one after another in the order of these moments, have the outcomes that were observed. A write whose
//! outcome is unknown may have its moment after its end, or never. A write that failed has none.
//!
//! In general that takes exponential time. Here it does not, since the versions of a secret are unique and grow by one with
//! each write, no two writes have one value, and a read at the end of the run, when nothing else is under way, returns all
//! versions `1..=n` with their values. So the order of the writes is known. With `t(v)` as the moment of the write of
//! version `v`, `t(1) <= t(2) <= ... <= t(n)`, and `t(n + 1)` as infinity, the rules are:
//!
//! - A value of the final read was written by exactly one operation, which is acknowledged with that version or unknown.
//!   Its `t(v)` is after its begin and, if it is acknowledged, before its end. So two acknowledged writes never have one
//!   version, and each acknowledged write is in the final read (nothing was lost).
//! - The value of a write that failed is not in the final read.
//! - A write of version `v` under `MustBeVersion(x)` has `v = x + 1`, and under `MustNotExist` it has `v = 1`.
//! - A read at version `v` has the value that the final read has there, `t(v)` is before its end, and `t(v + 1)` after its
//!   begin.
//! - A read that has found nothing began before `t(1)`.
//! - A conflict with `MustNotExist` ended after `t(1)`.
//! - A conflict with `MustBeVersion(x)` began before `t(x)` or ended after `t(x + 1)`.
//!
//! Moments that obey these rules are a linearisation, and a linearisation obeys them. All but the last rule are a lower
//! and an upper bound of each `t(v)`. The last one is an upper bound of `t(x + 1)` that holds for those `t(x)` that are
//! earlier than the begin of the conflict. The checker goes through the versions in their order and keeps the set of
//! moments that `t(v)` may have, as intervals; the history is linearisable if no set is empty. Equal times count as
//! concurrent. `cross_check` compares all of this with the search of `stateright`.

use std::collections::HashMap;

use crate::history::{Action, Condition, Operation, Outcome, Value};

/// A moment after all others.
const NEVER: u64 = u64::MAX;

/// What is wrong with a history, with the operations that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The final read has another value, or none, where this write was acknowledged.
    Lost(Operation),
    /// This write failed, and the final read has its value.
    FailedButWritten(Operation),
    /// The final read has a value that no write had.
    NeverWritten(u64, Value),
    /// The final read has one value twice.
    WrittenTwice(Value),
    /// The write was acknowledged with a version, or has one, that its condition excludes.
    Condition(Operation),
    /// This read has another value than the version has.
    OtherValue(Operation),
    /// The first operation ended before the second one began, and has seen what comes after it.
    Order { version: u64, first: Option<Box<Operation>>, second: Option<Box<Operation>> },
    /// The condition of this write held as long as it ran, and it failed with a conflict.
    Conflict(Operation),
}

/// What is known of the moment of the write of one version.
struct Window {
    /// It is not earlier than this operation's begin.
    earliest: (u64, Option<Operation>),
    /// It is not later than this operation's end.
    latest: (u64, Option<Operation>),
    /// The writes that failed because this version was not the active one.
    conflicts: Vec<Operation>,
}

impl Window {
    fn new() -> Self {
        Self { earliest: (0, None), latest: (NEVER, None), conflicts: Vec::new() }
    }

    fn not_before(&mut self, operation: &Operation) {
        if operation.begin > self.earliest.0 {
            self.earliest = (operation.begin, Some(*operation));
        }
    }

    fn not_after(&mut self, operation: &Operation) {
        if operation.end < self.latest.0 {
            self.latest = (operation.end, Some(*operation));
        }
    }
}

/// Checks the operations on one secret. `last` has the values of its versions, from version 1 on, as they were read when
/// all operations had ended. The values of the writes are unique.
pub(crate) fn check(operations: &[Operation], last: &[Value]) -> Result<(), Violation> {
    let versions = version_of_each(last)?;
    // For each version, and for one after the last, which is never written.
    let mut windows: Vec<_> = (0..=last.len()).map(|_| Window::new()).collect();
    let mut written = vec![false; last.len()];
    for operation in operations {
        match operation.action {
            Action::Put(value, condition) => {
                let version = versions.get(&value).copied();
                check_put(operation, condition, version)?;
                if let Some(version) = version {
                    written[index(version)] = true;
                    windows[index(version)].not_before(operation);
                    if matches!(operation.outcome, Outcome::Written(_)) {
                        windows[index(version)].not_after(operation);
                    }
                }
                if operation.outcome == Outcome::Conflict {
                    add_conflict(operation, condition, &mut windows)?;
                }
            }
            Action::Get => match operation.outcome {
                Outcome::Read(version, value) => {
                    if versions.get(&value) != Some(&version) {
                        return Err(Violation::OtherValue(*operation));
                    }
                    windows[index(version)].not_after(operation);
                    windows[index(version + 1)].not_before(operation);
                }
                Outcome::NotFound => windows[0].not_before(operation),
                _ => {}
            },
        }
    }
    if let Some(missing) = written.iter().position(|written| !written) {
        return Err(Violation::NeverWritten(missing as u64 + 1, last[missing]));
    }
    check_order(&windows)
}

/// The place of a version in a list.
fn index(version: u64) -> usize {
    usize::try_from(version).unwrap() - 1
}

fn version_of_each(last: &[Value]) -> Result<HashMap<Value, u64>, Violation> {
    let mut versions = HashMap::with_capacity(last.len());
    for (version, value) in (1..).zip(last) {
        if versions.insert(*value, version).is_some() {
            return Err(Violation::WrittenTwice(*value));
        }
    }
    Ok(versions)
}

/// Compares the outcome of a write with the version that its value has.
fn check_put(
    operation: &Operation,
    condition: Condition,
    version: Option<u64>,
) -> Result<(), Violation> {
    match (operation.outcome, version) {
        (Outcome::Written(acknowledged), version) if version != Some(acknowledged) => {
            return Err(Violation::Lost(*operation));
        }
        (Outcome::Conflict | Outcome::Failed, Some(_)) => {
            return Err(Violation::FailedButWritten(*operation));
        }
        _ => {}
    }
    let is_met = match (condition, version) {
        (Condition::None, _) | (_, None) => true,
        (Condition::MustNotExist, Some(version)) => version == 1,
        (Condition::MustBeVersion(before), Some(version)) => version == before + 1,
    };
    if is_met { Ok(()) } else { Err(Violation::Condition(*operation)) }
}

fn add_conflict(
    operation: &Operation,
    condition: Condition,
    windows: &mut [Window],
) -> Result<(), Violation> {
    match condition {
        Condition::None => return Err(Violation::Conflict(*operation)),
        Condition::MustNotExist if windows.len() == 1 => {
            return Err(Violation::Conflict(*operation));
        }
        Condition::MustNotExist => windows[0].not_after(operation),
        Condition::MustBeVersion(version) => {
            // A version that was never written was never the active one. After the last one, there is only `NEVER`.
            let place = index(version);
            if place + 1 < windows.len() {
                windows[place].conflicts.push(*operation);
            }
        }
    }
    Ok(())
}

/// Looks for moments of all writes that obey all rules.
fn check_order(windows: &[Window]) -> Result<(), Violation> {
    // The operation that has the highest lower bound so far.
    let mut bound: (u64, Option<Operation>) = (0, None);
    // The moments that the last version may have, and the limits that each sets to the next one.
    let mut possible = vec![(0, NEVER)];
    let mut conflicts: &[Operation] = &[];
    let last = windows.len() - 1;
    for (version, window) in (1..).zip(windows) {
        if window.earliest.0 > bound.0 {
            bound = window.earliest;
        }
        if bound.0 > window.latest.0 {
            return Err(out_of_order(version, window, bound.1));
        }
        // What comes after the last version never happens, and so is not limited.
        let is_never = index(version) == last;
        let mut next = Vec::new();
        for (from, to) in limited_by(&possible, conflicts) {
            let moment = if is_never { (NEVER, NEVER) } else { window.moments() };
            if from.max(moment.0) <= to.min(moment.1) {
                next.push((from.max(moment.0), to.min(moment.1)));
            }
        }
        if next.is_empty() {
            let conflict = conflicts.iter().min_by_key(|conflict| conflict.end);
            return Err(conflict.map_or(out_of_order(version, window, bound.1), |conflict| {
                Violation::Conflict(*conflict)
            }));
        }
        possible = merge(next);
        conflicts = &window.conflicts;
    }
    Ok(())
}

fn out_of_order(version: u64, window: &Window, bound: Option<Operation>) -> Violation {
    Violation::Order { version, first: window.latest.1.map(Box::new), second: bound.map(Box::new) }
}

impl Window {
    fn moments(&self) -> (u64, u64) {
        (self.earliest.0, self.latest.0)
    }
}

/// The moments that the next write may have, for the moments of the one before it and the conflicts with that one.
fn limited_by(possible: &[(u64, u64)], conflicts: &[Operation]) -> Vec<(u64, u64)> {
    // From the begin of a conflict on, the earlier write may have come after it; before, the next one limits it.
    let mut begins: Vec<_> = conflicts.iter().map(|conflict| conflict.begin).collect();
    begins.push(0);
    begins.sort_unstable();
    let mut next = Vec::new();
    for (number, begin) in begins.iter().enumerate() {
        // The level of moments in `begin..until`.
        let until = begins.get(number + 1).copied().unwrap_or(NEVER);
        let ends = conflicts.iter().filter(|conflict| conflict.begin > *begin);
        let limit = ends.map(|conflict| conflict.end).min().unwrap_or(NEVER);
        // The earliest of a level allows all that a later one of it does.
        let earliest =
            possible.iter().find(|(_, to)| to >= begin).map(|(from, _)| *from.max(begin));
        if let Some(earliest) = earliest
            && (earliest < until || until == NEVER)
            && earliest <= limit
        {
            next.push((earliest, limit));
        }
    }
    next
}

/// Joins intervals that touch.
fn merge(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in intervals {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sequence: u32) -> Value {
        Value { process: 0, writer: 0, sequence }
    }

    fn put(times: (u64, u64), sequence: u32, condition: Condition, outcome: Outcome) -> Operation {
        let action = Action::Put(value(sequence), condition);
        Operation { begin: times.0, end: times.1, action, outcome }
    }

    fn acknowledged(times: (u64, u64), version: u32) -> Operation {
        put(times, version, Condition::None, Outcome::Written(version.into()))
    }

    fn read(times: (u64, u64), version: u32) -> Operation {
        let outcome = Outcome::Read(version.into(), value(version));
        Operation { begin: times.0, end: times.1, action: Action::Get, outcome }
    }

    fn values(count: u32) -> Vec<Value> {
        (1..=count).map(value).collect()
    }

    #[test]
    fn accepts_operations_one_after_another() {
        let conflict = put((7, 8), 9, Condition::MustBeVersion(1), Outcome::Conflict);
        let history = [acknowledged((1, 2), 1), read((3, 4), 1), acknowledged((5, 6), 2), conflict];
        assert_eq!(check(&history, &values(2)), Ok(()));
    }

    #[test]
    fn finds_a_lost_write() {
        let lost = acknowledged((3, 4), 2);
        let history = [acknowledged((1, 2), 1), lost];
        assert_eq!(check(&history, &values(1)), Err(Violation::Lost(lost)));
        // Another write has its version.
        let replaced = put((5, 6), 3, Condition::None, Outcome::Written(2));
        let found = check(&[history[0], lost, replaced], &[value(1), value(3)]);
        assert_eq!(found, Err(Violation::Lost(lost)));
    }

    #[test]
    fn finds_a_stale_read() {
        let (second, stale) = (acknowledged((3, 4), 2), read((5, 6), 1));
        let found = check(&[acknowledged((1, 2), 1), second, stale], &values(2));
        let order =
            Violation::Order { version: 2, first: Some(second.into()), second: Some(stale.into()) };
        assert_eq!(found, Err(order));
        // One that began before the write ended may be stale.
        let concurrent = read((4, 6), 1);
        assert_eq!(check(&[acknowledged((1, 2), 1), second, concurrent], &values(2)), Ok(()));
    }

    #[test]
    fn finds_reads_that_go_back() {
        let unknown = put((3, 4), 2, Condition::None, Outcome::Unknown);
        let (new, old) = (read((5, 6), 2), read((7, 8), 1));
        let found = check(&[acknowledged((1, 2), 1), unknown, new, old], &values(2));
        let order =
            Violation::Order { version: 2, first: Some(new.into()), second: Some(old.into()) };
        assert_eq!(found, Err(order));
    }

    #[test]
    fn an_unknown_write_may_happen_later_and_one_that_failed_may_not() {
        let write = |outcome| put((3, 4), 2, Condition::None, outcome);
        let history = |outcome| [acknowledged((1, 2), 1), write(outcome), read((5, 6), 1)];
        assert_eq!(check(&history(Outcome::Unknown), &values(2)), Ok(()));
        assert_eq!(check(&history(Outcome::Unknown), &values(1)), Ok(()));
        assert_eq!(check(&history(Outcome::Failed), &values(1)), Ok(()));
        let found = check(&history(Outcome::Failed), &values(2));
        assert_eq!(found, Err(Violation::FailedButWritten(write(Outcome::Failed))));
    }

    #[test]
    fn finds_a_conflict_whose_condition_held() {
        let wrong = put((5, 6), 9, Condition::MustBeVersion(1), Outcome::Conflict);
        let history = [acknowledged((1, 2), 1), wrong, acknowledged((7, 8), 2)];
        assert_eq!(check(&history, &values(2)), Err(Violation::Conflict(wrong)));
        let concurrent = [acknowledged((1, 5), 1), wrong, acknowledged((7, 8), 2)];
        assert_eq!(check(&concurrent, &values(2)), Ok(()));
    }

    #[test]
    fn finds_conflicts_of_which_each_alone_would_be_right() {
        // The first one has to come after version 2, and the second one before it.
        let after = put((3, 5), 8, Condition::MustBeVersion(1), Outcome::Conflict);
        let before = put((7, 8), 9, Condition::MustBeVersion(2), Outcome::Conflict);
        let first = acknowledged((1, 2), 1);
        let second = acknowledged((4, 10), 2);
        let third = acknowledged((11, 12), 3);
        for conflicts in [vec![after], vec![before]] {
            let history = [vec![first, second, third], conflicts].concat();
            assert_eq!(check(&history, &values(3)), Ok(()));
        }
        let found = check(&[first, second, third, after, before], &values(3));
        assert!(matches!(found, Err(Violation::Conflict(_))), "{found:?}");
    }

    #[test]
    fn finds_a_missing_secret_that_was_written() {
        let missing =
            Operation { begin: 3, end: 4, action: Action::Get, outcome: Outcome::NotFound };
        let first = acknowledged((1, 2), 1);
        let order = Violation::Order {
            version: 1,
            first: Some(first.into()),
            second: Some(missing.into()),
        };
        assert_eq!(check(&[first, missing], &values(1)), Err(order));
        assert_eq!(check(&[acknowledged((1, 3), 1), missing], &values(1)), Ok(()));
    }

    #[test]
    fn finds_a_success_whose_condition_did_not_hold() {
        for condition in [Condition::MustBeVersion(7), Condition::MustNotExist] {
            let write = put((3, 4), 2, condition, Outcome::Written(2));
            let found = check(&[acknowledged((1, 2), 1), write], &values(2));
            assert_eq!(found, Err(Violation::Condition(write)));
        }
    }
}
