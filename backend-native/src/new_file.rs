//! Files that are there only once they are whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::crypto;
use crate::file::{create_private, sync_directory_of};

/// Creates a file with `content`, whole or not at all, unless it exists. Returns whether it did.
pub(crate) fn create_secret(path: &Path, content: &[u8]) -> io::Result<bool> {
    let file = NewFile::reserve(path)?;
    let written = create_private(&file.temporary).and_then(|mut file| file.write_all(content));
    match written.and_then(|()| file.keep()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a file whole, over the one that has the name, and with the owner, group and mode of that. On disk when it
/// returns.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = NewFile::reserve(path)?;
    let mut written = create_private(&file.temporary)?;
    written.write_all(content)?;
    keep_access(path, &written)?;
    written.sync_all()?;
    drop(written);
    fs::rename(&file.temporary, path)?;
    sync_directory_of(path)
}

/// Gives a new file the owner, group and mode of another one, as far as this process may. Only root may give a file to
/// another user.
#[cfg(unix)]
pub(crate) fn keep_access(other: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let (Ok(before), new) = (fs::metadata(other), file.metadata()?) else { return Ok(()) };
    if before.uid() != new.uid() {
        let _ = fchown(file, Some(before.uid()), None);
    }
    if before.gid() != new.gid() && fchown(file, None, Some(before.gid())).is_err() {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o660))
}

#[cfg(not(unix))]
pub(crate) fn keep_access(_other: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

/// A file that gets its name once it is whole. Until then it has a name of its own, and is removed if it is dropped.
pub(crate) struct NewFile {
    temporary: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Creates an empty file that only its owner may access, unless one has the name.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Self::reserve(path)?;
        create_private(&file.temporary)?;
        Ok(file)
    }

    /// Chooses the name that the file has first.
    fn reserve(path: &Path) -> io::Result<Self> {
        // Random, since containers that share a volume may have equal process ids.
        let unique = crypto::random().map(u64::from_ne_bytes).map_err(io::Error::other)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{unique:016x}.new"));
        Ok(Self { temporary: path.with_file_name(name), path: path.to_owned() })
    }

    /// Where it is until it gets its name.
    pub(crate) fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name, on disk when it returns, unless the name is taken.
    pub(crate) fn keep(self) -> io::Result<()> {
        // Windows syncs no file that is open to read alone.
        File::options().write(true).open(&self.temporary)?.sync_all()?;
        give_name(&self.temporary, &self.path, |from, to| fs::hard_link(from, to))?;
        // Before the folder is synced.
        fs::remove_file(&self.temporary).or_else(ignore_missing)?;
        sync_directory_of(&self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is gone if the file was kept.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Gives a file its name, unless the name is taken.
fn give_name(
    temporary: &Path,
    path: &Path,
    link: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    match link(temporary, path) {
        // FAT has no hard links.
        #[cfg(target_os = "linux")]
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ) =>
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?)
        }
        other => other,
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_name_also_without_hard_links_and_replaces_none() {
        let directory = tempfile::tempdir().unwrap();
        let (temporary, path) = (directory.path().join("new"), directory.path().join("key"));
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        fs::write(&temporary, "one").unwrap();
        give_name(&temporary, &path, no_links).unwrap();
        fs::write(&temporary, "two").unwrap();
        for link in [no_links, |from: &Path, to: &Path| fs::hard_link(from, to)] {
            let error = give_name(&temporary, &path, link).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "one");
    }
}
