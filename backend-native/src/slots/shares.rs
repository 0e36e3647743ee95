//! Recovery shares: the key of a slot, split by Shamir's secret sharing and written as words of SLIP-0039.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use strongroom_core::{Error, ErrorKind, FilePath, Problems, Result, Setting};
use strongroom_recovery::{SetError, Share, ShareError, ShareSet, SplitError};
use zeroize::Zeroizing;

use super::row::SlotRow;
use super::{NewSlot, check_label};
use crate::crypto::{self, KeyBytes};
use crate::file;
use crate::settings::SHARES_FILE;
use crate::storage::Tables;

/// The kind of the slots that shares open.
pub(super) const KIND: &str = "shares";
/// A larger file is not one with shares, in bytes: 16 shares have 4.6 KiB, and about 110 KiB with a QR code of each.
const MAX_FILE: u64 = 128 * 1024;
/// What is wrong with a share that another program has made for something else.
const FOREIGN: &str = "it is a share of SLIP-0039, but of another kind than those of a store";
/// An identifier has 15 bits.
const IDENTIFIER_MASK: u16 = 0x7fff;

/// New recovery shares of a store, which exist nowhere else: give each to its holder. They open nothing until
/// [`add_recovery_slot`](crate::NativeBackend::add_recovery_slot). `Debug` shows numbers alone.
#[non_exhaustive]
pub struct RecoveryShares {
    /// What all shares of this set have in common, in the clear: 15 random bits.
    pub identifier: u16,
    /// How many of them open the slot.
    pub threshold: u8,
    shares: Vec<SecretString>,
    slot: NewSlot,
}

impl RecoveryShares {
    /// The shares in the order of their numbers, from 1 on: 33 words of SLIP-0039 each, with a space between them.
    #[must_use]
    pub fn shares(&self) -> &[SecretString] {
        &self.shares
    }

    /// Makes the shares of a new slot, with an identifier that no slot of the store has.
    pub(crate) fn split(
        tables: &dyn Tables,
        threshold: u8,
        shares: u8,
        label: Option<String>,
    ) -> Result<Self> {
        check_label(label.as_deref())?;
        let rows = SlotRow::load_all(tables)?;
        let taken: Vec<_> = rows.iter().filter_map(|row| identifier_of(&row.parameters)).collect();
        let identifier = loop {
            let identifier = u16::from_be_bytes(crypto::random()?) & IDENTIFIER_MASK;
            if !taken.contains(&identifier) {
                break identifier;
            }
        };
        let key = crypto::random_key()?;
        let split = strongroom_recovery::split(&*key, threshold, shares, identifier);
        let split = split.map_err(|error| match error {
            SplitError::Counts => Error::new(ErrorKind::InvalidInput, error.to_string())
                .because("the numbers of recovery shares are not valid"),
            _ => Error::new(ErrorKind::Internal, "report this with the platform you run on")
                .because(error.to_string()),
        })?;
        let parameters =
            json!({ "identifier": identifier, "threshold": threshold, "shares": shares });
        let slot = NewSlot { kind: KIND, parameters: parameters.to_string(), key, label };
        let shares = split.iter().map(Share::to_words).collect();
        Ok(Self { identifier, threshold, shares, slot })
    }

    /// The slot that they open.
    pub(crate) fn new_slot(&self) -> NewSlot {
        self.slot.clone()
    }
}

impl fmt::Debug for RecoveryShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryShares")
            .field("identifier", &self.identifier)
            .field("threshold", &self.threshold)
            .field("shares", &self.shares.len())
            .finish_non_exhaustive()
    }
}

/// The key of a slot, from its shares.
pub(crate) struct CombinedShares {
    pub(super) identifier: u16,
    pub(super) key: KeyBytes,
}

/// Reads a file with shares, and combines them.
pub(super) fn read(path: &Path, group: Option<u32>) -> Result<CombinedShares> {
    let content = file::read_secret_up_to(MAX_FILE, path, SHARES_FILE, group)?;
    let place = format!("`{SHARES_FILE}`: {}", FilePath::new(path));
    let Ok(text) = std::str::from_utf8(&content) else {
        return Err(Error::config(vec![format!("{place}: it is not UTF-8 text")]));
    };
    let lines = (1..).zip(text.lines().map(str::trim));
    let shares = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    combine_from(&place, shares.map(|(number, line)| (format!("line {number}"), line)))
}

/// Combines shares that the caller has.
pub(super) fn combine(shares: &[SecretString], setting: Setting) -> Result<CombinedShares> {
    let numbered = (1..).zip(shares);
    let named = numbered.map(|(number, share)| (format!("item {number}"), share.expose_secret()));
    combine_from(&format!("`{setting}`"), named)
}

/// Combines shares, each with the words that tell where it comes from.
fn combine_from<'a>(
    place: &str,
    shares: impl Iterator<Item = (String, &'a str)>,
) -> Result<CombinedShares> {
    let mut problems = Problems::new();
    let mut set = ShareSet::new();
    for (position, text) in shares {
        let share = Share::parse(text).map_err(|error| describe_share_error(&error));
        let share = share.and_then(|share| {
            // Others may cost hours to combine, and are not of a store.
            if share.is_of_key() { Ok(share) } else { Err(FOREIGN.to_owned()) }
        });
        if let Err(complaint) =
            share.and_then(|share| set.add(share).map_err(|error| error.to_string()))
        {
            problems.add(format!("{place}: {position}: {complaint}"));
        }
    }
    problems.into_result()?;
    let failed = |complaint: String| Error::config(vec![format!("{place}: {complaint}")]);
    let Some(identifier) = set.identifier() else {
        return Err(failed("it holds no recovery share; write one on each line".into()));
    };
    let key = set.recover(b"").map_err(|error| match error {
        SetError::TooFew { .. } => failed(format!("{error} of the set {identifier}")),
        _ => failed(error.to_string()),
    })?;
    let key = key.as_slice().try_into().map(Zeroizing::new);
    let key = key.map_err(|_| failed("the shares are not those of a key of 32 bytes".into()))?;
    Ok(CombinedShares { identifier, key })
}

fn describe_share_error(error: &ShareError) -> String {
    match error {
        ShareError::Checksum => {
            format!("{error}; compare each with the share as it was written down")
        }
        _ => error.to_string(),
    }
}

/// Shares are made for a slot, and not the other way round.
pub(super) fn no_new_slot() -> Error {
    Error::new(ErrorKind::InvalidInput, "add a slot with new shares: `new_recovery_shares`")
        .because("recovery shares that exist cannot open a new slot")
}

/// The identifier of the shares that open a slot.
pub(super) fn identifier_of(parameters: &str) -> Option<u16> {
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    parameters.get("identifier")?.as_u64()?.try_into().ok()
}

/// How many of how many shares open a slot, and their identifier.
pub(super) fn describe(parameters: &str) -> Option<String> {
    let identifier = identifier_of(parameters)?;
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    let number = |name| parameters.get(name)?.as_u64();
    Some(format!("{} of {}, set {identifier}", number("threshold")?, number("shares")?))
}
