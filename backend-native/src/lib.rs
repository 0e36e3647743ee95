//! Strongroom's embedded encrypted store: one `SQLite` file that several processes read and write
//! at once, with AES-256-GCM around every value.
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
//! - A value may have up to 16 MiB. A write waits up to 10 s for those of other processes.
//! - Once the file of an open store was removed or replaced, writes and `health` fail. Reads may
//!   still use the old file: after a restore, open the store again.
//! - Only a `put` creates a store, or opening with [`NativeConfig::create`]. Until then reads are `NotFound`
//!   and name the file, listings are empty, and `health` is `Degraded`.
//! - While no write waits, the store gives room back: a log of more than 8 MiB is truncated, and of empty
//!   pages the store keeps 4 MiB or a quarter of its size. A store that an earlier release created keeps its
//!   size until [`NativeBackend::vacuum`].
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
//! An attacker who can write the file can remove a whole secret, or restore an earlier authentic
//! state of a secret or of the file, without detection: detecting it takes an anchor outside the
//! file.
//!
//! # Keys
//! A store has up to 8 key slots. What opens a slot comes from a [`KeySource`]: 32 bytes themselves, or Argon2id
//! (RFC 9106) over a passphrase. Each slot opens the root key, which is random. It opens the key ring: key-encryption
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
//! **Slots**, a row of `slots` each. Its kind is `key` or `passphrase`. The slot key is the key as given, or Argon2id
//! version 0x13 of the passphrase, 32 bytes long, with the `parameters`, a JSON object: `memory_kib`, `passes`, `lanes`, and
//! `salt` (16 bytes in base64); of a key, `{}`. Each slot has a pair of keys of X25519 (RFC 7748). All three records begin with
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
//! Rows of `secrets` may be signed by a MAC key that is being retired, all others are signed by the active one.
//! All versions from `first` to `latest` of a secret exist, exactly the key with the highest id of each purpose is
//! active, and the file has the tables of this format and no others; anything else is `Corrupt`.
//! The crate's `tests/vectors` hold test vectors and an independent decoder in Python.
//!
//! Schema 1 had no slots, and the parameters of Argon2id in the table `store`. Opening a store of it changes it to schema 2.

mod accept;
mod anchor;
mod argon2id;
mod backend;
mod backup;
mod check;
mod config;
mod crypto;
mod error;
mod file;
mod guard;
mod key_file;
mod key_ring;
mod key_text;
mod location;
mod maintenance;
mod migrate;
mod new_file;
mod reader;
mod record;
mod rewrap;
mod room;
mod root_key;
mod row_keys;
mod schema;
mod secret_page;
mod secret_row;
mod settings;
mod slots;
mod state;
mod state_change;
mod state_keys;
mod store;
mod store_cell;
mod sum;
mod write;
mod writer;

pub use accept::AcceptedState;
pub use backend::NativeBackend;
pub use check::{Damage, StoreCheck};
pub use config::{KeySource, NativeConfig};
pub use maintenance::Sweep;
#[cfg(fuzzing)]
pub use record::fuzz_record;
pub use rewrap::{KekRotation, RootKeyRotation};
pub use settings::SETTINGS;
pub use slots::Slot;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
