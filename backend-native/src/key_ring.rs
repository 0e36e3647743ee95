//! The key ring: key-encryption keys (KEKs) with their states, and the key of the row MACs, all
//! sealed under the root key.

use rusqlite::{Connection, OptionalExtension, named_params};
use strongroom_core::{Error, ErrorKind, Result};

use crate::crypto::{self, AeadKey, NotAuthentic};
use crate::error::{from_sqlite, record_corrupt};
use crate::record::{self, Purpose};
use crate::root_key::{Argon2id, Derivation, RootKey};
use crate::row_keys::{RowKey, RowKeys};
use crate::state::{RowSum, State};

mod row;

use row::{KeyRingRow, key_ring_corrupt};

/// A key-encryption key seals with random nonces. NIST SP 800-38D, section 8.3, allows 2³² such
/// uses of one key; after half of them the store starts a new key.
const MAX_USES: i64 = 1 << 31;

/// The key of the row MACs has the first id of the key ring.
const MAC_KEY_ID: u32 = 1;

/// The state of a key-encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KekState {
    /// Wraps new data keys. Exactly one key of the key ring is active.
    Active = 1,
    /// Unwraps only.
    DecryptOnly = 2,
    /// Unwraps until the running rotation has rewrapped all data keys.
    Retiring = 3,
}

struct Kek {
    id: u32,
    state: KekState,
    key: Box<AeadKey>,
}

/// The opened key ring of one store.
pub(crate) struct KeyRing {
    pub(crate) rows: RowKeys,
    keks: Vec<Kek>,
}

impl KeyRing {
    /// The key that wraps new data keys.
    pub(crate) fn active(&self) -> Result<(u32, &AeadKey)> {
        let active = self.keks.iter().find(|kek| kek.state == KekState::Active);
        active
            .map(|kek| (kek.id, &*kek.key))
            .ok_or_else(|| record_corrupt("the key ring has no active key"))
    }

    /// The key with this id, if the key ring had it when it was loaded.
    pub(crate) fn kek(&self, id: u32) -> Option<&AeadKey> {
        self.keks.iter().find(|kek| kek.id == id).map(|kek| &*kek.key)
    }

    /// Whether a rotation of the key-encryption key is unfinished.
    pub(crate) fn is_rotating(&self) -> bool {
        self.keks.iter().any(|kek| kek.state == KekState::Retiring)
    }
}

/// The row of the `store` table: the identity of the store and how to check its root key.
pub(crate) struct StoreRow {
    pub(crate) store_id: [u8; 16],
    pub(crate) derivation: Derivation,
    root_check: Vec<u8>,
}

impl StoreRow {
    pub(crate) fn load(connection: &Connection) -> Result<Self> {
        let row = connection
            .query_row(
                "SELECT store_id, argon2_memory_kib, argon2_passes, argon2_lanes, argon2_salt, \
                 root_check FROM store",
                [],
                |row| {
                    let derivation = match row.get::<_, Option<u32>>(1)? {
                        None => Derivation::None,
                        Some(memory_kib) => Derivation::Argon2id(Argon2id {
                            memory_kib,
                            passes: row.get(2)?,
                            lanes: row.get(3)?,
                            salt: row.get(4)?,
                        }),
                    };
                    Ok(Self { store_id: row.get(0)?, derivation, root_check: row.get(5)? })
                },
            )
            .optional()
            .map_err(from_sqlite)?;
        row.ok_or_else(|| record_corrupt("the table `store` is empty"))
    }
}

/// Fills an empty store with its identity, the key of the row MACs and the first key-encryption
/// key.
pub(crate) fn create(
    connection: &Connection,
    root: &RootKey,
    derivation: &Derivation,
    now: i64,
) -> Result<()> {
    let store_id = crypto::random()?;
    let argon2id = match derivation {
        Derivation::None => None,
        Derivation::Argon2id(argon2id) => Some(argon2id),
    };
    connection
        .execute(
            "INSERT INTO store VALUES (1, :store_id, :now, :memory, :passes, :lanes, :salt, :check)",
            named_params! {
                ":store_id": store_id,
                ":now": now,
                ":memory": argon2id.map(|a| a.memory_kib),
                ":passes": argon2id.map(|a| a.passes),
                ":lanes": argon2id.map(|a| a.lanes),
                ":salt": argon2id.map(|a| a.salt),
                ":check": &root.check(&store_id)[..],
            },
        )
        .map_err(from_sqlite)?;
    let mac_key = crypto::random_key()?;
    let ring_key = root.ring_key(&store_id);
    let mut mac_row = KeyRingRow {
        id: MAC_KEY_ID,
        purpose: Purpose::Mac as u8,
        state: KekState::Active as u8,
        uses: 0,
        created_at: now,
        sealed: record::seal_ring_key(&mac_key, Purpose::Mac, MAC_KEY_ID, &store_id, &ring_key)?,
        mac: Vec::new(),
    };
    let keys = RowKeys::new(store_id, RowKey::new(MAC_KEY_ID, &mac_key), None);
    mac_row.sign(&keys);
    mac_row.insert(connection)?;
    add_kek(connection, &keys, root, now)?;
    State::first(RowSum::default()).store(connection, &keys).map(drop)
}

/// Adds a new active key-encryption key. The caller has changed the state of the old one.
fn add_kek(connection: &Connection, keys: &RowKeys, root: &RootKey, now: i64) -> Result<()> {
    let store_id = &keys.store_id;
    let id: u32 = connection
        .query_row("SELECT max(id) + 1 FROM keyring", [], |row| row.get(0))
        .map_err(from_sqlite)?;
    let key = crypto::random_key()?;
    let ring_key = root.ring_key(store_id);
    let mut row = KeyRingRow {
        id,
        purpose: Purpose::KeyEncryption as u8,
        state: KekState::Active as u8,
        uses: 0,
        created_at: now,
        sealed: record::seal_ring_key(&key, Purpose::KeyEncryption, id, store_id, &ring_key)?,
        mac: Vec::new(),
    };
    row.sign(keys);
    row.insert(connection)
}

/// Loads and opens the key ring.
pub(crate) fn load(connection: &Connection, store: &StoreRow, root: &RootKey) -> Result<KeyRing> {
    let rows = KeyRingRow::load_all(connection)?;
    let store_id = store.store_id;
    let ring_key = root.ring_key(&store_id);
    let open = |row: &KeyRingRow, purpose| {
        record::open_ring_key(&row.sealed, purpose, row.id, &store_id, &ring_key)
    };
    let mac_row = rows.iter().find(|row| row.purpose == Purpose::Mac as u8);
    let mac_key = mac_row.map(|row| open(row, Purpose::Mac));
    let checked = crypto::equal(&store.root_check, &root.check(&store_id)[..]);
    let keys = match (mac_key, checked) {
        (Some(Ok(key)), Ok(())) => RowKeys::new(store_id, RowKey::new(MAC_KEY_ID, &key), None),
        (Some(Ok(_)), Err(NotAuthentic)) | (_, Ok(())) => return Err(key_ring_corrupt()),
        (_, Err(NotAuthentic)) => return Err(wrong_key()),
    };
    let mut keks = Vec::new();
    for row in &rows {
        row.verify(&keys).map_err(|NotAuthentic| key_ring_corrupt())?;
        if row.purpose == Purpose::KeyEncryption as u8 {
            let key =
                open(row, Purpose::KeyEncryption).map_err(|NotAuthentic| key_ring_corrupt())?;
            keks.push(Kek { id: row.id, state: row.state()?, key: Box::new(AeadKey::new(&key)) });
        }
    }
    // A row restored from an older file has an authentic MAC; that the newest key is active rules
    // it out.
    let active: Vec<u32> =
        keks.iter().filter(|kek| kek.state == KekState::Active).map(|kek| kek.id).collect();
    if active.as_slice() != keks.iter().map(|kek| kek.id).max().as_slice() {
        return Err(key_ring_corrupt());
    }
    Ok(KeyRing { rows: keys, keks })
}

fn wrong_key() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "give the key or passphrase that this store was created with; nothing was changed",
    )
    .because("the key does not open this store")
}

/// The id of the key that wraps new data keys, as the file has it now.
pub(crate) fn active_id(connection: &Connection) -> Result<u32> {
    connection
        .prepare_cached("SELECT id FROM keyring WHERE purpose = 1 AND state = 1")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map_err(from_sqlite)?
        .ok_or_else(|| record_corrupt("the key ring has no active key"))
}

/// Reserves `uses` of the active key. Starts a new key instead if the active one would exceed its
/// limit, and returns whether it did.
pub(crate) fn reserve_uses(
    connection: &Connection,
    key_ring: &KeyRing,
    root: &RootKey,
    uses: i64,
    now: i64,
) -> Result<bool> {
    let (id, _) = key_ring.active()?;
    let mut row = KeyRingRow::load_authentic(connection, key_ring, id)?;
    if row.uses.saturating_add(uses) > MAX_USES {
        replace_active(connection, key_ring, root, KekState::DecryptOnly, now)?;
        return Ok(true);
    }
    row.uses += uses;
    row.update(connection, key_ring)?;
    Ok(false)
}

/// Gives the active key another state and adds a new active key.
pub(crate) fn replace_active(
    connection: &Connection,
    key_ring: &KeyRing,
    root: &RootKey,
    old_state: KekState,
    now: i64,
) -> Result<()> {
    for kek in key_ring.keks.iter().filter(|kek| kek.state == KekState::Active) {
        let mut row = KeyRingRow::load_authentic(connection, key_ring, kek.id)?;
        row.state = old_state as u8;
        row.update(connection, key_ring)?;
    }
    add_kek(connection, &key_ring.rows, root, now)
}

/// Removes the inactive keys if no data key is wrapped by them, and otherwise keeps them. Returns
/// whether they were removed.
pub(crate) fn remove_inactive(connection: &Connection, key_ring: &KeyRing) -> Result<bool> {
    let (active, _) = key_ring.active()?;
    let needed: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM versions WHERE substr(wrap, 6, 4) <> ?)",
            [active.to_be_bytes()],
            |row| row.get(0),
        )
        .map_err(from_sqlite)?;
    if needed {
        mark_decrypt_only(connection, key_ring)?;
    } else {
        connection
            .execute("DELETE FROM keyring WHERE purpose = 1 AND state <> 1", [])
            .map_err(from_sqlite)?;
    }
    Ok(!needed)
}

/// Ends the retirement of keys: they only unwrap from then on.
pub(crate) fn mark_decrypt_only(connection: &Connection, key_ring: &KeyRing) -> Result<()> {
    for kek in key_ring.keks.iter().filter(|kek| kek.state == KekState::Retiring) {
        let mut row = KeyRingRow::load_authentic(connection, key_ring, kek.id)?;
        row.state = KekState::DecryptOnly as u8;
        row.update(connection, key_ring)?;
    }
    Ok(())
}

/// Returns the active key's id, and how often it was used at most.
pub(crate) fn active_uses(connection: &Connection) -> Result<(u32, i64)> {
    connection
        .prepare_cached("SELECT id, uses FROM keyring WHERE purpose = 1 AND state = 1")
        .and_then(|mut query| query.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(from_sqlite)
}
