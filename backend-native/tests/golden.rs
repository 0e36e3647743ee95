//! Stores written by earlier releases stay readable and writable. `golden/store-v1.json` lists the
//! content of all files; `vectors/decode.py` reads them without this crate.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend, ErrorKind, ListOptions, Metadata, MetadataPatch, PutOptions, SecretPath, ValueFormat,
    VersionSelector,
};
use tempfile::TempDir;

fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn contents() -> Value {
    serde_json::from_slice(&fs::read(golden_directory().join("store-v1.json")).unwrap()).unwrap()
}

/// A private copy of one store.
struct Copy {
    directory: TempDir,
    store: Value,
}

impl Copy {
    fn of(store: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["file", "key_file"].into_iter().filter_map(|field| store[field].as_str()) {
            let copy = directory.path().join(name);
            fs::copy(golden_directory().join(name), &copy).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(copy, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        Self { directory, store: store.clone() }
    }

    async fn open(&self) -> NativeBackend {
        NativeBackend::open(self.config()).await.unwrap()
    }

    fn config(&self) -> NativeConfig {
        let key = match self.store["key_file"].as_str() {
            Some(name) => KeySource::KeyFile(self.directory.path().join(name)),
            None if self.store["shares"].is_array() => {
                // The last ones, as many as are needed.
                let shares = self.store["shares"].as_array().unwrap().iter().rev().take(3);
                let shares = shares.map(|share| share.as_str().unwrap().into());
                KeySource::RecoveryShares(shares.collect())
            }
            None => KeySource::Passphrase(self.store["passphrase"].as_str().unwrap().into()),
        };
        let mut config = NativeConfig::new(key);
        config.path = Some(self.directory.path().join(self.store["file"].as_str().unwrap()));
        config
    }
}

#[tokio::test]
async fn reads_all_of_a_version_1_store() {
    let contents = contents();
    for store in contents["stores"].as_array().unwrap() {
        let copy = Copy::of(store);
        let backend = copy.open().await;
        let secrets = contents["secrets"].as_array().unwrap();
        for secret in secrets {
            assert_reads(&backend, secret).await;
        }
        let found = backend.verify().await.unwrap();
        assert_eq!((found.damaged, found.secrets), (0, secrets.len() as u64));
        let listed = backend.list(None, &ListOptions::new().include_deleted()).await.unwrap();
        assert_eq!(listed.paths.len(), secrets.len());
        backend.close().await.unwrap();
    }
}

#[tokio::test]
async fn each_slot_of_a_version_2_store_opens_it() {
    let file = fs::read(golden_directory().join("store-v2.json")).unwrap();
    let stores: Value = serde_json::from_slice(&file).unwrap();
    let stores = stores["stores"].as_array().unwrap();
    assert_eq!(stores.len(), 2);
    let slots = stores.iter().flat_map(|store| {
        store["slots"].as_array().unwrap().iter().enumerate().map(move |slot| (store, slot))
    });
    for (store, (number, slot)) in slots {
        let mut opened_with = slot.clone();
        opened_with["file"] = store["file"].clone();
        let copy = Copy::of(&opened_with);
        let backend = copy.open().await;
        let slots = backend.slots().await.unwrap();
        assert_eq!((slots.len(), slots[number].is_current), (2, true));
        assert_eq!(backend.verify().await.unwrap().damaged, 0);
        for secret in contents()["secrets"].as_array().unwrap() {
            assert_reads(&backend, secret).await;
        }
        backend.close().await.unwrap();
    }
}

async fn assert_reads(backend: &NativeBackend, secret: &Value) {
    let path = path(secret);
    let active = backend.get(&path, &VersionSelector::Active).await;
    if secret["deleted"] == true {
        assert_eq!(active.unwrap_err().kind(), ErrorKind::NotFound);
        backend.undelete(&path).await.unwrap();
    } else {
        assert_eq!(active.unwrap().version().number(), secret["active"].as_u64());
    }
    let description = backend.describe(&path).await.unwrap();
    assert_eq!(description.version.number(), secret["active"].as_u64());
    assert_metadata(&description.metadata, secret);

    let versions = secret["versions"].as_array().unwrap();
    assert_eq!(backend.versions(&path).await.unwrap().len(), versions.len());
    for (number, version) in (1_u64..).zip(versions) {
        let selector = VersionSelector::Exact(number.into());
        let read = backend.get(&path, &selector).await.unwrap();
        let format = match read.value().format() {
            ValueFormat::Text => "text",
            ValueFormat::Binary => "binary",
            ValueFormat::Fields => "fields",
            _ => "unknown",
        };
        assert_eq!(format, version["format"]);
        assert_eq!(hex::encode(read.expose_bytes()), version["value"]);
    }
}

fn assert_metadata(metadata: &Metadata, secret: &Value) {
    assert_eq!(metadata.kind.as_str(), secret["kind"]);
    assert_eq!(metadata.tier.as_str(), secret["tier"]);
    assert_eq!(metadata.description.as_deref(), secret["description"].as_str());
    assert_eq!(serde_json::to_value(&metadata.tags).unwrap(), secret["tags"]);
    let expires_at = secret["expires_at"].as_u64().map(Duration::from_millis);
    assert_eq!(metadata.expires_at, expires_at.map(|since| UNIX_EPOCH + since));
    let rotation = secret["rotation_ms"].as_u64().map(Duration::from_millis);
    assert_eq!(metadata.rotation_interval, rotation);
}

fn path(secret: &Value) -> SecretPath {
    SecretPath::parse(secret["path"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_1_store_gets_its_slot_once_if_several_open_it() {
    for store in contents()["stores"].as_array().unwrap() {
        let copy = Arc::new(Copy::of(store));
        let openings: Vec<_> = (0..6)
            .map(|_| {
                let copy = Arc::clone(&copy);
                tokio::spawn(async move { copy.open().await })
            })
            .collect();
        let mut backends = Vec::new();
        for opening in openings {
            backends.push(opening.await.unwrap());
        }
        for backend in &backends {
            let slots = backend.slots().await.unwrap();
            let [slot] = slots.as_slice() else { panic!("{slots:?}") };
            let kind = if store["passphrase"].is_null() { "key" } else { "passphrase" };
            assert_eq!((slot.id, slot.kind.as_str(), slot.is_current), (1, kind, true));
        }
        let rotation = backends[0].rotate_root_key().await.unwrap();
        assert_eq!((rotation.slots, rotation.kek.damaged), (1, 0));
        let contents = contents();
        for secret in contents["secrets"].as_array().unwrap() {
            assert_reads(&backends[5], secret).await;
        }
    }
}

#[tokio::test]
async fn restores_a_version_1_backup() {
    for store in contents()["stores"].as_array().unwrap() {
        let copy = Copy::of(store);
        let backup = golden_directory().join(store["file"].as_str().unwrap());
        let mut config = copy.config();
        config.path = Some(copy.directory.path().join("restored.db"));
        let found = NativeBackend::restore(config.clone(), backup).await.unwrap();
        assert_eq!((found.damaged, found.secrets, found.state), (0, 5, 1));
        let backend = NativeBackend::open(config).await.unwrap();
        assert_reads(&backend, &contents()["secrets"][0]).await;
        let left = fs::read_dir(copy.directory.path()).unwrap().map(|entry| entry.unwrap());
        assert!(
            left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains(".new"))
        );
    }
}

#[tokio::test]
async fn writes_to_a_version_1_store() {
    for store in contents()["stores"].as_array().unwrap() {
        let copy = Copy::of(store);
        let backend = copy.open().await;
        let path = SecretPath::parse("app/db").unwrap();
        let version = backend.put(&path, "four".into(), PutOptions::new()).await.unwrap();
        assert_eq!(version.number(), Some(4));
        backend.annotate(&path, &MetadataPatch::new().tag("env", "production")).await.unwrap();
        assert_eq!(backend.rotate_kek().await.unwrap().damaged, 0);
        backend.close().await.unwrap();

        let backend = copy.open().await;
        let secret = backend.get(&path, &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.expose_text().unwrap(), "four");
        assert_eq!(secret.metadata().tags["env"], "production");
        backend.rollback(&path, &1.into()).await.unwrap();
        let secret = backend.get(&path, &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.field("password").unwrap().expose_text().unwrap(), "one");
        assert_eq!(backend.verify().await.unwrap().damaged, 0);
        backend.close().await.unwrap();
    }
}
