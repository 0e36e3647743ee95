//! The files of a log: created with mode 0600, refused if others can access them, and watched while open.
//!
//! No function opens the database: closing a file releases all POSIX locks that this process holds on it, also those
//! of SQLite (<https://www.sqlite.org/howtocorrupt.html>, section 2.2). The one exception creates it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use strongroom_core::{Error, ErrorKind, FilePath, Result};

use crate::settings::PATH;

/// The files beside a database that hold what is not yet in it.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Resolves links in the folder's name, since SQLite is configured to follow none.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().map_err(|error| cannot_create(parent, &error))?;
    match path.file_name() {
        Some(name) => Ok(parent.join(name)),
        None => Err(path_error(path, "it does not name a file")),
    }
}

/// Whether there is no file.
pub(crate) fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether there is no file, or an empty one, which becomes a log.
pub(super) fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()) == 0
}

/// Creates an empty file that only its owner may access, unless it exists.
pub(super) fn create(path: &Path) -> Result<()> {
    // Closing the file must not release the locks of another thread that opens the log already.
    static CREATION: Mutex<()> = Mutex::new(());
    let _guard = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let created =
        options.open(path).and_then(|file| file.sync_all()).and_then(|()| sync_folder(path));
    match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(cannot_create(path, &error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|_| cfg!(unix)) {
        Some(parent) => match File::open(parent)?.sync_all() {
            // Some file systems cannot sync a directory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        },
        None => Ok(()),
    }
}

/// Fails if the path cannot be a log, or if others can access it or a file beside it.
pub(super) fn check(path: &Path) -> Result<()> {
    for suffix in BESIDE {
        let beside = with_suffix(path, suffix);
        let Ok(metadata) = fs::symlink_metadata(&beside) else { continue };
        let complaint = if metadata.is_file() {
            permission_problem(&metadata)
        } else {
            Some("it is not a regular file; remove it")
        };
        if let Some(complaint) = complaint {
            return Err(path_error(&beside, complaint));
        }
    }
    let metadata =
        fs::symlink_metadata(path).map_err(|error| path_error(path, describe(&error)))?;
    let complaint = if !metadata.is_file() {
        Some("it is not a regular file; name the file itself, not a link or directory")
    } else if metadata.len() == 1 {
        // SQLite treats it as an empty file and would overwrite it.
        Some(FOREIGN)
    } else if has_other_name(&metadata) {
        // SQLite names the write-ahead log after the file.
        Some(
            "the file has another name (a hard link), under which it would have another write-ahead log; remove it",
        )
    } else {
        permission_problem(&metadata)
    };
    complaint.map_or(Ok(()), |complaint| Err(path_error(path, complaint)))
}

pub(super) const FOREIGN: &str =
    "it is not an audit log of Strongroom; name another path. Nothing was changed";

#[cfg(unix)]
fn has_other_name(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

#[cfg(unix)]
fn permission_problem(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.mode() & 0o077 != 0 {
        Some("its group or others can access it; `chmod 600` it")
    } else if metadata.uid() != rustix::process::geteuid().as_raw() && metadata.uid() != 0 {
        Some("it belongs to another user; `chown` it to the user of this process")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn has_other_name(_metadata: &Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn permission_problem(_metadata: &Metadata) -> Option<&'static str> {
    None
}

/// The log's file and its write-ahead log, to notice that one was removed or replaced.
pub(super) struct OpenedFiles([(PathBuf, Identity); 2]);

impl OpenedFiles {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let record = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        match (record(path.to_owned()), record(with_suffix(path, "-wal"))) {
            (Ok(database), Ok(beside)) => Ok(Self([database, beside])),
            _ => Err(replaced()),
        }
    }

    /// Fails if a path leads to another file than the opened one: rows written to that would be lost.
    pub(super) fn check(&self) -> Result<()> {
        let in_place =
            |(path, opened): &(PathBuf, Identity)| identity(path).is_ok_and(|now| now == *opened);
        if self.0.iter().all(in_place) { Ok(()) } else { Err(replaced()) }
    }
}

fn replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "open the log again; nothing was written")
        .because("the audit log's file was removed or replaced")
        .temporary(false)
}

/// Device and inode of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt as _;
        Identity(metadata.dev(), metadata.ino())
    };
    // Other platforms do not let an open file be removed or replaced.
    #[cfg(not(unix))]
    let identity = Identity(u64::from(metadata.is_file()), 0);
    Ok(identity)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// An error about the configured path.
pub(super) fn path_error(path: &Path, complaint: &str) -> Error {
    Error::config(vec![format!("`{PATH}`: {}: {complaint}", FilePath::new(path))])
}

pub(super) fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or open it with `create`")
        .because(format!("there is no audit log at {}", FilePath::new(path)))
}

fn cannot_create(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unavailable, "free space and try again")
                .because("the disk is full")
        }
        _ => path_error(path, describe(error)),
    }
}

/// Describes an error by its class alone.
fn describe(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist; create its folder, or name another path",
        io::ErrorKind::PermissionDenied => "this process may not access it",
        io::ErrorKind::NotADirectory => "a part of its path is not a directory",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => "the file system failed",
    }
}
