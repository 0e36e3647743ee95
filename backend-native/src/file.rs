//! Files that nobody else may read: created with mode 0600, refused with any other access.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use strongroom_core::{Error, ErrorKind, Result, Setting};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto;
use crate::error::io_phrase;
use crate::settings::PATH;

/// Key and passphrase files larger than this are surely something else.
const MAX_SECRET_FILE: u64 = 4096;

/// Reads a small file that holds a key or passphrase. Symbolic links are followed, since
/// orchestrators mount secrets behind them; what counts is who may read the file they lead to.
pub(crate) fn read_secret(path: &Path, setting: Setting) -> Result<Zeroizing<Vec<u8>>> {
    let refused =
        |complaint: &str| Error::config(vec![format!("`{setting}`: {}{complaint}", shown(path))]);
    let failed = |error: io::Error| refused(io_phrase(&error));
    let mut file = open_to_read(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file; name the file itself"));
    }
    if let Some(complaint) = exposure(&metadata) {
        return Err(refused(complaint));
    }
    if metadata.len() > MAX_SECRET_FILE {
        return Err(refused("it is larger than 4,096 bytes; name the right file"));
    }
    // One byte more than expected, so that the buffer never has to grow.
    let mut content = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0) + 1]);
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(failed)? {
            0 => break,
            count => filled += count,
        }
    }
    if filled == content.len() {
        return Err(refused("it changed while being read; try again"));
    }
    content.truncate(filled);
    Ok(content)
}

/// Opens a file without waiting for the other end of a pipe.
fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

/// The path of a key or passphrase file for a message. Where a directory is named that exists it is
/// surely a path; anything else may be the key or the passphrase itself, given in the wrong place.
pub(crate) fn shown(path: &Path) -> String {
    if is_surely_a_path(path) { format!("{}: ", path.display()) } else { String::new() }
}

pub(crate) fn is_surely_a_path(path: &Path) -> bool {
    path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && parent.is_dir())
}

/// Creates a file with `content`, whole or not at all, unless it exists. Says whether it did.
pub(crate) fn create_secret(path: &Path, content: &[u8]) -> io::Result<bool> {
    // Neither the process id nor a counter would do: containers that share a volume each have a
    // process 1.
    let unique = crypto::random().map(u64::from_ne_bytes).map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{unique:016x}.new"));
    let temporary = path.with_file_name(name);
    let written = new_private(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    // A hard link fails if the name is taken: unlike a rename it never replaces anything.
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary).or_else(ignore_missing)?;
    match linked {
        Ok(()) => sync_directory_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Creates an empty file that only its owner may access, unless it exists.
pub(crate) fn create_empty(path: &Path) -> io::Result<()> {
    match new_private(path) {
        Ok(file) => file.sync_all().and_then(|()| sync_directory_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn new_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| cfg!(unix) && !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a directory that only its owner may enter, with its parents.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Refuses what cannot be a store, and a store or one of its logs that others can access.
pub(crate) fn check_store(path: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = beside(path, suffix);
        let Ok(metadata) = fs::symlink_metadata(&beside) else { continue };
        let complaint = if metadata.is_file() {
            exposure(&metadata)
        } else {
            Some("it is not a regular file; remove it")
        };
        if let Some(complaint) = complaint {
            return Err(problem(PATH, &beside, complaint));
        }
    }
    let metadata =
        fs::symlink_metadata(path).map_err(|error| problem(PATH, path, io_phrase(&error)))?;
    let complaint = if !metadata.is_file() {
        Some("it is not a regular file; name the file itself, not a link or directory")
    } else if metadata.len() == 1 {
        // SQLite takes it for an empty file and would overwrite it.
        Some("it is not a Strongroom store; name another path. Nothing was changed")
    } else {
        exposure(&metadata)
    };
    if let Some(complaint) = complaint {
        return Err(problem(PATH, path, complaint));
    }
    #[cfg(unix)]
    if rustix::fs::access(path, rustix::fs::Access::READ_OK).is_err() {
        return Err(Error::new(
            ErrorKind::Denied,
            "`chown` the store and its directory to the user of this process",
        )
        .because("this process may not read the store"));
    }
    Ok(())
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

/// Which files the store and its write-ahead log are now.
pub(crate) fn identities(path: &Path) -> io::Result<[Identity; 2]> {
    Ok([identity(path)?, identity(&beside(path, "-wal"))?])
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt;
        Identity(metadata.dev(), metadata.ino())
    };
    // Elsewhere an open file can neither be removed nor replaced.
    #[cfg(not(unix))]
    let identity = Identity(u64::from(metadata.is_file()), 0);
    Ok(identity)
}

#[cfg(unix)]
fn exposure(metadata: &fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    if metadata.mode() & 0o077 != 0 {
        Some("its group or others can access it; `chmod 600` it")
    } else if metadata.uid() != user && metadata.uid() != 0 {
        Some("it belongs to another user; `chown` it to the user of this process")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn exposure(_metadata: &fs::Metadata) -> Option<&'static str> {
    None
}

fn problem(setting: Setting, path: &Path, complaint: &str) -> Error {
    Error::config(vec![format!("`{setting}`: {}: {complaint}", path.display())])
}

/// The content of a passphrase file without the line break that editors put at its end.
pub(crate) fn without_line_break(mut content: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    for end in [b'\n', b'\r'] {
        if content.last() == Some(&end)
            && let Some(mut byte) = content.pop()
        {
            byte.zeroize();
        }
    }
    content
}

pub(crate) fn is_out_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A failure to create the store or to find its directory.
pub(crate) fn unusable(setting: Setting, path: &Path, error: &io::Error) -> Error {
    if is_out_of_room(error) {
        return Error::new(ErrorKind::Unavailable, "free space and try again")
            .because("the disk is full");
    }
    match error.kind() {
        io::ErrorKind::NotFound => problem(
            setting,
            path,
            "this directory does not exist; create it, or name another path (`~` stands for nothing)",
        ),
        _ => problem(setting, path, io_phrase(error)),
    }
}
