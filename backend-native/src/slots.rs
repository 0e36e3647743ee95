//! Key slots: each opens the store with a key of its own, as the key slots of a LUKS volume do.

mod error;
mod row;
mod seal;
mod secret;
mod shares;

use std::sync::Arc;
use std::time::SystemTime;

use strongroom_core::{Error, ErrorKind, Result};
use tracing::warn;

use crate::argon2id::Argon2id;
use crate::config::KeySource;
use crate::crypto::{self, KeyBytes, NotAuthentic, PrivateKey};
use crate::key_ring::{KeyRing, StoreRow};
use crate::root_key::RootKey;
use crate::row_keys::RowKeys;
use crate::secret_row;
use crate::storage::{Snapshot, Tables};
use crate::store_name::StoreName;
use error::{changed, name_key, name_missing_key_file, none_opens};
pub(crate) use error::{wrong_key, wrong_kind};
pub(crate) use row::SlotRow;
use seal::NotOpened;
#[cfg(fuzzing)]
pub(crate) use seal::fuzz;
pub(crate) use secret::SlotSecret;
pub use shares::RecoveryShares;

/// The number of the slot that a new store has.
pub(crate) const FIRST: u32 = 1;
/// How many slots a store has at most.
const MAX_SLOTS: usize = 8;
/// The longest label, in bytes.
const MAX_LABEL: usize = 64;
/// A slot that opens the store again within this time is not written, in milliseconds.
const OPENED_AT_RESOLUTION: i64 = 3_600_000;

/// A key slot of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// The slot's number.
    pub id: u32,
    /// What opens it: `key`, `passphrase`, `shares`, or the [kind](strongroom_core::WrappingKey::kind) of a key in a KMS or an
    /// HSM.
    pub kind: String,
    /// The name of that key at its service. Of recovery shares, how many of how many open it, and the identifier that they
    /// have in common, such as `3 of 5, set 17422`.
    pub key_id: Option<String>,
    /// What the operator calls it.
    pub label: Option<String>,
    /// When it was added; for the slot of a store that an earlier release has created, when that was.
    pub created_at: SystemTime,
    /// When it last opened the store, to the hour.
    pub opened_at: Option<SystemTime>,
    /// Whether this `NativeBackend` has opened the store with it.
    pub is_current: bool,
}

/// The slot that has opened a store, and finds its root key again after that was replaced.
pub(crate) struct OpenedSlot {
    id: u32,
    /// As stored. Another slot that gets the same number later has another one.
    sealed: Vec<u8>,
    private: PrivateKey,
}

/// A slot to add, whose key is derived: for a passphrase that takes about 0.2 s, and a key outside may be slow, which no
/// transaction waits for.
#[derive(Clone)]
pub(crate) struct NewSlot {
    kind: &'static str,
    parameters: String,
    key: KeyBytes,
    label: Option<String>,
}

impl NewSlot {
    pub(crate) fn new(
        secret: &SlotSecret,
        store_id: &[u8; 16],
        label: Option<String>,
    ) -> Result<Self> {
        check_label(label.as_deref())?;
        let (parameters, key) = secret.new_slot(store_id)?;
        Ok(Self { kind: secret.kind(), parameters, key, label })
    }

    /// The slot that takes the place of what a store of schema 1 has in its table `store`. The key of that was the root
    /// key itself.
    pub(crate) fn of_schema_1(argon2id: Option<&Argon2id>, root: &KeyBytes) -> Self {
        let (kind, parameters) = match argon2id {
            None => ("key", "{}".to_owned()),
            Some(argon2id) => ("passphrase", secret::encode(argon2id)),
        };
        Self { kind, parameters, key: root.clone(), label: None }
    }

    /// Writes the slot.
    pub(crate) fn store(
        self,
        tables: &dyn Tables,
        id: u32,
        keys: &RowKeys,
        root: &KeyBytes,
        now: i64,
    ) -> Result<OpenedSlot> {
        let private = PrivateKey::random()?;
        let mut row = SlotRow {
            id,
            kind: self.kind.into(),
            label: self.label,
            created_at: now,
            opened_at: None,
            parameters: self.parameters,
            private_key: Vec::new(),
            root_key: Vec::new(),
            public_key: Vec::new(),
            mac: Vec::new(),
        };
        let context = row.context(&keys.store_id);
        row.private_key = context.seal_private_key(&private, &self.key, &row.description())?;
        row.seal_root(&keys.store_id, &private.public(), root)?;
        row.store(tables, keys)?;
        Ok(OpenedSlot { id, sealed: row.private_key, private })
    }
}

/// Fails unless a label has 1 to 64 bytes without control characters.
pub(crate) fn check_label(label: Option<&str>) -> Result<()> {
    let is_valid = |label: &str| {
        !label.is_empty() && label.len() <= MAX_LABEL && !label.chars().any(char::is_control)
    };
    if label.is_none_or(is_valid) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("choose a label of 1 to {MAX_LABEL} bytes without control characters"),
    )
    .because("the label of a slot is not valid"))
}

/// Opens a store with the first of the sources that opens one of its slots. `name` is what errors call the store.
pub(crate) fn open(
    tables: &dyn Tables,
    sources: &[KeySource],
    group: Option<u32>,
    name: &StoreName,
) -> Result<(OpenedSlot, RootKey)> {
    let (store, rows) = {
        let _snapshot = Snapshot::begin(tables)?;
        (StoreRow::load(tables)?, SlotRow::load_all(tables)?)
    };
    // No snapshot is open while a passphrase is derived, or a key outside is asked.
    first_that_opens(sources, group, name, |secret| open_with(&rows, &store, secret))
}

/// Tries the sources in their order.
pub(crate) fn first_that_opens<T>(
    sources: &[KeySource],
    group: Option<u32>,
    name: &StoreName,
    open: impl Fn(&SlotSecret) -> Result<T>,
) -> Result<T> {
    let mut failures = Vec::new();
    for source in sources {
        let opened = SlotSecret::read(source, group)
            .map_err(|error| name_missing_key_file(error, source, name))
            .and_then(|secret| open(&secret));
        match opened {
            Ok(opened) => {
                for (setting, error) in &failures {
                    warn!(%setting, %error, "the store was opened with another slot");
                }
                return Ok(opened);
            }
            Err(error) => failures.push((source.setting(), name_key(error, source, name))),
        }
    }
    Err(none_opens(failures))
}

fn open_with(
    rows: &[SlotRow],
    store: &StoreRow,
    secret: &SlotSecret,
) -> Result<(OpenedSlot, RootKey)> {
    let mut candidates: Vec<_> = rows.iter().filter(|row| row.kind == secret.kind()).collect();
    // One key may have several names, so all are tried, those with the same name first.
    candidates.sort_by_key(|row| !secret.is_named_by(row));
    let mut failure = None;
    for row in &candidates {
        match open_slot(row, store, secret) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            // It concerns the key outside, not the row: another row would ask the key again, and a token or a service may
            // count that.
            Err(error)
                if matches!(secret, SlotSecret::Wrapping(_))
                    && error.kind() != ErrorKind::Corrupt =>
            {
                return Err(error);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if candidates.is_empty() {
        return Err(wrong_kind(secret, rows.iter().map(|row| &*row.kind)));
    }
    Err(failure.unwrap_or_else(|| secret.opens_none(&candidates)))
}

/// Opens a slot. Returns `None` if it belongs to another key.
fn open_slot(
    row: &SlotRow,
    store: &StoreRow,
    secret: &SlotSecret,
) -> Result<Option<(OpenedSlot, RootKey)>> {
    let slot_key = secret.slot_key(row, &store.store_id)?;
    let context = row.context(&store.store_id);
    let private = match context.open_private_key(&row.private_key, &slot_key, &row.description()) {
        Ok(private) => private,
        Err(NotOpened::WrongKey) => return Ok(None),
        Err(NotOpened::Changed) => return Err(changed(NotAuthentic)),
    };
    let slot = OpenedSlot { id: row.id, sealed: row.private_key.clone(), private };
    let root = slot.root_of(row, store)?;
    Ok(Some((slot, RootKey::new(&root))))
}

impl OpenedSlot {
    /// The root key that the store has now: the loaded one, unless it was replaced.
    pub(crate) fn current_root(
        &self,
        loaded: Arc<RootKey>,
        tables: &dyn Tables,
        store: &StoreRow,
    ) -> Result<Arc<RootKey>> {
        if crypto::equal(&store.root_check, &*loaded.check(&store.store_id)).is_ok() {
            return Ok(loaded);
        }
        Ok(Arc::new(RootKey::new(&self.root(tables, store)?)))
    }

    /// The root key, as the store has it now. Fails if the slot was removed.
    fn root(&self, tables: &dyn Tables, store: &StoreRow) -> Result<KeyBytes> {
        self.root_of(&self.row(tables)?, store)
    }

    /// The slot's row. Fails if it was removed.
    fn row(&self, tables: &dyn Tables) -> Result<SlotRow> {
        let rows = SlotRow::load_all(tables)?;
        rows.into_iter().find(|row| self.is_of(row)).ok_or_else(|| {
            Error::new(
                ErrorKind::Unauthenticated,
                "open the store again, with the key of a slot that it has",
            )
            .because("the slot that has opened the store was removed")
        })
    }

    fn is_of(&self, row: &SlotRow) -> bool {
        row.id == self.id && row.private_key == self.sealed
    }

    fn root_of(&self, row: &SlotRow, store: &StoreRow) -> Result<KeyBytes> {
        let root = row.open_root(&store.store_id, &self.private).map_err(changed)?;
        let check = RootKey::new(&root).check(&store.store_id);
        crypto::equal(&store.root_check, &*check).map_err(changed)?;
        Ok(root)
    }

    /// Records that the slot has opened the store, unless it has done so within the hour.
    pub(crate) fn record_opening(
        &self,
        tables: &dyn Tables,
        keys: &RowKeys,
        now: i64,
    ) -> Result<()> {
        let mut row = self.row(tables)?;
        row.verify(keys)?;
        row.opened_at = Some(now);
        row.store(tables, keys)
    }

    /// Whether the time of the last opening is to be written, and fails if the slot's row was edited.
    pub(crate) fn check(&self, tables: &dyn Tables, keys: &RowKeys, now: i64) -> Result<bool> {
        let row = self.row(tables)?;
        row.verify(keys)?;
        Ok(row.opened_at.is_none_or(|at| (now - at).abs() >= OPENED_AT_RESOLUTION))
    }
}

pub(crate) fn list(tables: &dyn Tables, keys: &RowKeys, opened: &OpenedSlot) -> Result<Vec<Slot>> {
    let rows = SlotRow::load_all(tables)?;
    rows.into_iter()
        .map(|row| {
            row.verify(keys)?;
            let is_current = opened.is_of(&row);
            Ok(Slot {
                id: row.id,
                kind: row.kind,
                key_id: secret::describe_key(&row.parameters),
                label: row.label,
                created_at: secret_row::to_time(row.created_at),
                opened_at: row.opened_at.map(secret_row::to_time),
                is_current,
            })
        })
        .collect()
}

/// Fails if the store has as many slots as it may have.
pub(crate) fn check_room(tables: &dyn Tables) -> Result<()> {
    if SlotRow::load_all(tables)?.len() < MAX_SLOTS {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "remove one that is no longer used")
        .because(format!("the store has {MAX_SLOTS} slots")))
}

/// Adds a slot, and returns its number.
pub(crate) fn add(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    store: &StoreRow,
    opened: &OpenedSlot,
    new: NewSlot,
    now: i64,
) -> Result<u32> {
    check_room(tables)?;
    let rows = SlotRow::load_all(tables)?;
    for row in rows.iter().filter(|row| row.kind == "key" && new.kind == "key") {
        let context = row.context(&store.store_id);
        let found = context.open_private_key(&row.private_key, &new.key, &row.description());
        if found.err() != Some(NotOpened::WrongKey) {
            return Err(Error::new(ErrorKind::Conflict, "give another key")
                .because(format!("the key opens slot {} already", row.id)));
        }
    }
    let id = rows.iter().map(|row| row.id).max().unwrap_or(0) + 1;
    let root = opened.root(tables, store)?;
    new.store(tables, id, &key_ring.rows, &root, now)?;
    Ok(id)
}

/// Removes a slot, also one that was edited. The one that has opened the store stays, so that the last cannot be removed.
pub(crate) fn remove(
    tables: &dyn Tables,
    store: &StoreRow,
    opened: &OpenedSlot,
    id: u32,
) -> Result<()> {
    // Else the slots that are left may be none.
    opened.root(tables, store)?;
    if id == opened.id {
        return Err(Error::new(
            ErrorKind::Conflict,
            "open the store with the key of another slot first; add one if there is none",
        )
        .because(format!("slot {id} has opened the store")));
    }
    if !tables.remove_slot(id)? {
        return Err(Error::new(ErrorKind::NotFound, "list the slots, and name one of them")
            .because(format!("the store has no slot {id}")));
    }
    Ok(())
}

/// Seals a new root key to all slots, and signs them with the new keys. Returns how many there are.
pub(crate) fn reseal(
    tables: &dyn Tables,
    (old_root, old_keys): (&RootKey, &RowKeys),
    (new_root, new_keys): (&KeyBytes, &RowKeys),
) -> Result<usize> {
    let rows = SlotRow::load_all(tables)?;
    let count = rows.len();
    for mut row in rows {
        row.verify(old_keys)?;
        let context = row.context(&old_keys.store_id);
        let public = context.open_public_key(&row.public_key, old_root).map_err(changed)?;
        row.seal_root(&new_keys.store_id, &public, new_root)?;
        row.store(tables, new_keys)?;
    }
    Ok(count)
}
