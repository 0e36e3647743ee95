//! Which versions of a secret are still to be written: a pure function of the values in both stores, oldest first.
//!
//! | the target has | without `overwrite` | with `overwrite` |
//! |---|---|---|
//! | nothing | all versions | all versions |
//! | the first versions of the source, alone | the others | the others |
//! | the last versions of the source, alone: it keeps fewer | nothing | nothing |
//! | versions from the middle of the source, alone | those after them | those after them |
//! | other versions, and then all of the source | nothing | nothing |
//! | other versions, and then the first of the source | skipped | the others |
//! | anything else | skipped | all versions, after those it has |

/// What is to be done with one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Write the source's versions from this one on. If there is none, the target has all.
    WriteFrom(usize),
    /// The target has other values.
    Skip,
}

pub(super) fn plan<T>(
    source: &[T],
    target: &[T],
    overwrite: bool,
    is_same: impl Fn(&T, &T) -> bool,
) -> Plan {
    let same = |ours: &[T], theirs: &[T]| {
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_same(a, b))
    };
    // The target's versions are the source's up to `end`, or the last `end` of the target's are all up to there.
    let is_part_up_to = |end: usize| {
        let start = end.checked_sub(target.len());
        start.and_then(|start| source.get(start..end)).is_some_and(|part| same(part, target))
    };
    let ends_with_first = |end: usize| {
        let start = target.len().checked_sub(end);
        let tail = start.and_then(|start| target.get(start..));
        tail.zip(source.get(..end)).is_some_and(|(tail, first)| same(first, tail))
    };
    let all = source.len();
    if target.is_empty() {
        return Plan::WriteFrom(0);
    }
    // The first versions come before those of a target that keeps fewer: to write a version twice does less harm
    // than to leave one out.
    if is_part_up_to(target.len()) {
        return Plan::WriteFrom(target.len());
    }
    if ends_with_first(all) {
        return Plan::WriteFrom(all);
    }
    if let Some(end) = (1..=all).rev().find(|end| is_part_up_to(*end)) {
        return Plan::WriteFrom(end);
    }
    if !overwrite {
        return Plan::Skip;
    }
    Plan::WriteFrom((1..all).rev().find(|end| ends_with_first(*end)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(source: &str, target: &str, overwrite: bool) -> Plan {
        let (source, target): (Vec<_>, Vec<_>) =
            (source.chars().collect(), target.chars().collect());
        super::plan(&source, &target, overwrite, |a, b| a == b)
    }

    #[test]
    fn plans_as_the_table_says() {
        use Plan::{Skip, WriteFrom};
        for (source, target, kept, overwritten) in [
            ("abc", "", WriteFrom(0), WriteFrom(0)),
            ("abc", "a", WriteFrom(1), WriteFrom(1)),
            ("abc", "abc", WriteFrom(3), WriteFrom(3)),
            ("abc", "bc", WriteFrom(3), WriteFrom(3)),
            ("abcd", "bc", WriteFrom(3), WriteFrom(3)),
            ("abc", "xyabc", WriteFrom(3), WriteFrom(3)),
            ("abc", "xyab", Skip, WriteFrom(2)),
            ("abc", "xy", Skip, WriteFrom(0)),
            ("abc", "cx", Skip, WriteFrom(0)),
            ("aba", "a", WriteFrom(1), WriteFrom(1)),
            ("a", "b", Skip, WriteFrom(0)),
            ("a", "ba", WriteFrom(1), WriteFrom(1)),
        ] {
            assert_eq!(plan(source, target, false), kept, "{source} {target}");
            assert_eq!(plan(source, target, true), overwritten, "{source} {target}");
        }
    }

    proptest! {
        /// A run that is killed after any number of writes, of a target that keeps any number of versions, is
        /// finished by the next one, and a third one writes nothing unless versions that were dropped come again.
        #[test]
        fn a_second_run_finishes_the_first(
            source in "[ab]{1,5}", before in "[abx]{0,3}", killed in 0_usize..6, kept in 1_usize..8,
        ) {
            let run = |target: &mut String, limit: usize| {
                let Plan::WriteFrom(start) = plan(&source, target, true) else { unreachable!() };
                let written: String = source.chars().skip(start).take(limit).collect();
                target.push_str(&written);
                let count = target.chars().count();
                *target = target.chars().skip(count.saturating_sub(kept)).collect();
                written.len()
            };
            let mut target = before;
            run(&mut target, killed);
            run(&mut target, usize::MAX);
            let newest: String = source.chars().rev().take(kept).collect();
            let found: String = target.chars().rev().take(newest.len()).collect();
            prop_assert!(!found.is_empty() && newest.starts_with(&found), "{found} is not {newest}");
            if kept >= 7 + source.len() {
                prop_assert_eq!(run(&mut target, usize::MAX), 0);
            }
        }
    }
}
