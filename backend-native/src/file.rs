//! Private files: created with mode 0600, and refused if others can access them, or a group that the
//! configuration does not name.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use strongroom_core::{Error, ErrorKind, FilePath, Result, Setting};
use zeroize::{Zeroize, Zeroizing};

use crate::error::describe_io_error;
use crate::settings::{GROUP, PATH};
use crate::sqlite::location::{self, LOGS};

/// A larger file is not a key or passphrase file, in bytes.
const MAX_SECRET_FILE: u64 = 4096;

/// Reads a key or passphrase file. Follows symbolic links, since orchestrators mount secrets behind
/// them, and checks the permissions of the target.
pub(crate) fn read_secret(
    path: &Path,
    setting: Setting,
    group: Option<u32>,
) -> Result<Zeroizing<Vec<u8>>> {
    read_secret_up_to(MAX_SECRET_FILE, path, setting, group)
}

/// Reads such a file of at most `max` bytes.
pub(crate) fn read_secret_up_to(
    max: u64,
    path: &Path,
    setting: Setting,
    group: Option<u32>,
) -> Result<Zeroizing<Vec<u8>>> {
    let reject = |complaint: &str| {
        Error::config(vec![format!("`{setting}`: {}: {complaint}", FilePath::new(path))])
    };
    let failed = |error: io::Error| reject(describe_io_error(&error));
    let mut file = open_to_read(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(reject("it is not a regular file; name the file itself"));
    }
    if let Some(complaint) = permission_problem(&metadata, path, group) {
        return Err(reject(&complaint));
    }
    if metadata.len() > max {
        return Err(reject(&format!("it is larger than {} KiB; name the right file", max / 1024)));
    }
    // One byte more than the file has, so that the buffer never grows.
    let mut content = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0) + 1]);
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(failed)? {
            0 => break,
            count => filled += count,
        }
    }
    if filled == content.len() {
        return Err(reject("it changed while being read; try again"));
    }
    content.truncate(filled);
    Ok(content)
}

/// Opens a file without blocking on a named pipe.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

/// Creates an empty file that only its owner may access, unless it exists.
pub(crate) fn create_empty(path: &Path) -> io::Result<()> {
    match create_private(path) {
        Ok(file) => file.sync_all().and_then(|()| sync_directory_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| cfg!(unix) && !parent.as_os_str().is_empty()) {
        Some(parent) => match File::open(parent)?.sync_all() {
            // Some file systems cannot sync a directory.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        },
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

/// Fails if the path cannot be a store, or if others can access the store or one of its logs.
pub(crate) fn check_store_files(path: &Path, group: Option<u32>) -> Result<()> {
    for suffix in LOGS {
        let beside = with_suffix(path, suffix);
        let Ok(metadata) = fs::symlink_metadata(&beside) else { continue };
        let complaint = if metadata.is_file() {
            permission_problem(&metadata, &beside, group)
        } else {
            Some("it is not a regular file; remove it".into())
        };
        if let Some(complaint) = complaint {
            return Err(path_error(PATH, &beside, &complaint));
        }
    }
    let metadata = fs::symlink_metadata(path)
        .map_err(|error| path_error(PATH, path, describe_io_error(&error)))?;
    let complaint = if !metadata.is_file() {
        Some("it is not a regular file; name the file itself, not a link or directory".into())
    } else if metadata.len() == 1 {
        // SQLite treats it as an empty file and would overwrite it.
        Some("it is not a Strongroom store; name another path. Nothing was changed".into())
    } else {
        permission_problem(&metadata, path, group)
    };
    complaint.map_or(Ok(()), |complaint| Err(path_error(PATH, path, &complaint)))
}

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// The path and identity of an opened file, to detect that it was removed or replaced.
pub(crate) struct OpenedFile {
    path: PathBuf,
    identity: Identity,
}

impl OpenedFile {
    /// Records the identities of a store and its write-ahead log.
    pub(crate) fn of_store(path: &Path) -> io::Result<[Self; 2]> {
        let record = |path: PathBuf| identity(&path).map(|identity| Self { path, identity });
        Ok([record(path.to_owned())?, record(with_suffix(path, "-wal"))?])
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file, in bytes; 0 if it cannot be known.
    pub(crate) fn len(&self) -> u64 {
        fs::symlink_metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Whether the path still leads to the file.
    pub(crate) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

/// The path with the links in its directory resolved, since SQLite is configured to follow none.
pub(crate) fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(parent.canonicalize()?.join(name))
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
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
    // Other platforms do not let an open file be removed or replaced.
    #[cfg(not(unix))]
    let identity = Identity(u64::from(metadata.is_file()), 0);
    Ok(identity)
}

/// What is wrong with the owner and mode of a file. Members of `group` may have access.
#[cfg(unix)]
fn permission_problem(
    metadata: &fs::Metadata,
    path: &Path,
    group: Option<u32>,
) -> Option<Cow<'static, str>> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    let is_of_group = group == Some(metadata.gid());
    let (for_group, for_others) = (metadata.mode() & 0o070, metadata.mode() & 0o007);
    if FilePath::new(path).is_service_credential(metadata.uid(), metadata.mode()) {
        return None;
    }
    if for_others != 0 || (for_group != 0 && !is_of_group) {
        if location::keeps_no_permissions(path) {
            return Some(
                "its group or others can access it, and its file system keeps no modes: mount that with \
                 `umask=077` and `uid=` of this process, or put the file on another one"
                    .into(),
            );
        }
        Some(match group.filter(|_| for_others == 0) {
            Some(group) => {
                let owner = metadata.gid();
                format!("its group {owner} can access it, but `{GROUP}` is {group}; `chgrp` or `chmod 600` it")
                    .into()
            }
            None => format!(
                "its group or others can access it; `chmod 600` it, or set `{GROUP}` if only that group can"
            )
            .into(),
        })
    } else if metadata.uid() != user && metadata.uid() != 0 && !is_of_group {
        Some("it belongs to another user; `chown` it to the user of this process".into())
    } else {
        None
    }
}

#[cfg(not(unix))]
fn permission_problem(
    _metadata: &fs::Metadata,
    _path: &Path,
    _group: Option<u32>,
) -> Option<Cow<'static, str>> {
    None
}

pub(crate) fn path_error(setting: Setting, path: &Path, complaint: &str) -> Error {
    Error::config(vec![format!("`{setting}`: {}: {complaint}", FilePath::new(path))])
}

/// The content of a passphrase file without the line break that editors put at its end.
pub(crate) fn strip_line_break(mut content: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    for end in [b'\n', b'\r'] {
        if content.last() == Some(&end)
            && let Some(mut byte) = content.pop()
        {
            byte.zeroize();
        }
    }
    content
}

pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Maps a failure to create a file or to find its directory.
pub(crate) fn cannot_create(setting: Setting, path: &Path, error: &io::Error) -> Error {
    if is_disk_full(error) {
        return Error::new(ErrorKind::Unavailable, "free space and try again")
            .because("the disk is full");
    }
    match error.kind() {
        io::ErrorKind::NotFound => path_error(
            setting,
            path,
            "this directory does not exist; create it, or name another path (`~` is not expanded)",
        ),
        _ => path_error(setting, path, describe_io_error(error)),
    }
}
