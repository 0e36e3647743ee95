//! Stores to open, and the files that belong to them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::Backend;
use tempfile::TempDir;

use super::{directory_in_memory, is_intact, put_next, store_file};

pub(crate) const KEY: [u8; 32] = *b"\x9e key of exactly 32 bytes, yes!!";
pub(crate) const PASSPHRASE: &str = "correct horse battery";

pub(crate) fn with(directory: &Path, key: KeySource) -> NativeConfig {
    let mut config = NativeConfig::new(key);
    config.path = Some(store_file(directory));
    config
}

pub(crate) fn private(path: &Path, content: impl AsRef<[u8]>) -> PathBuf {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

pub(crate) fn key() -> KeySource {
    KeySource::Key(STANDARD.encode(KEY).into())
}

pub(crate) fn passphrase() -> KeySource {
    KeySource::Passphrase(PASSPHRASE.into())
}

/// A store with one secret, closed again.
pub(crate) async fn existing(key: impl FnOnce(&Path) -> KeySource) -> TempDir {
    let directory = directory_in_memory();
    let backend = NativeBackend::open(with(directory.path(), key(directory.path()))).await.unwrap();
    put_next(&backend, "a", 1).await;
    backend.close().await.unwrap();
    directory
}

pub(crate) async fn opens(config: NativeConfig) {
    let backend = NativeBackend::open(config).await.unwrap();
    assert!(is_intact(&backend, "a", 1).await);
    backend.close().await.unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}
