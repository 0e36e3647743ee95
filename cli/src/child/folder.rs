//! A private folder for files of a child: in memory, and gone on every exit.
//!
//! The process that creates it removes it. In case that process is killed, a second one waits for its end,
//! which it notices by the end of a pipe, and removes the folder then. Signals that end programs do not end it:
//! a service manager sends them to every process of a service.

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use strongroom_core::FilePath;

use super::program::own_binary;
use crate::failure::Failure;

/// How the folders are named. [`remove`] removes no other.
const PREFIX: &str = "strongroom-run-";

/// The types of file systems that are in memory: tmpfs and ramfs (statfs(2)). Linux may swap the first to a
/// disk; `docs/src/command-line/run.md` says so.
#[cfg(target_os = "linux")]
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

pub(crate) struct Folder {
    path: PathBuf,
    /// While it is open, the process that removes the folder waits.
    _guard: ChildStdin,
}

impl Folder {
    /// Creates a folder in `parent`, or in the place that the system has for files in memory.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = match parent {
            Some(parent) => canonicalize(parent)?,
            None => default_parent()?,
        };
        let fail = |error: &io::Error| {
            let parent = FilePath::new(&parent);
            Failure::io(format_args!("create a folder for files in {parent}"), error)
        };
        let path = create_in(&parent).map_err(|error| fail(&error))?;
        // It is there before the first value is.
        match start_guard(&path) {
            Ok(guard) => Ok(Self { path, _guard: guard }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(fail(&error))
            }
        }
    }

    /// Writes a file, or replaces it: a reader sees the old content or the new one.
    pub(crate) fn write(&self, name: &str, value: &[u8]) -> io::Result<PathBuf> {
        // It has the mode 0600 from the beginning.
        let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.path)?;
        temporary.write_all(value)?;
        let path = self.path.join(name);
        temporary.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The guard tries it again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes a folder that this module has created, for the process that waits for the end of another one.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let is_ours = name.starts_with(PREFIX)
        && found.is_dir()
        && found.uid() == rustix::process::geteuid().as_raw();
    if is_ours { fs::remove_dir_all(path) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn start_guard(path: &Path) -> io::Result<ChildStdin> {
    let mut command = Command::new(own_binary()?);
    command.arg0("strongroom").arg("__remove-folder").arg(path);
    // A signal to the group of this process does not reach it, and it holds no credentials.
    command.process_group(0).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (stdin, mut stdout) =
        child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
    // It says that signals do not end it any more.
    stdout.read_exact(&mut [0])?;
    Ok(stdin)
}

fn create_in(parent: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    let folder =
        tempfile::Builder::new().prefix(PREFIX).rand_bytes(12).make_in(parent, |path| {
            // An existing folder is an error, so that no other user has prepared it.
            builder.create(path)
        })?;
    let path = folder.path().to_owned();
    // The guard and the drop of `Folder` remove it: a temporary path would take it for a file.
    let _ = folder.into_temp_path().keep();
    Ok(path)
}

fn canonicalize(parent: &Path) -> Result<PathBuf, Failure> {
    let name = FilePath::new(parent);
    let parent = fs::canonicalize(parent)
        .map_err(|error| Failure::io(format_args!("open `--file-dir` ({name})"), &error))?;
    match is_in_memory(&parent) {
        Ok(true) => Ok(parent),
        Ok(false) => Err(Failure::usage(format!(
            "`--file-dir` ({name}) is not in memory (tmpfs), so that values would reach a disk; name a folder \
             such as /dev/shm"
        ))),
        Err(error) => Err(Failure::io(format_args!("examine `--file-dir` ({name})"), &error)),
    }
}

fn default_parent() -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates = runtime.into_iter().chain([PathBuf::from("/dev/shm"), PathBuf::from("/run")]);
    let is_usable = |path: &PathBuf| {
        path.is_absolute()
            && is_in_memory(path).unwrap_or(false)
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    candidates.into_iter().find(is_usable).ok_or_else(|| {
        Failure::usage(
            "`--file-dir`: none of $XDG_RUNTIME_DIR, /dev/shm and /run is a folder in memory (tmpfs) that this user may \
             write; name one",
        )
    })
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &Path) -> io::Result<bool> {
    // The type of the field differs between platforms, and the numbers have 32 bits.
    let kind = u64::try_from(rustix::fs::statfs(path)?.f_type).unwrap_or_default() & 0xffff_ffff;
    Ok(IN_MEMORY.contains(&kind))
}

/// Other systems have no such file system that every user may write.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_this_module_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        assert!(remove(&other).is_err());
        assert!(other.exists());
        let ours = create_in(parent.path()).unwrap();
        fs::write(ours.join("KEY"), "x").unwrap();
        assert_eq!(fs::metadata(&ours).unwrap().mode() & 0o777, 0o700);
        remove(&ours).unwrap();
        assert!(!ours.exists());
        remove(&ours).unwrap();
    }

    #[test]
    fn a_folder_on_a_disk_is_refused() {
        assert!(canonicalize(Path::new("/proc")).is_err());
        assert!(canonicalize(Path::new("/no/such/folder")).is_err());
    }
}
