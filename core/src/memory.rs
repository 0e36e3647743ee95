//! The reference backend: everything the contract describes, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::{
    Backend, BackendInfo, Capabilities, Capability, Condition, Description, Error, ErrorKind,
    Health, HealthStatus, ListOptions, ListPage, Metadata, MetadataPatch, Operation, PageToken,
    PutOptions, Result, Secret, SecretPath, SecretValue, Version, VersionInfo, VersionSelector,
};

const PAGE: usize = 100;

/// A store in memory, for tests and as the reference for backends. Closing or dropping it wipes its
/// secrets.
///
/// # Examples
/// ```
/// # async fn run() -> strongroom_core::Result<()> {
/// use strongroom_core::{Backend, MemoryBackend, PutOptions, SecretPath, VersionSelector};
///
/// let store = MemoryBackend::new();
/// let path = SecretPath::parse("openai/api-key")?;
/// store.put(&path, "sk-1".into(), PutOptions::new()).await?;
/// let secret = store.get(&path, &VersionSelector::Active).await?;
/// assert_eq!(secret.expose_text()?, "sk-1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryBackend {
    info: BackendInfo,
    /// `None` once closed.
    records: Mutex<Option<BTreeMap<SecretPath, Record>>>,
}

#[derive(Clone, Debug)]
struct Record {
    metadata: Metadata,
    active: u64,
    deleted: bool,
    versions: BTreeMap<u64, (SystemTime, SecretValue)>,
}

impl Record {
    fn set_deleted(&mut self, deleted: bool) {
        if self.deleted != deleted {
            self.deleted = deleted;
            self.metadata.updated_at = Some(now());
        }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBackend {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
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
        Self {
            info: BackendInfo::new("memory", "this process", capabilities),
            records: Mutex::new(Some(BTreeMap::new())),
        }
    }

    /// Runs one operation on the records and names operation, path and backend in its error.
    fn with<T>(
        &self,
        operation: Operation,
        path: Option<&SecretPath>,
        act: impl FnOnce(&mut BTreeMap<SecretPath, Record>) -> Result<T>,
    ) -> Result<T> {
        let result = match self.lock().as_mut() {
            Some(records) => act(records),
            None => Err(Error::backend_closed()),
        };
        result.map_err(|error| {
            let error = error.during(operation).from_backend(self.info.kind);
            match path {
                Some(path) => error.at(path),
                None => error,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<SecretPath, Record>>> {
        // A panic cannot leave the map half-changed: records are replaced whole.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.with(Operation::Get, Some(path), |records| {
            let record = find_live(records, path)?;
            record.metadata.ensure_not_expired(SystemTime::now())?;
            let number = match version {
                VersionSelector::Active => record.active,
                VersionSelector::Exact(version) => find_version(record, version)?,
                VersionSelector::Stage(_) => return Err(self.info.unsupported(Operation::Get)),
            };
            let (_, value) = record.versions.get(&number).ok_or_else(not_found)?;
            let metadata = record.metadata.clone();
            Ok(Secret::new(path.clone(), number.into(), metadata, value.clone()))
        })
    }

    async fn health(&self) -> Result<Health> {
        self.with(Operation::Health, None, |records| {
            let secrets = records.len().to_string();
            Ok(Health::new(HealthStatus::Ready).detail("secrets", secrets))
        })
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.with(Operation::Put, Some(path), |records| {
            options.refuse_scope()?;
            let existing = records.get(path);
            check(&options.condition, existing.map(|record| record.active))?;
            let now = now();
            let mut record = match existing.cloned() {
                Some(mut record) => {
                    options.metadata.apply(&mut record.metadata)?;
                    record
                }
                None => Record {
                    metadata: Metadata {
                        created_at: Some(now),
                        ..options.metadata.for_new_secret()?
                    },
                    active: 0,
                    deleted: false,
                    versions: BTreeMap::new(),
                },
            };
            record.metadata.updated_at = Some(now);
            let newest = record.versions.last_key_value().map_or(0, |(number, _)| *number);
            record.active = newest + 1;
            record.deleted = false;
            record.versions.insert(record.active, (now, value));
            let version = record.active.into();
            records.insert(path.clone(), record);
            Ok(version)
        })
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.with(Operation::Delete, Some(path), |records| {
            if let Some(record) = records.get_mut(path) {
                record.set_deleted(true);
            }
            Ok(())
        })
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.with(Operation::Undelete, Some(path), |records| {
            records.get_mut(path).ok_or_else(not_found)?.set_deleted(false);
            Ok(())
        })
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.with(Operation::Destroy, Some(path), |records| {
            records.remove(path);
            Ok(())
        })
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        self.with(Operation::List, prefix, |records| {
            let from = match (&options.page, prefix) {
                (Some(token), _) => Bound::Excluded(SecretPath::parse(token.as_str())?),
                (None, Some(prefix)) => Bound::Excluded(prefix.clone()),
                (None, None) => Bound::Unbounded,
            };
            let mut matching = records
                .range((from, Bound::Unbounded))
                .filter(|(path, _)| prefix.is_none_or(|prefix| path.below(prefix).is_some()))
                .filter(|(_, record)| matches(record, options))
                .map(|(path, _)| path.clone());
            let paths: Vec<_> = matching.by_ref().take(PAGE).collect();
            let more = matching.next().is_some();
            let next = paths.last().filter(|_| more).map(|path| PageToken::new(path.as_str()));
            Ok(ListPage::new(paths, next))
        })
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.with(Operation::Versions, Some(path), |records| {
            let record = find_live(records, path)?;
            let info = |(number, (created_at, _)): (&u64, &(SystemTime, SecretValue))| {
                VersionInfo::new((*number).into(), Some(*created_at), *number == record.active)
            };
            Ok(record.versions.iter().rev().map(info).collect())
        })
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.with(Operation::Rollback, Some(path), |records| {
            let number = find_version(find_live(records, path)?, version)?;
            let record = records.get_mut(path).ok_or_else(not_found)?;
            record.active = number;
            record.metadata.updated_at = Some(now());
            Ok(number.into())
        })
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.with(Operation::Describe, Some(path), |records| {
            let record = find_live(records, path)?;
            Ok(Description::new(path.clone(), record.active.into(), record.metadata.clone()))
        })
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.with(Operation::Annotate, Some(path), |records| {
            find_live(records, path)?;
            let record = records.get_mut(path).ok_or_else(not_found)?;
            patch.apply(&mut record.metadata)?;
            record.metadata.updated_at = Some(now());
            Ok(())
        })
    }

    async fn close(&self) -> Result<()> {
        self.lock().take();
        Ok(())
    }
}

fn find_live<'a>(
    records: &'a BTreeMap<SecretPath, Record>,
    path: &SecretPath,
) -> Result<&'a Record> {
    records.get(path).filter(|record| !record.deleted).ok_or_else(not_found)
}

fn find_version(record: &Record, version: &Version) -> Result<u64> {
    version.number().filter(|number| record.versions.contains_key(number)).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "list the versions that exist with `versions`")
            .because("no such version")
    })
}

fn check(condition: &Condition, active: Option<u64>) -> Result<()> {
    let cause = match (condition, active) {
        (Condition::None, _) | (Condition::MustNotExist, None) => return Ok(()),
        (Condition::MustNotExist, Some(_)) => "the path already holds a secret",
        (Condition::MustBeVersion(version), Some(active)) if *version == active.into() => {
            return Ok(());
        }
        (Condition::MustBeVersion(_), Some(_)) => "another version is active",
        (Condition::MustBeVersion(_), None) => "the path holds no secret",
    };
    Err(Error::new(ErrorKind::Conflict, "read the secret again and retry").because(cause))
}

fn matches(record: &Record, options: &ListOptions) -> bool {
    (options.include_deleted || !record.deleted) && options.matches(&record.metadata)
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or write the secret first")
}

/// Now, to the millisecond as in other stores.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000)
}
