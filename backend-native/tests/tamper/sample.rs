//! A store with a few secrets, a connection that edits its file, and the checks after each edit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::Connection;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend, ErrorKind, ListOptions, MetadataPatch, PutOptions, SecretKind, SecretPath,
    SecretValue, Tier, VersionSelector,
};
use strongroom_testkit::report;
use tempfile::TempDir;

use crate::edit::{Edit, Tables};

/// Three versions, the second of which is active.
pub(crate) const DB: &str = "app/db";
/// Like `DB`, to swap parts with.
pub(crate) const TWIN: &str = "app/twin";
/// Two versions and all metadata there is.
pub(crate) const API: &str = "app/api";
/// One version and no optional metadata.
pub(crate) const PLAIN: &str = "app/plain";
/// Deleted, can be undeleted.
pub(crate) const DELETED: &str = "app/gone";

pub(crate) const NEW_YEAR_9000: Duration = Duration::from_secs(221_845_392_000);

/// What a caller can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    GetVersion(u64),
    Describe,
    Versions,
    Annotate,
    Put,
    Rollback(u64),
    Delete,
    Undelete,
}

use Operation::{Annotate, Delete, Describe, Get, GetVersion, Put, Rollback, Undelete, Versions};

impl Operation {
    /// All that looks at the row of a secret.
    pub(crate) const ALL: &[Self] =
        &[Get, GetVersion(1), Describe, Versions, Annotate, Put, Rollback(1), Delete, Undelete];

    pub(crate) async fn run(self, backend: &NativeBackend, path: &str) -> Result<(), ErrorKind> {
        let path = &parse(path);
        let annotation = || MetadataPatch::new().description("edited");
        let result = match self {
            Get => backend.get(path, &VersionSelector::Active).await.map(drop),
            GetVersion(version) => {
                backend.get(path, &VersionSelector::Exact(version.into())).await.map(drop)
            }
            Describe => backend.describe(path).await.map(drop),
            Versions => backend.versions(path).await.map(drop),
            Annotate => backend.annotate(path, &annotation()).await,
            Put => backend.put(path, "overwritten".into(), PutOptions::new()).await.map(drop),
            Rollback(version) => backend.rollback(path, &version.into()).await.map(drop),
            Delete => backend.delete(path).await,
            Undelete => backend.undelete(path).await,
        };
        result.map_err(|error| error.kind())
    }
}

/// What an edit must make unreadable: the operations on a path that answer `Corrupt`. With no
/// operations, the path is only left out of those that must stay readable.
pub(crate) struct Damage<'a> {
    pub(crate) path: &'a str,
    pub(crate) operations: Vec<Operation>,
}

impl<'a> Damage<'a> {
    pub(crate) fn row(path: &'a str) -> Self {
        Self { path, operations: Operation::ALL.to_vec() }
    }

    /// One version whose value does not open; whether `versions` notices is for the caller.
    pub(crate) fn version(path: &'a str, version: u64, listed: bool) -> Self {
        let mut operations = vec![GetVersion(version), Rollback(version)];
        if version == 2 {
            operations.push(Get);
        }
        if listed {
            operations.push(Versions);
        }
        Self { path, operations }
    }

    pub(crate) fn unchecked(path: &'a str) -> Self {
        Self { path, operations: Vec::new() }
    }
}

/// The store under attack.
pub(crate) struct Sample {
    pub(crate) directory: TempDir,
    pub(crate) backend: NativeBackend,
    pub(crate) editor: Connection,
    pristine: Tables,
    active_values: BTreeMap<&'static str, Vec<u8>>,
    edits: usize,
    refused: usize,
    failures: Vec<String>,
}

impl Sample {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("secrets.db");
        let backend = open(&store, &directory.path().join("store.key")).await.unwrap();
        fill(&backend).await;
        let editor = Connection::open(store).unwrap();
        editor.pragma_update(None, "synchronous", "OFF").unwrap();
        let pristine = Tables::read(&editor);
        let mut active_values = BTreeMap::new();
        for path in [DB, TWIN, API, PLAIN] {
            let secret = backend.get(&parse(path), &VersionSelector::Active).await.unwrap();
            active_values.insert(path, secret.expose_bytes().to_vec());
        }
        let (edits, refused, failures) = (0, 0, Vec::new());
        Self { directory, backend, editor, pristine, active_values, edits, refused, failures }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("secrets.db")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("store.key")
    }

    /// Edits the file, checks that exactly the damage is refused, and takes the edit back.
    pub(crate) async fn refuses(&mut self, edit: &Edit, damages: &[Damage<'_>]) {
        let before = self.readings(damages).await;
        edit.apply(&self.editor);
        let edited = Tables::dump(&self.editor);
        assert_ne!(edited, self.pristine.dump, "{edit}: changes nothing");

        let mut failures = Vec::new();
        for Damage { path, operations } in damages {
            for operation in operations {
                let outcome = operation.run(&self.backend, path).await;
                if outcome != Err(ErrorKind::Corrupt) {
                    failures.push(format!("{edit}: {operation:?} of {path} gave {outcome:?}"));
                }
            }
        }
        if Tables::dump(&self.editor) != edited {
            failures.push(format!("{edit}: was written over"));
        }
        self.others_are_readable(edit, damages, &mut failures).await;
        self.pristine.restore(&self.editor);
        if self.readings(damages).await != before {
            failures.push(format!("{edit}: taken back, it does not read as before"));
        }
        self.count(failures);
    }

    pub(crate) fn count(&mut self, failures: Vec<String>) {
        self.edits += 1;
        self.refused += usize::from(failures.is_empty());
        self.failures.extend(failures);
    }

    async fn others_are_readable(
        &self,
        edit: &Edit,
        damages: &[Damage<'_>],
        failures: &mut Vec<String>,
    ) {
        for (path, value) in &self.active_values {
            if damages.iter().any(|damage| damage.path == *path) {
                continue;
            }
            let secret = self.backend.get(&parse(path), &VersionSelector::Active).await;
            if !secret.is_ok_and(|secret| secret.expose_bytes() == value) {
                failures.push(format!("{edit}: {path} cannot be read any more"));
            }
        }
        // A corrupt secret is listed, so that the operator sees it.
        let listed = self.backend.list(None, &ListOptions::new()).await.unwrap().paths;
        for path in self.active_values.keys() {
            let unchecked =
                |damage: &Damage<'_>| damage.path == *path && damage.operations.is_empty();
            if !damages.iter().any(unchecked) && !listed.contains(&parse(path)) {
                failures.push(format!("{edit}: {path} is not listed any more"));
            }
        }
    }

    /// Everything that reads report about the damaged secrets.
    async fn readings(&self, damages: &[Damage<'_>]) -> Vec<String> {
        let mut readings = Vec::new();
        for damage in damages {
            let path = parse(damage.path);
            readings.push(format!("{:?}", self.backend.describe(&path).await.ok()));
            readings.push(format!("{:?}", self.backend.versions(&path).await.ok()));
            for version in 1..=3_u64 {
                let selector = VersionSelector::Exact(version.into());
                let value = self.backend.get(&path, &selector).await;
                let value = value.map(|secret| secret.expose_bytes().to_vec());
                readings.push(format!("{:?}", value.map_err(|error| error.kind())));
            }
        }
        readings
    }

    /// Says how it went, and fails unless every one of at least `least` edits was refused.
    pub(crate) async fn finish(self, least: usize) {
        report(format_args!("tampered: {} edits, {} refused", self.edits, self.refused));
        let some: Vec<_> = self.failures.iter().take(20).collect();
        assert!(some.is_empty(), "{} failures, such as {some:#?}", self.failures.len());
        assert_eq!(self.refused, self.edits);
        assert!(self.edits >= least, "only {} edits were tried", self.edits);
        self.backend.close().await.unwrap();
    }
}

pub(crate) async fn open(store: &Path, key: &Path) -> strongroom_core::Result<NativeBackend> {
    let mut config = NativeConfig::new(KeySource::KeyFile(key.to_owned()));
    config.path = Some(store.to_owned());
    NativeBackend::open(config).await
}

pub(crate) fn parse(path: &str) -> SecretPath {
    SecretPath::parse(path).unwrap()
}

pub(crate) async fn fill(backend: &NativeBackend) {
    let put = async |path, value: SecretValue, metadata| {
        let options = PutOptions::new().metadata(metadata);
        backend.put(&parse(path), value, options).await.unwrap();
    };
    for path in [DB, TWIN] {
        for value in ["1st", "second", "3rd"] {
            put(path, value.into(), MetadataPatch::new()).await;
        }
        backend.rollback(&parse(path), &2.into()).await.unwrap();
    }
    let metadata = MetadataPatch::new()
        .kind(SecretKind::ApiKey)
        .tier(Tier::Critical)
        .description("for tests")
        .expires_at(UNIX_EPOCH + NEW_YEAR_9000)
        .rotation_interval(Duration::from_secs(86_400))
        .tag("env", "test")
        .tag("team", "payments");
    put(API, "old".into(), metadata).await;
    put(API, SecretValue::fields([("user", "app"), ("key", "k")]), MetadataPatch::new()).await;
    put(PLAIN, SecretValue::binary(vec![0, 0xff, 0x80]), MetadataPatch::new()).await;
    put(DELETED, "gone".into(), MetadataPatch::new()).await;
    backend.delete(&parse(DELETED)).await.unwrap();
}
