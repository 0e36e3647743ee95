//! Every case, by theme.

mod conditions;
mod delete;
mod expiry;
mod lifecycle;
mod limits;
mod list;
mod metadata;
mod read;
mod surroundings;
mod versions;
mod write;

use super::Case;

/// All cases.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    [
        read::CASES,
        write::CASES,
        conditions::CASES,
        delete::CASES,
        versions::CASES,
        metadata::CASES,
        expiry::CASES,
        limits::CASES,
        list::CASES,
        lifecycle::CASES,
        surroundings::CASES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_cases_have_the_same_name() {
        let names: BTreeSet<_> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), all().count());
    }
}
