//! Files that are written as a whole: a reader sees the old content or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use strongroom_core::FilePath;

use crate::failure::Failure;

/// Writes a file with values, which only its owner can read: it has the mode 0600. If the write fails, the old
/// file stays.
pub(crate) fn write(file: &Path, content: &[u8]) -> Result<(), Failure> {
    let name = FilePath::new(file);
    let fail = |error: &io::Error| Failure::io(format_args!("write `--output` ({name})"), error);
    if is_stream(file) {
        return Err(Failure::usage(format!(
            "`--output` ({name}) names an open stream, whose file would be replaced: leave it out, and redirect \
             standard output"
        )));
    }
    let target = target(file).map_err(|error| fail(&error))?;
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return Err(Failure::usage(format!(
            "`--output` ({name}) is not a regular file: name another one, or redirect standard output"
        )));
    }
    replace(&target, content, fs::Permissions::from_mode(0o600)).map_err(|error| fail(&error))
}

/// Writes a file without values that `option` names, with the mode of the old one, or else that of any new file. A
/// pipe or a device is written to.
pub(crate) fn write_public(file: &Path, option: &str, content: &[u8]) -> Result<(), Failure> {
    let write = || match fs::metadata(file) {
        Ok(found) if found.is_file() => replace(&target(file)?, content, found.permissions()),
        Ok(_) => fs::write(file, content),
        // The system takes from it what no new file gets.
        Err(_) => replace(&target(file)?, content, fs::Permissions::from_mode(0o666)),
    };
    let name = FilePath::new(file);
    if is_stream(file) && fs::metadata(file).is_ok_and(|found| found.is_file()) {
        return Err(Failure::usage(format!(
            "`{option}` ({name}) names an open stream, whose file would be replaced: name the file"
        )));
    }
    write().map_err(|error| Failure::io(format_args!("write `{option}` ({name})"), &error))
}

fn replace(target: &Path, content: &[u8], permissions: fs::Permissions) -> io::Result<()> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A file without a name is gone if the process ends meanwhile. It has its mode from the beginning.
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(permissions.mode() & 0o777);
    let Ok(file) = rustix::fs::open(folder, flags, mode) else {
        return replace_with_named(folder, target, content, permissions);
    };
    let mut file = File::from(file);
    file.write_all(content)?;
    file.sync_all()?;
    // A link never replaces a file, so it gets a free name first and then that of the target.
    let link = |name: &Path| {
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, source, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    };
    let temporary = temporary_name().make_in(folder, link)?;
    temporary.persist(target)?;
    Ok(())
}

/// Not every file system has files without a name.
fn replace_with_named(
    folder: &Path,
    target: &Path,
    content: &[u8],
    permissions: fs::Permissions,
) -> io::Result<()> {
    let mut temporary = temporary_name().permissions(permissions).tempfile_in(folder)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(target)?;
    Ok(())
}

/// A name that begins with a dot. The file is removed unless it takes its place.
fn temporary_name() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".strongroom-");
    builder
}

/// Whether a name stands for a stream of this process, such as `/dev/stdout`: behind it may be any file.
fn is_stream(file: &Path) -> bool {
    let names = ["-", "/dev/stdin", "/dev/stdout", "/dev/stderr"];
    names.iter().any(|name| file == Path::new(name))
        || file.starts_with("/dev/fd")
        || file.starts_with("/proc")
}

/// The file that a symbolic link leads to; the link itself stays.
fn target(file: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_symlink() => fs::canonicalize(file),
        _ => Ok(file.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, b"new\n").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_name_is_not_needed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        fs::write(&file, "old").unwrap();
        replace_with_named(folder.path(), &file, b"new", fs::Permissions::from_mode(0o600))
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("value"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink("value", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_without_values_keeps_its_mode_and_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report");
        write_public(&file, "--sarif", b"new").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o700, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::File::open(&file).unwrap();
        write_public(&file, "--sarif", b"newer").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        // It was replaced, and not written over.
        assert_eq!(io::read_to_string(before).unwrap(), "new");
        assert_eq!(fs::read(&file).unwrap(), b"newer");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_public(Path::new("/dev/null"), "--sarif", b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_device_is_not_replaced() {
        for stream in ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"] {
            assert!(write(Path::new(stream), b"x").is_err());
        }
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
