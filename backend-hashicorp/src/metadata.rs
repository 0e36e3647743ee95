//! Metadata in the `custom_metadata` of KV version 2: at most 64 entries, names of 1 to 128 bytes,
//! values of 1 to 512 bytes of printable characters.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use strongroom_core::{Error, ErrorKind, Metadata, Result, Rfc3339};

use crate::response::{KvMetadata, VersionState};

const KIND: &str = "strongroom.kind";
const TIER: &str = "strongroom.tier";
const DESCRIPTION: &str = "strongroom.description";
const EXPIRES_AT: &str = "strongroom.expires_at";
const ROTATION_INTERVAL: &str = "strongroom.rotation_interval";
const CREATED_BY: &str = "strongroom.created_by";
const UPDATED_BY: &str = "strongroom.updated_by";
/// The prefix of the names of Strongroom's own entries; no tag's name begins with it.
const RESERVED_PREFIX: &str = "strongroom";
/// Precedes the values of tags that are empty, which the server rejects, or that begin with it.
const ESCAPE: &str = "strongroom:";

/// How far ahead the server's clock may be when it records the time of a delete.
const MAX_SERVER_CLOCK_LEAD: Duration = Duration::from_secs(10);

/// How far apart the deletion times are that a server records for the versions of one request.
const MAX_SPREAD_OF_ONE_DELETE: Duration = Duration::from_millis(10);

/// The most entries that the server stores. It only counts those of a change.
const MAX_ENTRIES: usize = 64;

/// How far the clocks of the server and of this machine may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);

/// A secret's `custom_metadata`.
pub(crate) type Entries = BTreeMap<String, String>;

/// Changes of entries; `None` removes an entry.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

/// Parses entries. Entries of other tools become tags.
pub(crate) fn parse_custom_metadata(entries: Option<&Entries>) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for (name, text) in entries.into_iter().flatten() {
        match name.as_str() {
            KIND => metadata.kind = text.parse().map_err(|_| corrupt(KIND))?,
            TIER => metadata.tier = text.parse().map_err(|_| corrupt(TIER))?,
            DESCRIPTION => metadata.description = Some(text.clone()),
            CREATED_BY => metadata.created_by = Some(text.clone()),
            UPDATED_BY => metadata.updated_by = Some(text.clone()),
            EXPIRES_AT => {
                let time = humantime::parse_rfc3339(text).map_err(|_| corrupt(EXPIRES_AT))?;
                metadata.expires_at = Some(time);
            }
            ROTATION_INTERVAL => {
                let interval = humantime::parse_duration(text);
                metadata.rotation_interval =
                    Some(interval.map_err(|_| corrupt(ROTATION_INTERVAL))?);
            }
            name if name.starts_with(RESERVED_PREFIX) => {}
            name => {
                let text = text.strip_prefix(ESCAPE).unwrap_or(text);
                metadata.tags.insert(name.to_owned(), text.to_owned());
            }
        }
    }
    Ok(metadata)
}

/// Encodes metadata as entries.
pub(crate) fn to_entries(metadata: &Metadata) -> Entries {
    let mut entries = Entries::new();
    let mut set = |name: &str, text: String| entries.insert(name.to_owned(), text);
    let default = Metadata::default();
    if metadata.kind != default.kind {
        set(KIND, metadata.kind.to_string());
    }
    if metadata.tier != default.tier {
        set(TIER, metadata.tier.to_string());
    }
    for (name, text) in [
        (DESCRIPTION, &metadata.description),
        (CREATED_BY, &metadata.created_by),
        (UPDATED_BY, &metadata.updated_by),
    ] {
        if let Some(text) = text {
            set(name, text.clone());
        }
    }
    if let Some(time) = metadata.expires_at {
        set(EXPIRES_AT, Rfc3339::millis(time).to_string());
    }
    if let Some(interval) = metadata.rotation_interval {
        set(ROTATION_INTERVAL, humantime::format_duration(interval).to_string());
    }
    for (name, text) in &metadata.tags {
        let escaped = text.is_empty() || text.starts_with(ESCAPE);
        set(name, if escaped { format!("{ESCAPE}{text}") } else { text.clone() });
    }
    entries
}

/// The merge patch that turns `old` into `new`. `stored` are all entries of the secret.
pub(crate) fn diff(stored: &Entries, old: &Entries, new: &Entries) -> Result<Changes> {
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    let mut changes: Changes = removed.map(|name| (name.clone(), None)).collect();
    let is_new = |(name, text): &(&String, &String)| old.get(*name) != Some(text);
    changes
        .extend(new.iter().filter(is_new).map(|(name, text)| (name.clone(), Some(text.clone()))));
    if !changes.values().flatten().all(|text| text.chars().all(is_printable)) {
        return Err(invalid(
            "the server accepts only printable characters in metadata, and no white space other \
             than U+0020",
        ));
    }
    let kept = stored.keys().filter(|name| !changes.contains_key(*name)).count();
    let count = kept + changes.values().flatten().count();
    if count > MAX_ENTRIES && count > stored.len() {
        return Err(invalid("the server stores at most 64 entries of metadata for a secret"));
    }
    Ok(changes)
}

fn invalid(cause: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, "use other tags or another description").because(cause)
}

/// Whether servers surely accept a character as printable: the server's own rejection would come
/// after the value is written.
fn is_printable(character: char) -> bool {
    // A combining mark is not escaped if it follows a letter.
    let shown: String = ['a', character].into_iter().collect();
    let is_escaped = shown.escape_debug().count() > 2 && !matches!(character, '"' | '\'' | '\\');
    character == ' ' || (!character.is_whitespace() && !is_escaped)
}

impl KvMetadata {
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut metadata = parse_custom_metadata(self.custom_metadata.as_ref())?;
        metadata.created_at = parse_time(&self.created_time);
        metadata.updated_at = parse_time(&self.updated_time);
        Ok(metadata)
    }

    /// The versions that can be read, oldest first.
    pub(crate) fn readable(&self) -> impl DoubleEndedIterator<Item = (u64, &VersionState)> {
        let now = SystemTime::now();
        let versions = self.versions.iter().map(|(number, state)| (*number, state));
        versions.filter(move |(_, state)| !state.destroyed && !state.is_deleted(now))
    }

    /// The versions that a delete must include: none if the server surely returns none of them any
    /// more. Only the server's clock knows whether a version with a set end is deleted. Versions that
    /// are deleted already are included, because another client may be undeleting them.
    pub(crate) fn versions_to_delete(&self) -> Vec<u64> {
        let surely_past = SystemTime::now().checked_sub(MAX_CLOCK_SKEW);
        let may_be_readable = |state: &VersionState| {
            state.deletion_time.is_empty()
                || state.deleted_at().zip(surely_past).is_none_or(|(at, past)| at > past)
        };
        let versions = self.versions.iter().filter(|(_, state)| !state.destroyed);
        let is_needed = versions.clone().any(|(_, state)| may_be_readable(state));
        versions.filter(|_| is_needed).map(|(number, _)| *number).collect()
    }

    /// The versions that one request has deleted together with the active one and that can be
    /// undeleted. Others were deleted separately, or have reached `delete_version_after`.
    pub(crate) fn deleted_with_active(&self) -> Vec<u64> {
        let now = SystemTime::now();
        let active = self.versions.get(&self.current_version);
        let Some(deleted_at) =
            active.filter(|state| state.is_deleted(now)).map(VersionState::deleted_at)
        else {
            return Vec::new();
        };
        let is_same_delete = |state: &VersionState| {
            let (one, other) = (state.deleted_at(), deleted_at);
            one == other
                || one.zip(other).is_some_and(|(one, other)| {
                    one.max(other)
                        .duration_since(one.min(other))
                        .is_ok_and(|gap| gap <= MAX_SPREAD_OF_ONE_DELETE)
                })
        };
        let select = |(number, state): (&u64, &VersionState)| {
            (!state.destroyed && state.is_deleted(now) && is_same_delete(state)).then_some(*number)
        };
        self.versions.iter().filter_map(select).collect()
    }

    /// The versions that a write must undelete, because it makes a deleted secret live again. None
    /// if the active version has reached `delete_version_after`: expired versions stay hidden.
    pub(crate) fn versions_to_undelete(&self) -> Vec<u64> {
        let active = self.versions.get(&self.current_version);
        let is_deleted = active.is_some_and(|state| !state.destroyed && !state.has_set_end());
        if is_deleted { self.deleted_with_active() } else { Vec::new() }
    }

    /// Whether the active version can be read.
    pub(crate) fn is_live(&self) -> bool {
        self.readable().any(|(number, _)| number == self.current_version)
    }

    /// Whether the active version is deleted and can be undeleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted_with_active().contains(&self.current_version)
    }
}

impl VersionState {
    fn is_deleted(&self, now: SystemTime) -> bool {
        // The server records a delete by its own clock, which may be ahead of this machine's.
        let lead = if self.has_set_end() { Duration::ZERO } else { MAX_SERVER_CLOCK_LEAD };
        // If the time cannot be parsed, hide the version.
        !self.deletion_time.is_empty() && self.deleted_at().is_none_or(|at| at <= now + lead)
    }

    fn deleted_at(&self) -> Option<SystemTime> {
        parse_time(&self.deletion_time)
    }

    /// Whether `delete_version_after` has set its end when it was written: whole seconds later, to
    /// the nanosecond.
    fn has_set_end(&self) -> bool {
        let parse = |text: &str| humantime::parse_rfc3339(text).ok();
        let life = parse(&self.created_time)
            .zip(parse(&self.deletion_time))
            .and_then(|(created, deleted)| deleted.duration_since(created).ok());
        life.is_some_and(|life| life.subsec_nanos() == 0)
    }

    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        parse_time(&self.created_time)
    }
}

/// Parses a time of RFC 3339, cut off to the millisecond.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let whole = Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000);
    Some(SystemTime::UNIX_EPOCH + whole)
}

fn corrupt(entry: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "correct or remove it with the store's own tools").because(
        format!("the entry `{entry}` in the secret's custom metadata has an invalid value"),
    )
}

#[cfg(test)]
mod tests;
