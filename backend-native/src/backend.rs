//! The backend: reads run on the thread of the caller, writes on the writer thread.

use std::fmt;

use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Description, Error, Health, ListOptions,
    ListPage, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath, SecretValue,
    Version, VersionInfo, VersionSelector, async_trait,
};

use crate::config::NativeConfig;
use crate::error::KIND;
use crate::reader::Readers;
use crate::rewrap::{self, KekRotation};
use crate::write::{self, Retention};
use crate::writer::{SharedTransaction, Writer};

/// An open native store. Several processes, and several of these in one process, may have the same
/// file open; each sees the writes of the others at its next read.
pub struct NativeBackend {
    info: BackendInfo,
    readers: Readers,
    writer: Writer,
    retention: Retention,
}

impl NativeBackend {
    /// Opens a store, and creates it if it does not exist, together with its key file if that does
    /// not exist either. Emits a `tracing` event at the level WARN for each file it creates.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config): a path cannot be used, others can read the
    /// store or the key file, the key file of an existing store is missing, or the file is not a
    /// Strongroom store. [`Unauthenticated`](strongroom_core::ErrorKind::Unauthenticated): the key
    /// does not open this store. [`Unsupported`](strongroom_core::ErrorKind::Unsupported): a newer
    /// release wrote it. [`Corrupt`](strongroom_core::ErrorKind::Corrupt): it is damaged.
    pub async fn open(config: NativeConfig) -> Result<Self> {
        let retention = Retention { versions: config.keep_versions, days: config.keep_days };
        let names = config.names.clone();
        let (writer, store) = Writer::start(config)
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
        let info = BackendInfo::new(KIND, store.path().display().to_string(), capabilities);
        Ok(Self { info, readers: Readers::new(store), writer, retention })
    }

    /// Starts a new key-encryption key and rewraps every data key; values are not touched. Other
    /// processes can read and write meanwhile. If an earlier rotation was interrupted, this
    /// finishes it instead.
    ///
    /// The key or passphrase that opens the store stays the same, so this does not help after it
    /// has leaked. In that case create a new store with a new key, and write new secrets into it.
    ///
    /// # Errors
    /// [`Unavailable`](strongroom_core::ErrorKind::Unavailable) if the file cannot be written. The
    /// data keys rewrapped until then stay so, and the next call resumes.
    pub async fn rotate_kek(&self) -> Result<KekRotation> {
        rewrap::rotate(&self.writer)
            .await
            .map_err(|error| with_context(error, Operation::Rotate, None))
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: Operation,
        path: &SecretPath,
        write: impl FnOnce(&SharedTransaction<'_>, &SecretPath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let owned = path.clone();
        let result = self.writer.submit(move |transaction| write(transaction, &owned)).await;
        result.map_err(|error| with_context(error, operation, Some(path)))
    }
}

/// Adds the operation, the path and the backend to an error.
fn with_context(error: Error, operation: Operation, path: Option<&SecretPath>) -> Error {
    let error = error.during(operation).from_backend(KIND);
    match path {
        Some(path) => error.at(path),
        None => error,
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
        self.readers
            .run(|reader| reader.get(path, exact))
            .map_err(|error| with_context(error, Operation::Get, Some(path)))
    }

    async fn health(&self) -> Result<Health> {
        self.readers
            .run(|reader| reader.health())
            .map_err(|error| with_context(error, Operation::Health, None))
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let retention = self.retention;
        self.write(Operation::Put, path, move |transaction, path| {
            write::put(transaction, path, &value, &options, retention)
        })
        .await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.write(Operation::Delete, path, write::delete).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.write(Operation::Undelete, path, write::undelete).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.write(Operation::Destroy, path, write::destroy).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        self.readers
            .run(|reader| reader.list(prefix, options))
            .map_err(|error| with_context(error, Operation::List, prefix))
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.readers
            .run(|reader| reader.versions(path))
            .map_err(|error| with_context(error, Operation::Versions, Some(path)))
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        let version = version.clone();
        self.write(Operation::Rollback, path, move |transaction, path| {
            write::rollback(transaction, path, &version)
        })
        .await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.readers
            .run(|reader| reader.describe(path))
            .map_err(|error| with_context(error, Operation::Describe, Some(path)))
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        let patch = patch.clone();
        self.write(Operation::Annotate, path, move |transaction, path| {
            write::annotate(transaction, path, &patch)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.readers.close();
        self.writer.close().await;
        Ok(())
    }
}

impl fmt::Debug for NativeBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeBackend").field("info", &self.info).finish_non_exhaustive()
    }
}
