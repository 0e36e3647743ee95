//! What an import does with one secret: a pure function of what the store has at its path.
//!
//! | the path has | without `overwrite` | with `overwrite` |
//! |---|---|---|
//! | no secret | created | created |
//! | the same value and no metadata, while the import sets some | completed | completed |
//! | the same value, while the import sets other metadata | unchanged | overwritten: the metadata |
//! | the same value otherwise | unchanged | unchanged |
//! | another value, or one that may not be read or is not to be compared | skipped | overwritten |
//! | a secret that has expired | skipped | overwritten: the value, and the expiry by that of the import or by none |
//! | a deleted secret | refused | overwritten |
//!
//! The second row is what a store may have that writes metadata after the value, if an earlier run was killed
//! between the two. An expiry counts as other metadata only if the secret has none: that of an import is reckoned
//! from its start.

use strongroom_core::{Error, ErrorKind, Metadata, MetadataPatch, Secret, SecretValue, Version};

use super::EntryReport;
use super::report::ImportOutcome;

/// What the store has at a path.
pub(super) enum Existing {
    Missing,
    /// A secret that can be undeleted.
    Deleted,
    /// A secret that cannot be compared.
    Unreadable,
    /// A secret that is not to be compared, and its version.
    Uncompared(Version),
    /// A secret that has expired, and its version.
    Expired(Version),
    Readable(Secret),
}

/// What the import does there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    /// Writes the value; with a version, only if that is the active one.
    Replace(Option<Version>),
    /// Writes the value if this is the active version, and removes an expiry that the import does not set: with
    /// it, the new value could not be read either.
    Renew(Version),
    /// Sets the metadata that an earlier run did not come to set.
    Complete,
    /// Sets metadata.
    Annotate,
    Keep,
    Skip,
    Refuse,
}

impl Action {
    /// What the import reports of it.
    pub(super) fn report(&self) -> EntryReport {
        let outcome = match self {
            Self::Create => ImportOutcome::Created,
            Self::Replace(_) | Self::Renew(_) | Self::Annotate => ImportOutcome::Overwritten,
            Self::Complete => ImportOutcome::Completed,
            Self::Keep => ImportOutcome::Unchanged,
            Self::Skip => ImportOutcome::Skipped,
            Self::Refuse => {
                let advice = "undelete it, destroy it, or import with `overwrite`";
                let error = Error::new(ErrorKind::Conflict, advice);
                return EntryReport::refused(error.because("the path has a deleted secret"));
            }
        };
        outcome.into()
    }
}

pub(super) fn decide(
    value: &SecretValue,
    metadata: &MetadataPatch,
    existing: &Existing,
    overwrite: bool,
) -> Action {
    match existing {
        Existing::Missing => Action::Create,
        Existing::Deleted if !overwrite => Action::Refuse,
        Existing::Unreadable | Existing::Uncompared(_) | Existing::Expired(_) if !overwrite => {
            Action::Skip
        }
        Existing::Uncompared(version) => Action::Replace(Some(version.clone())),
        Existing::Expired(version) => Action::Renew(version.clone()),
        Existing::Deleted | Existing::Unreadable => Action::Replace(None),
        Existing::Readable(secret) if secret.value().is_equivalent(value) => {
            let found = secret.metadata();
            match sets_more(metadata, found) {
                true if is_blank(found) => Action::Complete,
                true if overwrite => Action::Annotate,
                _ => Action::Keep,
            }
        }
        Existing::Readable(_) if !overwrite => Action::Skip,
        Existing::Readable(secret) => Action::Replace(Some(secret.version().clone())),
    }
}

/// Whether a patch sets what is not there. One over a limit sets nothing, and an expiry is not replaced by another.
fn sets_more(patch: &MetadataPatch, found: &Metadata) -> bool {
    let mut changed = found.clone();
    if patch.apply(&mut changed).is_err() {
        return false;
    }
    if found.expires_at.is_some() {
        changed.expires_at = found.expires_at;
    }
    changed != *found
}

/// Whether nothing is set.
fn is_blank(found: &Metadata) -> bool {
    let mut blank = Metadata::default();
    blank.created_at = found.created_at;
    blank.updated_at = found.updated_at;
    *found == blank
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use strongroom_core::{SecretPath, Tier};

    use super::*;

    fn path() -> SecretPath {
        SecretPath::parse("a").unwrap()
    }

    fn existing(value: &str, patch: &MetadataPatch) -> Existing {
        let mut metadata = Metadata::default();
        patch.apply(&mut metadata).unwrap();
        metadata.created_at = Some(SystemTime::UNIX_EPOCH);
        Existing::Readable(Secret::new(path(), 3.into(), metadata, value.into()))
    }

    #[test]
    fn decides_as_the_table_says() {
        let critical = MetadataPatch::new().tier(Tier::Critical);
        let other = MetadataPatch::new().tag("team", "payments");
        let (none, replace) = (MetadataPatch::new(), Action::Replace(Some(3.into())));
        let expired = Existing::Expired(3.into());
        for (existing, wanted, kept, overwritten) in [
            (Existing::Missing, &critical, Action::Create, Action::Create),
            (existing("v", &none), &critical, Action::Complete, Action::Complete),
            (existing("v", &other), &critical, Action::Keep, Action::Annotate),
            (existing("v", &critical), &critical, Action::Keep, Action::Keep),
            (existing("v", &none), &none, Action::Keep, Action::Keep),
            (existing("w", &none), &critical, Action::Skip, replace),
            (Existing::Unreadable, &none, Action::Skip, Action::Replace(None)),
            (Existing::Uncompared(3.into()), &none, Action::Skip, Action::Replace(Some(3.into()))),
            (expired, &none, Action::Skip, Action::Renew(3.into())),
            (Existing::Deleted, &none, Action::Refuse, Action::Replace(None)),
        ] {
            assert_eq!(decide(&"v".into(), wanted, &existing, false), kept);
            assert_eq!(decide(&"v".into(), wanted, &existing, true), overwritten);
        }
    }

    #[test]
    fn a_later_expiry_alone_changes_nothing() {
        let expiring = |days: u64| {
            let time = SystemTime::now() + Duration::from_secs(days * 86_400);
            MetadataPatch::new().expires_at(time)
        };
        let found = existing("v", &expiring(30));
        assert_eq!(decide(&"v".into(), &expiring(31), &found, true), Action::Keep);
        let found = existing("v", &MetadataPatch::new().tag("a", "b"));
        assert_eq!(decide(&"v".into(), &expiring(31), &found, true), Action::Annotate);
    }
}
