//! The key ring: key-encryption keys (KEKs) with their states, and the keys of the row MACs, all
//! sealed under the root key.

use std::sync::Arc;

use strongroom_core::Result;

use crate::crypto::{self, AeadKey, KeyBytes, NotAuthentic};
use crate::error::record_corrupt;
use crate::record::{self, Purpose};
use crate::root_key::RootKey;
use crate::row_keys::{RowKey, RowKeys};
use crate::state::{RowSum, State};
use crate::storage::Tables;

mod row;

pub(crate) use row::KeyRingRow;
use row::key_ring_corrupt;

/// A key-encryption key seals with random nonces. NIST SP 800-38D, section 8.3, allows 2³² such
/// uses of one key; after half of them the store starts a new key.
const MAX_USES: i64 = 1 << 31;

/// The state of a key of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// Wraps new data keys, or signs rows. Exactly one key of each purpose is active.
    Active = 1,
    /// Unwraps only.
    DecryptOnly = 2,
    /// Unwraps, or verifies, until the running rotation has replaced it everywhere.
    Retiring = 3,
}

struct Kek {
    id: u32,
    state: KeyState,
    key: Box<AeadKey>,
}

/// The opened key ring of one store.
pub(crate) struct KeyRing {
    pub(crate) rows: RowKeys,
    keks: Vec<Kek>,
    /// The ids of all keys with their states.
    states: Vec<(u32, u8)>,
    root: Arc<RootKey>,
}

/// The keys of a ring that are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActiveKeys {
    kek: u32,
    row_key: u32,
}

impl KeyRing {
    /// The key that wraps new data keys.
    pub(crate) fn active(&self) -> Result<(u32, &AeadKey)> {
        let active = self.keks.iter().find(|kek| kek.state == KeyState::Active);
        active
            .map(|kek| (kek.id, &*kek.key))
            .ok_or_else(|| record_corrupt("the key ring has no active key"))
    }

    /// The key with this id, if the key ring had it when it was loaded.
    pub(crate) fn kek(&self, id: u32) -> Option<&AeadKey> {
        self.keks.iter().find(|kek| kek.id == id).map(|kek| &*kek.key)
    }

    /// The root key that the ring is sealed under.
    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    /// Whether a rotation of the key-encryption key, or of the root key, is unfinished.
    pub(crate) fn is_rotating(&self) -> bool {
        self.rows.has_retiring() || self.keks.iter().any(|kek| kek.state == KeyState::Retiring)
    }

    pub(crate) fn active_keys(&self) -> Result<ActiveKeys> {
        Ok(ActiveKeys { kek: self.active()?.0, row_key: self.rows.active_id() })
    }

    /// Whether keys were added, removed or retired since the ring was loaded.
    pub(crate) fn is_outdated(&self, tables: &dyn Tables) -> Result<bool> {
        Ok(self.has_other_states(&tables.key_states()?))
    }

    /// Whether the store has other keys, or others are active, than when the ring was loaded.
    pub(crate) fn has_other_states(&self, states: &[(u32, u8)]) -> bool {
        states != self.states
    }
}

/// The row of the `store` table: the identity of the store and how to check its root key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreRow {
    pub(crate) store_id: [u8; 16],
    pub(crate) created_at: i64,
    pub(crate) root_check: Vec<u8>,
}

impl StoreRow {
    pub(crate) fn load(tables: &dyn Tables) -> Result<Self> {
        let row = tables.store_row()?;
        row.ok_or_else(|| record_corrupt("the table `store` is empty"))
    }
}

/// Fills an empty store with its identity, the key of the row MACs and the first key-encryption
/// key.
pub(crate) fn create(
    tables: &dyn Tables,
    store_id: [u8; 16],
    root: &RootKey,
    now: i64,
) -> Result<RowKeys> {
    let root_check = root.check(&store_id).to_vec();
    tables.insert_store_row(&StoreRow { store_id, created_at: now, root_check })?;
    let keys = add_row_key(tables, store_id, root, now)?;
    add_kek(tables, &keys, root, now)?;
    State::first(RowSum::default()).store(tables, &keys)?;
    Ok(keys)
}

/// Adds a new active key of the row MACs. Returns it as the only one.
fn add_row_key(
    tables: &dyn Tables,
    store_id: [u8; 16],
    root: &RootKey,
    now: i64,
) -> Result<RowKeys> {
    let key = crypto::random_key()?;
    let (id, mut row) = new_row(tables, Purpose::Mac, &store_id, &key, root, now)?;
    let keys = RowKeys::new(store_id, RowKey::new(id, &key), None);
    row.store(tables, &keys)?;
    Ok(keys)
}

/// Adds a new active key-encryption key. The caller has changed the state of the old one.
fn add_kek(tables: &dyn Tables, keys: &RowKeys, root: &RootKey, now: i64) -> Result<()> {
    let key = crypto::random_key()?;
    let (_, mut row) = new_row(tables, Purpose::KeyEncryption, &keys.store_id, &key, root, now)?;
    row.store(tables, keys)
}

/// A row for a new active key, with the next id, without its MAC.
fn new_row(
    tables: &dyn Tables,
    purpose: Purpose,
    store_id: &[u8; 16],
    key: &KeyBytes,
    root: &RootKey,
    now: i64,
) -> Result<(u32, KeyRingRow)> {
    let id = tables.key_states()?.last().map_or(0, |(id, _)| *id) + 1;
    let row = KeyRingRow {
        id,
        purpose: purpose as u8,
        state: KeyState::Active as u8,
        uses: 0,
        created_at: now,
        sealed: record::seal_ring_key(key, purpose, id, store_id, &root.ring_key(store_id))?,
        mac: Vec::new(),
    };
    Ok((id, row))
}

/// Loads and opens the key ring, whose root key belongs to this store.
pub(crate) fn load(tables: &dyn Tables, store: &StoreRow, root: Arc<RootKey>) -> Result<KeyRing> {
    let all = tables.keys()?;
    let store_id = store.store_id;
    let ring_key = root.ring_key(&store_id);
    let of = |purpose: Purpose| all.iter().filter(move |row| row.purpose == purpose as u8);
    let open = |row: &KeyRingRow, purpose| {
        record::open_ring_key(&row.sealed, purpose, row.id, &store_id, &ring_key)
            .map_err(|NotAuthentic| key_ring_corrupt())
    };
    let row_key = |state: KeyState| -> Result<Option<RowKey>> {
        let Some(row) = of(Purpose::Mac).find(|row| row.state == state as u8) else {
            return Ok(None);
        };
        Ok(Some(RowKey::new(row.id, &open(row, Purpose::Mac)?)))
    };
    let active = row_key(KeyState::Active)?.ok_or_else(key_ring_corrupt)?;
    let rows = RowKeys::new(store_id, active, row_key(KeyState::Retiring)?);
    let mut keks = Vec::new();
    for row in &all {
        // The ring itself is signed by the active key alone.
        match row.verify(&rows) {
            Ok(signature) if signature.key_id == rows.active_id() => {}
            _ => return Err(key_ring_corrupt()),
        }
    }
    for row in of(Purpose::KeyEncryption) {
        let key = AeadKey::new(&open(row, Purpose::KeyEncryption)?);
        keks.push(Kek { id: row.id, state: row.state()?, key: Box::new(key) });
    }
    // A row restored from an older file has an authentic MAC; that the newest key is active rules
    // it out.
    for purpose in [Purpose::KeyEncryption, Purpose::Mac] {
        let active = of(purpose).filter(|row| row.state == KeyState::Active as u8);
        let active: Vec<u32> = active.map(|row| row.id).collect();
        if active.as_slice() != of(purpose).map(|row| row.id).max().as_slice() {
            return Err(key_ring_corrupt());
        }
    }
    let states = all.iter().map(|row| (row.id, row.state)).collect();
    Ok(KeyRing { rows, keks, states, root })
}

/// Reserves `uses` of the active key. Starts a new key instead if the active one would exceed its
/// limit, and returns whether it did.
pub(crate) fn reserve_uses(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    uses: i64,
    now: i64,
) -> Result<bool> {
    let (id, _) = key_ring.active()?;
    let mut row = KeyRingRow::load_authentic(tables, key_ring, id)?;
    if row.uses.saturating_add(uses) > MAX_USES {
        replace_active(tables, key_ring, KeyState::DecryptOnly, now)?;
        return Ok(true);
    }
    row.uses += uses;
    row.store(tables, &key_ring.rows)?;
    Ok(false)
}

/// Gives the active key another state and adds a new active key.
pub(crate) fn replace_active(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    old_state: KeyState,
    now: i64,
) -> Result<()> {
    for kek in key_ring.keks.iter().filter(|kek| kek.state == KeyState::Active) {
        let mut row = KeyRingRow::load_authentic(tables, key_ring, kek.id)?;
        row.state = old_state as u8;
        row.store(tables, &key_ring.rows)?;
    }
    add_kek(tables, &key_ring.rows, &key_ring.root, now)
}

/// Removes the inactive keys if no data key is wrapped by them, and otherwise keeps them. Returns
/// whether they were removed.
pub(crate) fn remove_inactive(tables: &dyn Tables, key_ring: &KeyRing) -> Result<bool> {
    let (active, _) = key_ring.active()?;
    let needed = tables.has_wraps_of_others(active)?;
    if needed {
        mark_decrypt_only(tables, key_ring)?;
    } else {
        tables.remove_inactive_keys(Purpose::KeyEncryption)?;
    }
    Ok(!needed)
}

/// Seals the ring under another root key, and starts new keys for the row MACs and for data keys. Returns the new keys of
/// the row MACs.
pub(crate) fn replace_root(
    tables: &dyn Tables,
    key_ring: &KeyRing,
    new_root: &RootKey,
    now: i64,
) -> Result<RowKeys> {
    let store_id = key_ring.rows.store_id;
    let (old_key, new_key) = (key_ring.root.ring_key(&store_id), new_root.ring_key(&store_id));
    let mut rows = tables.keys()?;
    for row in &mut rows {
        row.verify(&key_ring.rows).map_err(|NotAuthentic| key_ring_corrupt())?;
        let purpose = row.purpose()?;
        let key = record::open_ring_key(&row.sealed, purpose, row.id, &store_id, &old_key)
            .map_err(|NotAuthentic| key_ring_corrupt())?;
        row.sealed = record::seal_ring_key(&key, purpose, row.id, &store_id, &new_key)?;
        if row.state()? == KeyState::Active {
            row.state = KeyState::Retiring as u8;
        }
    }
    let keys = add_row_key(tables, store_id, new_root, now)?;
    for row in &mut rows {
        row.store(tables, &keys)?;
    }
    add_kek(tables, &keys, new_root, now)?;
    tables.set_root_check(&new_root.check(&store_id)[..])?;
    Ok(keys)
}

/// Removes the key of the row MACs before the active one. Rows that it alone verifies are corrupt from then on.
pub(crate) fn remove_retiring_row_key(tables: &dyn Tables) -> Result<()> {
    tables.remove_inactive_keys(Purpose::Mac)
}

/// Ends the retirement of keys: they only unwrap from then on.
pub(crate) fn mark_decrypt_only(tables: &dyn Tables, key_ring: &KeyRing) -> Result<()> {
    for kek in key_ring.keks.iter().filter(|kek| kek.state == KeyState::Retiring) {
        let mut row = KeyRingRow::load_authentic(tables, key_ring, kek.id)?;
        row.state = KeyState::DecryptOnly as u8;
        row.store(tables, &key_ring.rows)?;
    }
    Ok(())
}

/// Returns the active key's id, and how often it was used at most.
pub(crate) fn active_uses(tables: &dyn Tables) -> Result<(u32, i64)> {
    let keys = tables.keys()?;
    let is_active = |row: &&KeyRingRow| {
        (row.purpose, row.state) == (Purpose::KeyEncryption as u8, KeyState::Active as u8)
    };
    let active = keys.iter().find(is_active).ok_or_else(key_ring_corrupt)?;
    Ok((active.id, active.uses))
}
