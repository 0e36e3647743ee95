//! Secrets as files: in memory that only the child's descriptors keep, or in a private folder.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use strongroom::SecretValue;

use super::folder::Folder;
use crate::failure::Failure;

/// Where files are.
#[derive(Clone, Debug)]
pub(crate) enum FilePlace {
    /// Sealed memory behind a descriptor that the child inherits. It is gone with the last process that has
    /// it, however that ends, and needs no supervisor.
    Memory,
    /// A folder in this one, or in a place that the system has for that.
    Folder(Option<PathBuf>),
}

/// The files of a child. A drop closes them, or removes the folder.
pub(crate) enum Files {
    Memory(Vec<File>),
    Folder(Folder),
}

impl Files {
    pub(crate) fn new(place: &FilePlace) -> Result<Self, Failure> {
        Ok(match place {
            FilePlace::Memory => Self::Memory(Vec::new()),
            FilePlace::Folder(parent) => Self::Folder(Folder::create(parent.as_deref())?),
        })
    }

    /// Writes a value, and returns the path by which the child opens it.
    pub(crate) fn add(&mut self, name: &str, value: &SecretValue) -> Result<OsString, Failure> {
        let fail =
            |error: &io::Error| Failure::io(format_args!("write the file for `{name}`"), error);
        match self {
            Self::Memory(files) => {
                let file = memory_file(value.expose_bytes()).map_err(|error| fail(&error))?;
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                files.push(file);
                Ok(path.into())
            }
            Self::Folder(folder) => {
                let path =
                    folder.write(name, value.expose_bytes()).map_err(|error| fail(&error))?;
                Ok(path.into_os_string())
            }
        }
    }

    /// Closes the files that a child got, before the next one gets others.
    pub(crate) fn clear(&mut self) {
        if let Self::Memory(files) = self {
            files.clear();
        }
    }
}

/// A file in memory that nothing can change any more, and that programs inherit.
#[cfg(not(target_os = "linux"))]
fn memory_file(_value: &[u8]) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A file in memory that nothing can change any more, and that programs inherit.
#[cfg(target_os = "linux")]
fn memory_file(value: &[u8]) -> io::Result<File> {
    use std::io::Write as _;

    use rustix::fs::{MemfdFlags, Mode, SealFlags, SeekFrom};

    let flags = MemfdFlags::ALLOW_SEALING;
    let descriptor = match rustix::fs::memfd_create("secret", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("secret", flags)?,
        result => result?,
    };
    let mut file = File::from(descriptor);
    file.write_all(value)?;
    rustix::fs::fchmod(&file, Mode::RUSR)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // For programs that read the descriptor itself.
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_in_memory_can_be_read_again_and_again_and_never_written() {
        let mut files = Files::new(&FilePlace::Memory).unwrap();
        let path = files.add("KEY", &SecretValue::from(&b"a\0b"[..])).unwrap();
        for _ in 0..2 {
            assert_eq!(fs::read(&path).unwrap(), b"a\0b");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        let Files::Memory(files) = &mut files else { panic!("it is in memory") };
        assert!(files[0].write_all(b"x").is_err());
        assert!(files[0].set_len(0).is_err());
    }
}
