//! Why a store does not open with its keys.

use std::collections::BTreeSet;

use strongroom_core::{Error, ErrorKind, FilePath, Setting};

use super::secret::{self, SlotSecret};
use crate::config::{KeySource, quote};
use crate::crypto::NotAuthentic;
use crate::error::store_corrupt;
use crate::key_file;
use crate::store_name::StoreName;

/// The key opens none of the slots of its kind.
pub(crate) fn wrong_key() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "give a key or passphrase that opens a slot of this store; nothing was changed",
    )
    .because("the key does not open this store")
}

/// The error of a key for a store that is opened with passphrases alone, or the other way round. `kinds` are those of its
/// slots.
pub(crate) fn wrong_kind<'a>(
    given: &SlotSecret,
    kinds: impl IntoIterator<Item = &'a str>,
) -> Error {
    let kinds: BTreeSet<&str> = kinds.into_iter().collect();
    let settings: Vec<Setting> =
        kinds.iter().flat_map(|kind| secret::settings_of(kind)).copied().collect();
    if settings.is_empty() {
        return store_corrupt("the store has no key slot that this release can open");
    }
    let kinds: Vec<String> = kinds.into_iter().map(secret::describe).collect();
    let problem = format!(
        "this store is opened with {}, not {}: set one of {}",
        kinds.join(" or "),
        secret::describe(given.kind()),
        quote(&settings)
    );
    Error::config(vec![problem])
}

/// The recovery shares open none of the slots of shares, which have these identifiers.
pub(super) fn wrong_shares(given: u16, identifiers: &[u16]) -> Error {
    let cause = if identifiers.contains(&given) {
        format!(
            "they belong to another set than the store's, although both have the identifier {given}"
        )
    } else {
        let sets: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
        format!(
            "they are of the set {given}, and the store has slots for the set {}",
            sets.join(", ")
        )
    };
    let advice =
        "give shares of a set that the store has, or name another store; nothing was changed";
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

/// Says that the key file of a store that exists is missing.
pub(super) fn name_missing_key_file(error: Error, source: &KeySource, store: &StoreName) -> Error {
    match source {
        KeySource::KeyFile(file) if key_file::is_missing(file) => {
            let setting = source.setting();
            Error::config(vec![format!(
                "`{setting}`: {}: the key file is missing, but the store {} exists; restore the key \
                 file from its backup, since the store cannot be read without it",
                FilePath::new(file),
                store
            )])
        }
        _ => error,
    }
}

/// Names the setting and the store in the error of a wrong key.
pub(super) fn name_key(error: Error, source: &KeySource, store: &StoreName) -> Error {
    if error.kind() != ErrorKind::Unauthenticated {
        return error;
    }
    let setting = source.setting();
    match source {
        // The error of a key outside names the key and its service.
        KeySource::Wrapping(_) => error,
        KeySource::RecoveryShares(_) => {
            let cause = format!("the recovery shares do not open {store}: {}", error.cause());
            error.because(cause)
        }
        KeySource::RecoverySharesFile(_) => {
            let cause = format!("`{setting}` does not open {store}: {}", error.cause());
            error.because(cause)
        }
        _ => error.because(format!("`{setting}` does not open {store}")),
    }
}

/// The error of several sources of which none opens the store: that of the first, or of one that may open it later, with
/// the causes of all.
pub(super) fn none_opens(failures: Vec<(Setting, Error)>) -> Error {
    let causes: Vec<String> = failures
        .iter()
        .map(|(_, error)| match error.problems() {
            [] => error.cause().to_owned(),
            problems => problems.join("; "),
        })
        .collect();
    let temporary = failures.iter().position(|(_, error)| error.is_temporary());
    let Some((_, error)) = failures.into_iter().nth(temporary.unwrap_or(0)) else {
        return wrong_key();
    };
    if causes.len() == 1 {
        return error;
    }
    if error.kind() == ErrorKind::Config {
        return Error::config(causes);
    }
    let advice = error.advice().to_owned();
    Error::new(error.kind(), advice).because(causes.join("; ")).temporary(error.is_temporary())
}

/// A slot, or a part of it, is not as it was written.
pub(super) fn changed(_: NotAuthentic) -> Error {
    store_corrupt("a key slot fails authentication: it was damaged or edited")
}
