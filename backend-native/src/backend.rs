//! The backend: reads run on the thread of the caller, writes on the writer thread.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "postgres")]
use std::time::Duration;

use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, ChangeFeed, Condition, Description, Error,
    ErrorKind, Health, HealthStatus, ListOptions, ListPage, MetadataPatch, Operation, Problems,
    PutOptions, Result, Secret, SecretPath, SecretValue, SettingNames, Version, VersionInfo,
    VersionSelector, async_trait,
};

use crate::accept::{self, AcceptedState};
use crate::backup;
use crate::check::{self, StoreCheck};
use crate::config::{KeySource, NativeConfig};
use crate::crypto;
use crate::error::{KIND, name_store};
use crate::maintenance::{self, Sweep};
use crate::place::Place;
#[cfg(feature = "postgres")]
use crate::postgres::DatabaseReaders;
use crate::rewrap::{self, KekRotation, RootKeyRotation};
use crate::slots::{self, NewSlot, RecoveryShares, Slot, SlotSecret};
use crate::sqlite::changes::Feeds;
use crate::sqlite::readers::{Reader, Readers};
use crate::storage::Snapshot;
use crate::store::{self, IfMissing, Store};
use crate::store_cell::StoreCell;
use crate::write::{self, Retention};
use crate::writer::{SharedTransaction, Writer, run_on_thread};

/// An open native store. Several processes, and several of these in one process, may have the same
/// file open; each sees the writes of the others at its next read.
pub struct NativeBackend {
    info: BackendInfo,
    names: SettingNames,
    cell: Arc<StoreCell>,
    reads: Reads,
    writer: Writer,
    retention: Retention,
    group: Option<u32>,
}

/// How long a read from a database may be served from a cache, which hears of changes by other processes.
#[cfg(feature = "postgres")]
const DATABASE_CACHE_TTL: Duration = Duration::from_secs(300);

/// Where reads go.
enum Reads {
    File(Readers, Feeds),
    #[cfg(feature = "postgres")]
    Database(Arc<DatabaseReaders>),
}

impl NativeBackend {
    /// Opens a store. A missing store is created by the first `put`, or here if
    /// [`NativeConfig::create`] is set, together with its key file if that does not exist either. Emits a
    /// `tracing` event at the level WARN for each file that is created, and if there is no store yet.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config): a path cannot be used, others can access the
    /// store or the key file, the key file of an existing store is missing, its anchor is missing or that of another
    /// store, the file is not a Strongroom store, or it is mounted without its folder or on a network file system.
    /// [`Denied`](strongroom_core::ErrorKind::Denied): the store or its folder is read-only.
    /// [`Unauthenticated`](strongroom_core::ErrorKind::Unauthenticated): the key
    /// does not open this store. [`Unsupported`](strongroom_core::ErrorKind::Unsupported): a newer
    /// release wrote it. [`Corrupt`](strongroom_core::ErrorKind::Corrupt): it is damaged, or its anchor has seen a later
    /// state: an earlier copy was put back, which [`accept_state`](Self::accept_state) accepts.
    pub async fn open(config: NativeConfig) -> Result<Self> {
        let retention = Retention { versions: config.keep_versions, days: config.keep_days };
        let (names, group) = (config.names.clone(), config.group);
        let (writer, cell) = Writer::start(config)
            .await
            .map_err(|error| names.rename(error).during(Operation::Open).from_backend(KIND))?;
        let capabilities = Capabilities::none().with_all(&[
            Capability::Put,
            Capability::Conditions,
            Capability::Binary,
            Capability::Versions,
            Capability::Rollback,
            Capability::Delete,
            Capability::Undelete,
            Capability::List,
            Capability::Metadata,
        ]);
        let mut info = BackendInfo::new(KIND, cell.place().name().to_string(), capabilities);
        info.alternatives = "the backend `aws`, which labels versions".into();
        info.rotation_alternatives =
            Some("the backend `aws`, or `hashicorp` for passwords of database roles".into());
        let reads = match cell.place() {
            Place::File(_) => Reads::File(Readers::new(Arc::clone(&cell)), Feeds::new()),
            #[cfg(feature = "postgres")]
            Place::Database(location) => {
                info.default_cache_ttl = Some(DATABASE_CACHE_TTL);
                let location = Arc::clone(location);
                Reads::Database(Arc::new(DatabaseReaders::new(Arc::clone(&cell), location)))
            }
        };
        Ok(Self { info, names, cell, reads, writer, retention, group })
    }

    /// Starts a new key-encryption key and rewraps every data key; values are not touched. Other
    /// processes can read and write meanwhile. If an earlier rotation was interrupted, this
    /// finishes it instead.
    ///
    /// What opens the store stays the same, so this does not help after a key or passphrase has leaked: see
    /// [`rotate_root_key`](Self::rotate_root_key).
    ///
    /// # Errors
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if the file cannot be written. The
    /// data keys rewrapped until then stay so, and the next call resumes.
    pub async fn rotate_kek(&self) -> Result<KekRotation> {
        rewrap::rotate_kek(&self.writer)
            .await
            .map_err(|error| self.with_context(error, Operation::Rotate, None))
    }

    /// Replaces the root key, and with it all other keys of the store: seals a new one to all slots in one transaction,
    /// rewraps every data key and signs every row again. Values are not touched. Other processes that have the store open
    /// follow. An earlier rotation that was interrupted is finished first.
    ///
    /// After a key or passphrase has leaked: [`add_slot`](Self::add_slot) with another one, open the store with that,
    /// [`remove_slot`](Self::remove_slot) of the leaked one, look at the [`slots`](Self::slots), and then this. From then
    /// on, the leaked key and earlier copies of the file do not open this one. Both together still open the values of those
    /// copies, so replace the secrets themselves as well. Who has both and can write the file can put keys that they know
    /// back: see the crate's documentation on rollback.
    ///
    /// # Errors
    /// [`Corrupt`](strongroom_core::ErrorKind::Corrupt) if a slot or the key ring was edited; remove such a slot first.
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if the file cannot be written. What was done until then
    /// stays, and the next call resumes.
    pub async fn rotate_root_key(&self) -> Result<RootKeyRotation> {
        rewrap::rotate_root_key(&self.writer)
            .await
            .map_err(|error| self.with_context(error, Operation::Rotate, None))
    }

    /// The slots that open the store, in the order of their numbers.
    ///
    /// # Errors
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound) if there is no store,
    /// [`Corrupt`](strongroom_core::ErrorKind::Corrupt) if a slot was edited.
    pub async fn slots(&self) -> Result<Vec<Slot>> {
        self.run_on_store(|store| {
            let tables = &*store.connect()?;
            let _snapshot = Snapshot::begin(tables)?;
            let key_ring = store.load_key_ring(tables)?;
            slots::list(tables, &key_ring.rows, store.slot())
        })
        .await
    }

    /// Adds a slot, so that another key or passphrase opens the store as well. Returns its number. A key file that does
    /// not exist is created. The label, of 1 to 64 bytes, says to operators what the slot is.
    ///
    /// # Errors
    /// [`Conflict`](strongroom_core::ErrorKind::Conflict) if the store has 8 slots, or the key opens one already;
    /// [`Config`](strongroom_core::ErrorKind::Config) if the key cannot be used;
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) for a label that is not valid;
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound) if there is no store.
    pub async fn add_slot(&self, key: KeySource, label: Option<String>) -> Result<u32> {
        let group = self.group;
        let new = self
            .run_on_store(move |store| {
                let mut problems = Problems::new();
                key.check_file(&mut problems);
                problems.into_result()?;
                slots::check_label(label.as_deref())?;
                // Before a key file is created.
                slots::check_room(&*store.connect()?)?;
                store::create_key(&key)?;
                NewSlot::new(&SlotSecret::read(&key, group)?, store.id(), label)
            })
            .await?;
        self.store_slot(new).await
    }

    /// Makes recovery shares, of which any `threshold` are going to open a slot together: Shamir's secret sharing of a random
    /// key, as words of [SLIP-0039](https://github.com/satoshilabs/slips/blob/master/slip-0039.md). Fewer of them say nothing
    /// about the key. They exist in the result alone: give each to another holder,
    /// [add their slot](Self::add_recovery_slot) once all have theirs, and drop it.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) unless 2 ≤ `threshold` ≤ `shares` ≤ 16, and those of
    /// [`add_slot`](Self::add_slot).
    pub async fn new_recovery_shares(
        &self,
        threshold: u8,
        shares: u8,
        label: Option<String>,
    ) -> Result<RecoveryShares> {
        self.run_on_store(move |store| {
            let tables = &*store.connect()?;
            slots::check_room(tables)?;
            let shares = RecoveryShares::split(tables, threshold, shares, label);
            crypto::wipe_stack();
            shares
        })
        .await
    }

    /// Adds the slot that recovery shares open, and returns its number. [`KeySource::RecoveryShares`] opens the store with
    /// them from then on.
    ///
    /// # Errors
    /// Those of [`add_slot`](Self::add_slot).
    pub async fn add_recovery_slot(&self, shares: &RecoveryShares) -> Result<u32> {
        self.store_slot(shares.new_slot()).await
    }

    /// Writes a new slot, and returns its number.
    async fn store_slot(&self, new: NewSlot) -> Result<u32> {
        let add = move |transaction: &SharedTransaction<'_>| {
            let SharedTransaction { tables, key_ring, store, now, .. } = transaction;
            let row = store.load_row(*tables)?;
            transaction.state_change.touch();
            slots::add(*tables, key_ring, &row, store.slot(), new, *now)
        };
        let added = self.writer.submit(IfMissing::Leave, add).await;
        added.map_err(|error| self.with_context(error, Operation::Maintain, None))
    }

    /// Removes a slot by its number: its key or passphrase does not open the store from then on. Who has had both may
    /// know the root key: see [`rotate_root_key`](Self::rotate_root_key).
    ///
    /// # Errors
    /// [`Conflict`](strongroom_core::ErrorKind::Conflict) for the slot that this `NativeBackend` has opened the store
    /// with, so that the last slot cannot be removed; [`NotFound`](strongroom_core::ErrorKind::NotFound) if there is no
    /// such slot.
    pub async fn remove_slot(&self, id: u32) -> Result<()> {
        let remove = move |transaction: &SharedTransaction<'_>| {
            let SharedTransaction { tables, store, .. } = transaction;
            slots::remove(*tables, &store.load_row(*tables)?, store.slot(), id)?;
            transaction.state_change.touch();
            transaction.truncate_log.set(true);
            Ok(())
        };
        let removed = self.writer.submit(IfMissing::Leave, remove).await;
        removed.map_err(|error| self.with_context(error, Operation::Maintain, None))
    }

    /// Authenticates every record of the store and opens every value, in one snapshot. Reads and writes go on meanwhile.
    ///
    /// It finds what was damaged or changed from outside, that secrets were removed or replaced by earlier ones, and that
    /// the file is an earlier copy of itself, as far as this process or the anchor knows a later state. It names what is
    /// left: of a secret that was removed with its versions nothing is, so it tells how many there were.
    ///
    /// # Errors
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound) if there is no store,
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if it cannot be read. Damage is no error.
    pub async fn verify(&self) -> Result<StoreCheck> {
        let verify = |store: Arc<Store>| {
            let tables = &*store.connect()?;
            let mut found = check::check(tables, |snapshot| store.load_key_ring(snapshot))?;
            let guarded = store.with_current_keys(tables, |key_ring| {
                let fetched = store.guard().fetch_anchor(&key_ring.rows);
                // Without the store of the anchor, what this process knows of it counts.
                store.guard().check_health(tables, &key_ring.rows).and(fetched)
            });
            match guarded {
                // The check has reported a state that cannot be read.
                Err(error) if error.kind() == ErrorKind::Corrupt && found.state > 0 => {
                    found.add(None, None, error.cause().to_owned());
                }
                _ => {}
            }
            Ok(found)
        };
        self.run_on_store(verify).await
    }

    /// Writes the store as it is at one moment to a new file of mode 0600, which has no key, and checks the whole file
    /// as [`verify`](Self::verify) does. Reads and writes go on meanwhile. The file is there only once it is whole.
    ///
    /// A damaged record is in the file as it is in the store, and the result tells of it.
    ///
    /// Keep the key, or the passphrase, apart from it: both together open it.
    ///
    /// # Errors
    /// [`Conflict`](strongroom_core::ErrorKind::Conflict) if the file exists,
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it cannot be created, and those of
    /// [`verify`](Self::verify).
    pub async fn backup(&self, target: impl Into<PathBuf>) -> Result<StoreCheck> {
        let target = target.into();
        self.run_on_store(move |store| backup::backup(&store, &target)).await
    }

    /// Makes a store of a backup where `config` says, with the key that it names, and checks all of it before. Open it
    /// then.
    ///
    /// A damaged record is in the store as it is in the backup, and the result tells of it.
    ///
    /// A store with an anchor refuses to open after it, until [`accept_state`](Self::accept_state).
    ///
    /// A restored store knows nothing of what was written after the backup. Rotations that happened since then have
    /// replaced keys: let their issuers issue new ones.
    ///
    /// # Errors
    /// [`Conflict`](strongroom_core::ErrorKind::Conflict) if a store, or the log of one, is there;
    /// [`Unauthenticated`](strongroom_core::ErrorKind::Unauthenticated) if the key does not open the backup;
    /// [`Config`](strongroom_core::ErrorKind::Config) if it holds no store or the configuration is wrong;
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it cannot be read. Damage is no error.
    pub async fn restore(config: NativeConfig, backup: impl Into<PathBuf>) -> Result<StoreCheck> {
        let backup = backup.into();
        let names = config.names.clone();
        run_on_thread("strongroom-restore", move || backup::restore(&config, &backup))
            .await
            .map_err(|error| names.rename(error).during(Operation::Maintain).from_backend(KIND))
    }

    /// Accepts the state that the store has, although it is not the expected one, for an operator who knows why: after a
    /// restore from a backup, after a damaged secret was destroyed, or when the anchor was lost. It works on a store that
    /// refuses to open. It computes the state from all secrets, advances its number beyond those of the file and of the
    /// anchor, and writes the anchor, if one is configured. Check the store before,
    /// for which it can be opened without the anchor: what was removed or replaced until then is not found any more.
    ///
    /// Without [`anchor_file`](NativeConfig::anchor_file) and [`anchor_store`](NativeConfig::anchor_store), the store
    /// forgets that it had an anchor.
    ///
    /// # Errors
    /// [`NotFound`](strongroom_core::ErrorKind::NotFound) if there is no store,
    /// [`Config`](strongroom_core::ErrorKind::Config) if the anchor is not one, or that of another store, and those of
    /// [`open`](Self::open) about the files and the key.
    pub async fn accept_state(config: NativeConfig) -> Result<AcceptedState> {
        let names = config.names.clone();
        run_on_thread("strongroom-accept", move || accept::accept(&config))
            .await
            .map_err(|error| names.rename(error).during(Operation::Maintain).from_backend(KIND))
    }

    /// Removes the versions that [`keep_versions`](NativeConfig::keep_versions) and
    /// [`keep_days`](NativeConfig::keep_days) do not keep, also of secrets that are not written any more. The active
    /// version stays, and those after it. Small transactions let other writes through; an interrupted sweep can be repeated.
    ///
    /// # Errors
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if the file cannot be written.
    pub async fn sweep(&self) -> Result<Sweep> {
        maintenance::sweep(&self.writer, self.retention)
            .await
            .map_err(|error| self.with_context(error, Operation::Maintain, None))
    }

    /// Rewrites the file without the pages that are empty. Reads go on meanwhile, and writes wait: those that wait for
    /// over 10 s fail. It needs free space of twice the size of the store, in its folder and in that of temporary files.
    ///
    /// # Errors
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if another process writes for over 10 s, or the disk is
    /// full; nothing is lost then.
    pub async fn vacuum(&self) -> Result<()> {
        self.run_on_store(|store| maintenance::vacuum(&store)).await
    }

    /// Runs a call on the open store, on a thread of its own.
    async fn run_on_store<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Store>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let run = async {
            let store = self.open_store().await?;
            run_on_thread("strongroom-store", move || call(store)).await
        };
        run.await.map_err(|error| self.with_context(error, Operation::Maintain, None))
    }

    /// The open store, after opening one that another process has created meanwhile.
    async fn open_store(&self) -> Result<Arc<Store>> {
        self.open_if_appeared().await?;
        self.cell.get()
    }

    /// Reads the anchor if it is in another store, on a thread of its own.
    async fn fetch_anchor(&self, store: Arc<Store>) -> Result<()> {
        if store.guard().stored_anchor().is_none() {
            return Ok(());
        }
        let fetch = move || {
            let tables = &*store.connect()?;
            store.with_current_keys(tables, |key_ring| store.guard().fetch_anchor(&key_ring.rows))
        };
        run_on_thread("strongroom-anchor", fetch).await
    }

    async fn open_if_appeared(&self) -> Result<()> {
        self.writer.check_process()?;
        if self.cell.has_appeared() {
            self.writer.submit(IfMissing::Leave, |_| Ok(())).await?;
        }
        Ok(())
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: Operation,
        path: &SecretPath,
        if_missing: IfMissing,
        mut write: impl FnMut(&SharedTransaction<'_>, &SecretPath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let owned = path.clone();
        let write = move |transaction: &SharedTransaction<'_>| write(transaction, &owned);
        let result = self.writer.submit_for(path.clone(), if_missing, write).await;
        result.map_err(|error| self.with_context(error, operation, Some(path)))
    }

    /// Adds the operation, the path, the backend and the store to an error, and names settings as the
    /// caller set them.
    fn with_context(&self, error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
        let error = self.names.rename(name_store(error, &self.cell.place().name()));
        let error = error.during(operation).from_backend(KIND);
        match path {
            Some(path) => error.at(path),
            None => error,
        }
    }
}

#[async_trait]
impl Backend for NativeBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let exact = match version {
            VersionSelector::Active => None,
            VersionSelector::Exact(version) => Some(version),
            _ => return Err(self.info.unsupported(Operation::Get).at(path)),
        };
        let run = async {
            self.open_if_appeared().await?;
            match &self.reads {
                Reads::File(readers, _) => readers.run(|reader| reader.get(path, exact)),
                #[cfg(feature = "postgres")]
                Reads::Database(readers) => readers.get(path, exact).await,
            }
        };
        run.await.map_err(|error| self.with_context(error, Operation::Get, Some(path)))
    }

    async fn health(&self) -> Result<Health> {
        if self.cell.is_missing() && !self.cell.has_appeared() {
            return Ok(missing_store());
        }
        let run = async {
            self.fetch_anchor(self.open_store().await?).await?;
            match &self.reads {
                Reads::File(readers, _) => readers.run(Reader::health),
                #[cfg(feature = "postgres")]
                Reads::Database(readers) => readers.health().await,
            }
        };
        match run.await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(missing_store()),
            health => health.map_err(|error| self.with_context(error, Operation::Health, None)),
        }
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let retention = self.retention;
        let if_missing = match options.condition {
            // It cannot succeed without a store.
            Condition::MustBeVersion(_) => IfMissing::Leave,
            _ => IfMissing::Create,
        };
        let written = self.write(Operation::Put, path, if_missing, move |transaction, path| {
            write::put(transaction, path, &value, &options, retention)
        });
        written.await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                write::no_such_secret().during(Operation::Put).from_backend(KIND).at(path)
            }
            _ => error,
        })
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        unless_missing(self.write(Operation::Delete, path, IfMissing::Leave, write::delete).await)
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.write(Operation::Undelete, path, IfMissing::Leave, write::undelete).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        unless_missing(self.write(Operation::Destroy, path, IfMissing::Leave, write::destroy).await)
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        let run = async {
            self.open_if_appeared().await?;
            match &self.reads {
                Reads::File(readers, _) => readers.run(|reader| reader.list(prefix, options)),
                #[cfg(feature = "postgres")]
                Reads::Database(readers) => readers.list(prefix, options).await,
            }
        };
        let page = run.await.map_err(|error| self.with_context(error, Operation::List, prefix));
        unless_missing(page)
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        let run = async {
            self.open_if_appeared().await?;
            match &self.reads {
                Reads::File(readers, _) => readers.run(|reader| reader.versions(path)),
                #[cfg(feature = "postgres")]
                Reads::Database(readers) => readers.versions(path).await,
            }
        };
        run.await.map_err(|error| self.with_context(error, Operation::Versions, Some(path)))
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        let version = version.clone();
        self.write(Operation::Rollback, path, IfMissing::Leave, move |transaction, path| {
            write::rollback(transaction, path, &version)
        })
        .await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        let run = async {
            self.open_if_appeared().await?;
            match &self.reads {
                Reads::File(readers, _) => readers.run(|reader| reader.describe(path)),
                #[cfg(feature = "postgres")]
                Reads::Database(readers) => readers.describe(path).await,
            }
        };
        run.await.map_err(|error| self.with_context(error, Operation::Describe, Some(path)))
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        let patch = patch.clone();
        self.write(Operation::Annotate, path, IfMissing::Leave, move |transaction, path| {
            write::annotate(transaction, path, &patch)
        })
        .await
    }

    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        match &self.reads {
            Reads::File(_, feeds) => feeds.start(&self.cell),
            #[cfg(feature = "postgres")]
            Reads::Database(readers) => readers.changes(),
        }
    }

    async fn close(&self) -> Result<()> {
        self.writer
            .check_process()
            .map_err(|error| self.with_context(error, Operation::Close, None))?;
        match &self.reads {
            Reads::File(readers, feeds) => {
                readers.close();
                feeds.close();
            }
            #[cfg(feature = "postgres")]
            Reads::Database(readers) => readers.close(),
        }
        self.writer.close().await;
        Ok(())
    }
}

/// The health of a store that does not exist yet.
fn missing_store() -> Health {
    Health::new(HealthStatus::Degraded).detail("store", "missing; the first write creates it")
}

/// The outcome of an operation that fails with `NotFound` only if there is no store: without one, nothing
/// is listed, and nothing need be removed.
fn unless_missing<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

impl fmt::Debug for NativeBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeBackend").field("info", &self.info).finish_non_exhaustive()
    }
}
