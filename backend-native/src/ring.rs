//! The key ring: key-encryption keys with their states, and the key of the row MACs, all sealed
//! under the root key.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use strongroom_core::{Error, ErrorKind, Result};

use crate::crypto::{self, AeadKey, MacKey, NotAuthentic};
use crate::error::{corrupt, damaged, from_sqlite};
use crate::record::{self, MacInput, Purpose};
use crate::root::{Argon2id, Derivation, RootKey};

/// A key-encryption key seals with random nonces. NIST SP 800-38D, section 8.3, allows 2³² such
/// uses of one key; half of that starts a new key by itself.
const MAX_USES: i64 = 1 << 31;

/// The key of the row MACs has the first id of the ring.
const MAC_KEY_ID: u32 = 1;

/// What a key-encryption key is still used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Wraps new data keys. Exactly one key of the ring is active.
    Active = 1,
    /// Unwraps only.
    DecryptOnly = 2,
    /// Unwraps until a rotation that has begun has re-wrapped everything.
    Retiring = 3,
}

struct Kek {
    id: u32,
    state: State,
    key: AeadKey,
}

/// The opened ring of one store.
pub(crate) struct Ring {
    pub(crate) store_id: [u8; 16],
    pub(crate) mac: MacKey,
    keks: Vec<Kek>,
}

impl Ring {
    /// The key that wraps new data keys.
    pub(crate) fn active(&self) -> Result<(u32, &AeadKey)> {
        let active = self.keks.iter().find(|kek| kek.state == State::Active);
        active
            .map(|kek| (kek.id, &kek.key))
            .ok_or_else(|| corrupt("the key ring has no active key"))
    }

    /// The key with this id, if it was in the ring when the ring was read.
    pub(crate) fn kek(&self, id: u32) -> Option<&AeadKey> {
        self.keks.iter().find(|kek| kek.id == id).map(|kek| &kek.key)
    }

    /// Whether a rotation of the key-encryption key has begun and not been finished.
    pub(crate) fn is_rotating(&self) -> bool {
        self.keks.iter().any(|kek| kek.state == State::Retiring)
    }
}

/// What the store knows about itself and its root key.
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
        row.ok_or_else(|| corrupt("the store does not know itself"))
    }
}

/// Fills an empty store: its identity, the first key-encryption key, the key of the row MACs.
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
    let ring_key = root.ring_key(&store_id)?;
    let mut mac_row = RingRow {
        id: MAC_KEY_ID,
        purpose: Purpose::Mac as u8,
        state: State::Active as u8,
        uses: 0,
        created_at: now,
        sealed: record::seal_ring_key(&mac_key, Purpose::Mac, MAC_KEY_ID, &store_id, &ring_key)?,
        mac: Vec::new(),
    };
    let mac = MacKey::new(&mac_key);
    mac_row.sign(&mac, &store_id);
    mac_row.insert(connection)?;
    add_kek(connection, &mac, &store_id, root, now)
}

/// Adds a new active key-encryption key. The caller has taken the active state from the old one.
fn add_kek(
    connection: &Connection,
    mac: &MacKey,
    store_id: &[u8; 16],
    root: &RootKey,
    now: i64,
) -> Result<()> {
    let id: u32 = connection
        .query_row("SELECT max(id) + 1 FROM keyring", [], |row| row.get(0))
        .map_err(from_sqlite)?;
    let key = crypto::random_key()?;
    let ring_key = root.ring_key(store_id)?;
    let mut row = RingRow {
        id,
        purpose: Purpose::KeyEncryption as u8,
        state: State::Active as u8,
        uses: 0,
        created_at: now,
        sealed: record::seal_ring_key(&key, Purpose::KeyEncryption, id, store_id, &ring_key)?,
        mac: Vec::new(),
    };
    row.sign(mac, store_id);
    row.insert(connection)
}

/// Reads and opens the ring.
pub(crate) fn load(connection: &Connection, store: &StoreRow, root: &RootKey) -> Result<Ring> {
    let rows = RingRow::load_all(connection)?;
    let store_id = store.store_id;
    let ring_key = root.ring_key(&store_id)?;
    let opened = |row: &RingRow, purpose| {
        record::open_ring_key(&row.sealed, purpose, row.id, &store_id, &ring_key)
    };
    let mac_row = rows.iter().find(|row| row.purpose == Purpose::Mac as u8);
    let mac_key = mac_row.map(|row| opened(row, Purpose::Mac));
    let checked = crypto::equal(&store.root_check, &root.check(&store_id)[..]);
    let mac = match (mac_key, checked) {
        (Some(Ok(key)), Ok(())) => MacKey::new(&key),
        (Some(Ok(_)), Err(NotAuthentic)) | (_, Ok(())) => return Err(untrusted()),
        (_, Err(NotAuthentic)) => return Err(wrong_key()),
    };
    let mut keks = Vec::new();
    for row in &rows {
        row.verify(&mac, &store_id).map_err(|NotAuthentic| untrusted())?;
        if row.purpose == Purpose::KeyEncryption as u8 {
            let key = opened(row, Purpose::KeyEncryption).map_err(|NotAuthentic| untrusted())?;
            keks.push(Kek { id: row.id, state: row.state()?, key: AeadKey::new(&key)? });
        }
    }
    // An older row put back has an authentic MAC; that the newest key is the active one shows it.
    let active: Vec<u32> =
        keks.iter().filter(|kek| kek.state == State::Active).map(|kek| kek.id).collect();
    if active.as_slice() != keks.iter().map(|kek| kek.id).max().as_slice() {
        return Err(untrusted());
    }
    Ok(Ring { store_id, mac, keks })
}

fn untrusted() -> Error {
    damaged("the store's key ring fails authentication: it was damaged or edited")
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
        .ok_or_else(|| corrupt("the key ring has no active key"))
}

/// Counts `uses` ahead of the active key. Starts a new key if the active one has been used enough;
/// says whether it did.
pub(crate) fn count_uses(
    connection: &Connection,
    ring: &Ring,
    root: &RootKey,
    uses: i64,
    now: i64,
) -> Result<bool> {
    let (id, _) = ring.active()?;
    let mut row = RingRow::load_authentic(connection, ring, id)?;
    if row.uses.saturating_add(uses) > MAX_USES {
        replace_active(connection, ring, root, State::DecryptOnly, now)?;
        return Ok(true);
    }
    row.uses += uses;
    row.update(connection, ring)?;
    Ok(false)
}

/// Takes the active state from the active key and adds a new one.
pub(crate) fn replace_active(
    connection: &Connection,
    ring: &Ring,
    root: &RootKey,
    old_state: State,
    now: i64,
) -> Result<()> {
    for kek in ring.keks.iter().filter(|kek| kek.state == State::Active) {
        let mut row = RingRow::load_authentic(connection, ring, kek.id)?;
        row.state = old_state as u8;
        row.update(connection, ring)?;
    }
    add_kek(connection, &ring.mac, &ring.store_id, root, now)
}

/// Removes the keys that are not active, if no data key is wrapped by them any more. Otherwise
/// keeps them for as long. Says whether they are gone.
pub(crate) fn remove_inactive(connection: &Connection, ring: &Ring) -> Result<bool> {
    let (active, _) = ring.active()?;
    let needed: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM versions WHERE substr(wrap, 6, 4) <> ?)",
            [active.to_be_bytes()],
            |row| row.get(0),
        )
        .map_err(from_sqlite)?;
    if needed {
        settle_inactive(connection, ring)?;
    } else {
        connection
            .execute("DELETE FROM keyring WHERE purpose = 1 AND state <> 1", [])
            .map_err(from_sqlite)?;
    }
    Ok(!needed)
}

/// Marks the keys that are not active as no longer being retired.
pub(crate) fn settle_inactive(connection: &Connection, ring: &Ring) -> Result<()> {
    for kek in ring.keks.iter().filter(|kek| kek.state == State::Retiring) {
        let mut row = RingRow::load_authentic(connection, ring, kek.id)?;
        row.state = State::DecryptOnly as u8;
        row.update(connection, ring)?;
    }
    Ok(())
}

/// The active key's id, and how often it has been used at most.
pub(crate) fn uses_of_active(connection: &Connection) -> Result<(u32, i64)> {
    connection
        .prepare_cached("SELECT id, uses FROM keyring WHERE purpose = 1 AND state = 1")
        .and_then(|mut query| query.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(from_sqlite)
}

struct RingRow {
    id: u32,
    purpose: u8,
    state: u8,
    uses: i64,
    created_at: i64,
    sealed: Vec<u8>,
    mac: Vec<u8>,
}

const COLUMNS: &str = "SELECT id, purpose, state, uses, created_at, sealed, mac FROM keyring";

impl RingRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            purpose: row.get(1)?,
            state: row.get(2)?,
            uses: row.get(3)?,
            created_at: row.get(4)?,
            sealed: row.get(5)?,
            mac: row.get(6)?,
        })
    }

    fn load_all(connection: &Connection) -> Result<Vec<Self>> {
        connection
            .prepare(COLUMNS)
            .and_then(|mut statement| statement.query_map([], Self::from_row)?.collect())
            .map_err(from_sqlite)
    }

    fn load(connection: &Connection, id: u32) -> Result<Self> {
        connection
            .prepare_cached(&format!("{COLUMNS} WHERE id = ?"))
            .and_then(|mut statement| statement.query_row([id], Self::from_row))
            .map_err(from_sqlite)
    }

    /// The row with this id, to be changed and signed anew.
    fn load_authentic(connection: &Connection, ring: &Ring, id: u32) -> Result<Self> {
        let row = Self::load(connection, id)?;
        row.verify(&ring.mac, &ring.store_id).map_err(|NotAuthentic| untrusted())?;
        Ok(row)
    }

    fn state(&self) -> Result<State> {
        [State::Active, State::DecryptOnly, State::Retiring]
            .into_iter()
            .find(|state| *state as u8 == self.state)
            .ok_or_else(untrusted)
    }

    fn mac_input(&self, store_id: &[u8; 16]) -> MacInput {
        MacInput::new(b'k', store_id)
            .number(self.id.into())
            .number(self.purpose.into())
            .number(self.state.into())
            .number(self.uses)
            .number(self.created_at)
            .bytes(&self.sealed)
    }

    fn sign(&mut self, mac: &MacKey, store_id: &[u8; 16]) {
        self.mac = mac.sign(self.mac_input(store_id).as_bytes()).to_vec();
    }

    fn verify(&self, mac: &MacKey, store_id: &[u8; 16]) -> Result<(), NotAuthentic> {
        mac.verify(self.mac_input(store_id).as_bytes(), &self.mac)
    }

    fn insert(&self, connection: &Connection) -> Result<()> {
        connection
            .execute(
                "INSERT INTO keyring VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self.id,
                    self.purpose,
                    self.state,
                    self.uses,
                    self.created_at,
                    &self.sealed,
                    &self.mac,
                ),
            )
            .map_err(from_sqlite)
            .map(|_| ())
    }

    fn update(&mut self, connection: &Connection, ring: &Ring) -> Result<()> {
        self.sign(&ring.mac, &ring.store_id);
        connection
            .prepare_cached("UPDATE keyring SET state = ?, uses = ?, mac = ? WHERE id = ?")
            .and_then(|mut statement| {
                statement.execute((self.state, self.uses, &self.mac, self.id))
            })
            .map_err(from_sqlite)
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::vectors::{array, bytes, mac_key, vectors};

    #[test]
    fn committed_keys_authenticate() {
        let vectors = vectors();
        let store_id = array(&vectors["store_id"]);
        for key in vectors["keyring"].as_array().unwrap() {
            let number = |name: &str| key[name].as_i64().unwrap();
            let row = RingRow {
                id: number("id").try_into().unwrap(),
                purpose: number("purpose").try_into().unwrap(),
                state: number("state").try_into().unwrap(),
                uses: number("uses"),
                created_at: number("created_at"),
                sealed: bytes(&key["sealed"]),
                mac: bytes(&key["mac"]),
            };
            assert_eq!(row.mac_input(&store_id).as_bytes(), bytes(&key["mac_input"]));
            row.verify(&mac_key(&vectors), &store_id).unwrap();
        }
    }
}
