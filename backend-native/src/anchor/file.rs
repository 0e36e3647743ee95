//! An anchor in a file, and the lock file beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_core::Result;

use crate::config::NativeConfig;
use crate::settings::ANCHOR_FILE;
use crate::{file, new_file};

/// How often a lock is tried that another process holds for some milliseconds.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// An anchor in a file.
pub(crate) struct AnchorFile {
    path: PathBuf,
    group: Option<u32>,
}

/// Held while the file is compared and replaced.
pub(crate) struct Locked(#[expect(dead_code, reason = "the lock ends when it is dropped")] File);

impl AnchorFile {
    /// The file that the configuration names, if it names one.
    pub(super) fn of(config: &NativeConfig) -> Result<Option<Self>> {
        let Some(path) = &config.anchor_file else { return Ok(None) };
        let resolved = file::resolve_links(path)
            .map_err(|error| file::cannot_create(ANCHOR_FILE, path, &error))?;
        Ok(Some(Self { path: resolved, group: config.group }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` if there is none.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>> {
        let found = fs::symlink_metadata(&self.path);
        if found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = file::read_secret(&self.path, ANCHOR_FILE, self.group)?;
        Ok(Some(bytes.to_vec()))
    }

    /// Locks the file, or returns `None` if another process holds the lock for longer than `wait`.
    pub(super) fn lock(&self, wait: Duration) -> Result<Option<Locked>> {
        let path = file::with_suffix(&self.path, ".lock");
        let failed = |error: &io::Error| file::cannot_create(ANCHOR_FILE, &path, error);
        let file = self.open_lock(&path).map_err(|error| failed(&error))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Locked(file))),
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
                Err(TryLockError::WouldBlock) if begin.elapsed() >= wait => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
            }
        }
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        match file::create_private(path) {
            Ok(created) => new_file::keep_access(&self.path, &created).map(|()| created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).open(path)
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, which is locked.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        new_file::replace(&self.path, bytes)
            .map_err(|error| file::cannot_create(ANCHOR_FILE, &self.path, &error))
    }
}
