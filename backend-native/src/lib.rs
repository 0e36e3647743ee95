//! Strongroom's embedded encrypted store: one `SQLite` file that several processes read and write
//! at once, or a PostgreSQL database that several hosts share, with AES-256-GCM around every value.
//!
//! ```
//! # async fn run(folder: &std::path::Path) -> strongroom_core::Result<()> {
//! use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
//! use strongroom_core::{Backend, PutOptions, SecretPath, VersionSelector};
//!
//! let mut config = NativeConfig::new(KeySource::KeyFile(folder.join("strongroom.key")));
//! config.path = Some(folder.join("secrets.db"));
//! let store = NativeBackend::open(config).await?;
//!
//! let path = SecretPath::parse("openai/api-key")?;
//! // Creates both files with mode 0600; on disk when it returns.
//! store.put(&path, "sk-1".into(), PutOptions::new()).await?;
//! let secret = store.get(&path, &VersionSelector::Active).await?;
//! assert_eq!(secret.expose_text()?, "sk-1");
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Builder::new_current_thread().build().unwrap()
//! #     .block_on(run(folder.path())).unwrap();
//! ```
//!
//! # Guarantees
//! - A write that returned is on disk (`SQLite` in WAL mode, `synchronous=FULL`). A kill at any
//!   moment loses no acknowledged write and leaves no partial one.
//! - Conditions on a write hold against all processes. A read sees every write that returned before
//!   it began, in whichever process.
//! - Reading a record that was damaged, edited or moved to another path, version, secret or store
//!   fails with [`Corrupt`](strongroom_core::ErrorKind::Corrupt); all others stay readable. Only
//!   `destroy` overwrites a corrupt secret.
//! - [`changes`](strongroom_core::Backend::changes) tells within about 50 ms that any process has changed the store, not which
//!   secrets. While it is asked, it looks at the file 20 times a second, for some microseconds; writers do not notice.
//! - A value may have up to 16 MiB. A write waits up to 10 s for those of other processes.
//! - Once the file of an open store was removed or replaced, writes and `health` fail. Reads may
//!   still use the old file: after a restore, open the store again.
//! - Only a `put` creates a store, or opening with [`NativeConfig::create`]. Until then reads are `NotFound`
//!   and name the file, listings are empty, and `health` is `Degraded`.
//! - While no write waits, the store gives room back: a log of more than 8 MiB is truncated, and of empty
//!   pages the store keeps 4 MiB or a quarter of its size. A store that an earlier release created keeps its
//!   size until [`NativeBackend::vacuum`].
//!
//! # In PostgreSQL
//! With the cargo feature `postgres`, [`NativeConfig::url`] names a PostgreSQL database (14 to 18) that several hosts share,
//! in place of a file. The guarantees are the same. Where this documentation speaks of the file, read: the tables. What
//! only a file has does not apply: [`NativeBackend::vacuum`] is `Unsupported`, and there are no requirements on its place.
//!
//! - Reads need a Tokio runtime with I/O and time, and fail with [`Config`](strongroom_core::ErrorKind::Config) elsewhere.
//!   They share up to four connections; writes have one, on the store's thread.
//! - A write is acknowledged once the server has committed it, with a `synchronous_commit` of `on` at least. If the
//!   connection breaks during the commit, the store connects again, ends the old session and looks whether its state is
//!   there, so that most such writes have an outcome. Else the error is `Unavailable`, and says that the write may be there.
//! - A read takes at most 10 s, and fails with `Unavailable` or `Timeout` then. So does a write that gets no connection for
//!   10 s, or whose transaction takes longer than that; to find out what came of a commit takes up to 15 s more.
//! - [`changes`](strongroom_core::Backend::changes) tells within some milliseconds which secrets were changed, or that any may
//!   have been, if a notification was missed.
//! - With [`NativeConfig::replica_url`], a replica answers reads that may be as old as [`NativeConfig::replica_max_age`]: a read
//!   sees every write that was committed longer before it began, every write of the same [`NativeBackend`], and every change
//!   that its [`changes`](strongroom_core::Backend::changes) have told of. It shares up to four more connections. While the primary is
//!   down, reads go on until the primary was last asked that long ago.
//! - [`NativeBackend::backup`] writes a file that is a store itself, and [`NativeBackend::restore`] makes a store of such a
//!   file in a file or in a database.
//!
//! # Where the file may be
//! The write-ahead log is beside the file and needs shared memory between processes. Opening refuses what
//! would separate the two, or keep processes from seeing each other:
//!
//! - a file or log that is mounted without its folder, by `/proc/self/mountinfo` on Linux and by device
//!   numbers elsewhere
//! - a file with a second name (a hard link), and a link instead of the file
//! - on Linux, by `statfs`, network file systems (NFS, SMB, AFS, Ceph, Coda, Lustre, GPFS, `BeeGFS`, OCFS2,
//!   GFS2, NCP), and those that a virtual machine or a program shares (9P, virtiofs, `vboxsf`, FUSE
//!   other than `fuseblk`), unless [`NativeConfig::allow_network_file_system`] is set. [`SQLite`'s
//!   documentation](https://sqlite.org/wal.html) excludes them: all processes must be on one machine
//! - a folder that is read-only, or that this process may not write, since readers write to the `-shm` file
//! - a file system without shared memory
//!
//! Paths, tags and all other metadata are readable in the file, and so are the sizes of values.
//!
//! # Rollback and removal
//! Each transaction that changes secrets advances the **state** of the store: its number, the count of the secrets, and a
//! sum over all rows of secrets. An **anchor** elsewhere, a small file ([`NativeConfig::anchor_file`]) or a secret of another store
//! ([`NativeConfig::anchor_store`]), says which state the store has reached. Against an attacker who can write the store's file and has no key:
//!
//! | the attacker | is noticed by |
//! |---|---|
//! | puts an earlier copy of the file back while a process has the store open | writes and `health` of that process; its reads within a second. Where the file was replaced by another, its reads go on with the old one |
//! | puts an earlier copy back while no process runs | opening, if an anchor is configured |
//! | removes a secret, or replaces it by its earlier self | [`NativeBackend::verify`], which tells how many secrets there were; reads do not notice it |
//! | removes versions of a secret | reads of those versions, listings of them, and `verify`, which names them |
//! | edits or removes the state | opening, writes, `health`, and reads within a second |
//! | edits or removes the anchor, or puts that of another store there | opening and `health` |
//!
//! What remains:
//!
//! - Without an anchor, an earlier copy of the whole file that is put back while no process runs is not noticed.
//! - A process writes the anchor after its commits: at most once a second while it writes, within a second once it rests,
//!   and when it is closed. After a kill, an attacker can put back any copy from the anchor's state on: up to a second of
//!   writes, or longer while the anchor could not be written, which a warning tells. In another store, the second is an
//!   [`interval`](AnchorStore::interval) of a minute or more.
//! - Writes of a process without the anchor's configuration advance it only when another process writes, opens or closes
//!   the store. Configure the anchor in all of them.
//! - An attacker who can write the anchor as well can put earlier copies of both back, or remove the anchor and put back a
//!   copy of the store from before it had one: opening then creates an anchor, and a warning tells. The user of the service can write
//!   both files, so the anchor protects against an attacker who reaches the store's volume, disk or backup alone.
//! - A slot that was removed can be put back until the root key is replaced, and is then given the next one: look at
//!   [`NativeBackend::slots`] before [`NativeBackend::rotate_root_key`].
//! - An attacker who has had a key of the store, an earlier copy of the file, and can write the file, can put the keys of
//!   that copy back, also after a rotation of the root key, and so read what is written then. With an anchor, opening
//!   refuses that, and so do the writes of running processes; without one, nothing notices it.
//! - The same attacker, with a copy that was made during a rotation, can put keys that are retired back into the ring, and
//!   forge records; `verify` finds those.
//! - A store that was created with schema 1, and whose root key was not replaced since, can be changed back to schema 1
//!   while no process runs and no anchor is configured, with secrets removed or replaced by their earlier selves: replace
//!   its root key once.
//! - A secret that is written, deleted or annotated after the attacker replaced it by its earlier self goes on from that;
//!   `verify` finds the difference all the same.
//!
//! [`NativeBackend::accept_state`] is for an operator who has restored a backup or lost the anchor. `destroy` of a damaged
//! secret leaves its part in the sum, since the MAC in a damaged row may be that of any other row: `verify` reports a
//! removed secret until the state is accepted.
//!
//! # Keys
//! A store has up to 8 key slots. What opens a slot comes from a [`KeySource`]: 32 bytes themselves, Argon2id
//! (RFC 9106) over a passphrase, 32 random bytes that a key in a KMS or an HSM wraps, or 32 random
//! bytes that are split into recovery shares. Each slot opens the root key, which is random. It opens the key ring: key-encryption
//! keys (KEKs), of which one is active, and the key of the row MACs. A KEK wraps the data keys; each version has its own,
//! used once. After 2³¹ uses of a KEK a new one is started (NIST SP 800-38D, section 8.3, allows 2³² with random
//! nonces); [`NativeBackend::rotate_kek`] starts one immediately, rewraps all data keys and removes
//! the old KEKs. [`NativeBackend::rotate_root_key`] replaces all of these keys.
//!
//! # Format 2
//! The file is a `SQLite` database with `application_id` `0x53524f4d` (`SROM`) and
//! `user_version` 2. Numbers are big-endian, times are milliseconds since 1970 in 8 bytes, `‖` concatenates. All
//! sealing is AES-256-GCM with a random 12-byte nonce and a 16-byte tag. `expand(key, info)` is the
//! first block of HKDF-Expand (RFC 5869) with SHA-256: `HMAC-SHA-256(key, info ‖ 01)`.
//!
//! **Slots**, a row of `slots` each. Its kind is `key`, `passphrase`, `shares`, `aws-kms`, `transit`, `pkcs11`, `os-keyring`, or that of another
//! [`WrappingKey`](strongroom_core::WrappingKey). The slot key has 32 bytes, and `parameters` are a JSON object. Of a `key`, they
//! are `{}`, and the slot key is the key as given. Of a `passphrase`, they are `memory_kib`, `passes`, `lanes` and `salt` (16 bytes
//! in base64), and the slot key is its Argon2id, version 0x13. Of `shares`, they are `identifier`, `threshold` and `shares`, the number of all
//! shares, and the slot key is the master secret of the shares: SLIP-0039 with one group, the extendable flag, the iteration
//! exponent 0 and an empty passphrase. Of all others, they are `key_id`, the key's name; `binding`, 16
//! random bytes in hex; and `wrapped`, in base64: what the key has made of the slot key with the context `store`, the
//! `store_id` in hex, and `slot`, the binding. Each slot has a pair of keys of X25519 (RFC 7748). All three records begin with
//! a header of 9 bytes: `SRP`, `SRR` or `SRU` and format 1; algorithm, 1; id of the slot (4 bytes).
//!
//! - `private_key`, 101 bytes: the header ‖ commitment (32) ‖ nonce ‖ the private key, sealed under
//!   `expand(slot key, "strongroom v2 slot key")`, and the tag. The commitment is
//!   `expand(slot key, "strongroom v2 slot commitment" ‖ header ‖ store_id)`. Associated data: the header ‖ `store_id` ‖ length
//!   of the kind (4) ‖ kind ‖ `parameters`.
//! - `root_key`, 101 bytes: the header ‖ public key of a pair that is used once (32) ‖ nonce ‖ the root key, sealed, and the
//!   tag. Both pairs agree on a secret; with `extracted = HMAC-SHA-256(32 zeros, secret)`, it is sealed under
//!   `expand(extracted, "strongroom v2 agreed key" ‖ public key used once ‖ public key of the slot ‖ header ‖ store_id)`.
//!   Associated data: the header ‖ `store_id`.
//! - `public_key`, 69 bytes: the header ‖ nonce ‖ the public key, sealed under
//!   `expand(root, "strongroom v2 public key key" ‖ store_id)`, and the tag. Associated data: the header ‖ `store_id`.
//!
//! **Root key.** 32 random bytes; in a store that was created with schema 1, the key as given or the Argon2id of the
//! passphrase, until it is replaced. `root_check` is `expand(root, "strongroom v1 root check" ‖ store_id)`. The ring key
//! is `expand(root, "strongroom v1 ring key" ‖ store_id)`.
//!
//! **Ring key record**, `keyring.sealed`, 70 bytes, sealed under the ring key; associated data: the
//! first 10 bytes ‖ `store_id`.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `SRK` and format 1: `53 52 4b 01` |
//! | 4 | 1 | algorithm, 1 |
//! | 5 | 1 | purpose: 1 key encryption, 2 row MAC; also in the column `purpose` |
//! | 6 | 4 | id; also in the column `id` |
//! | 10 | 12 | nonce |
//! | 22 | 48 | the 32-byte key, sealed, and the tag |
//!
//! **Context** of a version: `store_id` (16) ‖ `secret_id` (16) ‖ version (8) ‖ created at (8) ‖
//! path.
//!
//! **Wrap**, `versions.wrap`, 69 bytes, sealed under a KEK; associated data: the first 9 bytes ‖
//! context.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `SRW` and format 1: `53 52 57 01` |
//! | 4 | 1 | algorithm, 1 |
//! | 5 | 4 | id of the KEK |
//! | 9 | 12 | nonce |
//! | 21 | 48 | the 32-byte data key, sealed, and the tag |
//!
//! **Body**, `versions.body`, 66 bytes longer than the value, sealed under
//! `expand(data key, "strongroom v1 body key")`; associated data: the first 6 bytes ‖ context. The
//! commitment is compared before anything is opened, since AES-GCM alone does not bind a
//! ciphertext to one key.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `SRB` and format 1: `53 52 42 01` |
//! | 4 | 1 | algorithm, 1 |
//! | 5 | 1 | format of the value: 0 text, 1 binary, 2 fields |
//! | 6 | 32 | commitment: `expand(data key, "strongroom v1 body commitment")` |
//! | 38 | 12 | nonce |
//! | 50 | n + 16 | the value, sealed, and the tag |
//!
//! **Row MACs**, `HMAC-SHA-256(MAC key, input)`, cover the columns that are not sealed. Every
//! number is 8 bytes; text and bytes follow their length as a number; a column that may be NULL
//! follows a byte 0 (NULL, and nothing follows) or 1. Each input begins with `53 52 4d 01` (`SRM`,
//! format 1), the letter of the table, and `store_id` (16 bytes, without a length).
//!
//! - `secrets`, letter `s`: `secret_id`, `active`, `first`, `latest`, `created_at`, `updated_at`,
//!   `deleted_at` (may be NULL), `expires_at` (may be NULL), `rotation_ms` (may be NULL), `kind`,
//!   `tier`, `description` (may be NULL), `tags` (a JSON object or NULL; its entries `strongroom.created_by` and
//!   `strongroom.updated_by` name principals), `path`.
//! - `keyring`, letter `k`: `id`, `purpose`, `state` (1 active, 2 decrypts only, 3 being retired),
//!   `uses`, `created_at`, `sealed`.
//! - `slots`, letter `l`: `id`, `kind`, `label` (may be NULL), `created_at`, `opened_at` (may be NULL), `parameters`,
//!   `private_key`, `root_key`, `public_key`.
//!
//! **State**, the one row of `state`: `number`, which begins with 1, and `sealed`, 78 bytes. Its key is
//! `expand(expand(MAC key, "strongroom v2 state key" ‖ store_id), number)`, one for each number, so that the bound on
//! random nonces is none on transactions; associated data: the first 9 bytes ‖ `store_id` ‖ number.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `SRS` and format 1: `53 52 53 01` |
//! | 4 | 1 | algorithm, 1 |
//! | 5 | 4 | id of the MAC key |
//! | 9 | 12 | nonce |
//! | 21 | 57 | count of the rows of `secrets` (8), flags (1; bit 0: the store has an anchor), sum (32), sealed, and the tag |
//!
//! The sum is that of the elements of all rows of `secrets`, deleted ones included, modulo 2²⁵⁶. The element of a row is
//! `HMAC-SHA-256(expand(MAC key, "strongroom v2 element key" ‖ store_id), MAC of the row)`, with the MAC key that has signed
//! the row. A row's MAC covers `first` and `latest`, so the sum covers which versions exist. The sum is sealed: the
//! differences of sums that an attacker can read are elements, and among many elements there are sets of earlier rows with
//! the sum of the newest, which a generalised birthday search finds. A transaction that changes a row of `secrets` or the
//! slots, or rotates keys, adds 1 to the number.
//!
//! **Anchor**, a file of 97 bytes. Its key is `expand(MAC key, "strongroom v2 anchor key" ‖ store_id)`.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `SRA` and format 1: `53 52 41 01` |
//! | 4 | 1 | algorithm, 1 |
//! | 5 | 4 | id of the MAC key |
//! | 9 | 16 | `store_id` |
//! | 25 | 8 | number of the state |
//! | 33 | 32 | tag of the state: the HMAC-SHA-256 of `53 52 54 01` (`SRT`, format 1) ‖ number ‖ sum ‖ count |
//! | 65 | 32 | the HMAC-SHA-256 of the 65 bytes before |
//!
//! A process replaces it as a whole, by a higher number alone, while it holds a lock on the file `NAME.lock` beside it.
//!
//! Rows of `secrets`, the state and the anchor may be signed or sealed with a MAC key that is being retired, all other rows
//! are signed by the active one.
//! All versions from `first` to `latest` of a secret exist, exactly the key with the highest id of each purpose is
//! active, and the file has the tables of this format and no others; anything else is `Corrupt`.
//! The crate's `tests/vectors` hold test vectors and an independent decoder in Python.
//!
//! **In PostgreSQL**, the tables have the same names and columns, in the schema `strongroom_native`: `bigint` or `smallint` for
//! numbers, `bytea`, and `text` with the collation `C`. A table `version` has the version of the tables, 1, which hold format
//! 2, and `usable_from`: the lowest version whose releases can use them. A transaction that writes locks the row of `state`
//! first (`FOR UPDATE`). The schema is created under the advisory lock `0x53524e5300000001`.
//!
//! Schema 1 had no slots, no state, and the parameters of Argon2id in the table `store`. Opening a store of it changes it
//! to schema 2: its key becomes that of slot 1, and its state has the number 1 and the sum over the rows that authenticate.

mod accept;
mod anchor;
mod anchor_store;
mod argon2id;
mod backend;
mod backup;
mod check;
mod config;
#[cfg(feature = "postgres")]
mod copy;
mod crypto;
mod decode;
mod error;
mod file;
mod guard;
mod key_file;
mod key_ring;
mod key_text;
mod maintenance;
mod new_file;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod rewrap;
mod root_key;
mod row_keys;
mod secret_page;
mod secret_row;
mod settings;
mod slots;
mod sqlite;
mod state;
mod state_change;
mod state_keys;
mod storage;
mod store;
mod store_cell;
mod store_name;
mod sum;
mod write;
mod writer;

pub use accept::AcceptedState;
pub use anchor_store::{AnchorStore, SecretAnchor};
pub use backend::NativeBackend;
pub use check::{Damage, StoreCheck};
pub use config::{KeySource, NativeConfig};
pub use maintenance::Sweep;
#[cfg(fuzzing)]
pub use record::fuzz_record;
pub use rewrap::{KekRotation, RootKeyRotation};
pub use settings::{PKCS11_MODULE, PKCS11_PIN, PKCS11_PIN_FILE, SETTINGS};
pub use slots::{RecoveryShares, Slot};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
