//! Where a store may be: what would separate the file from its log, or keep `SQLite` from locking it.

#[cfg(unix)]
use std::fs;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use strongroom_core::Result;
#[cfg(unix)]
use strongroom_core::{Error, ErrorKind, FilePath};

#[cfg(unix)]
use crate::file::{path_error, with_suffix};
#[cfg(unix)]
use crate::settings::PATH;
#[cfg(target_os = "linux")]
use crate::sqlite::location::linux::check_file_system;

/// The files beside a store that hold what is not yet in it.
pub(crate) const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Fails if a store at `path`, whose folder exists and has no links in its name, would lose writes or could
/// not be used.
#[cfg(unix)]
pub(crate) fn check(path: &Path, allow_network_file_system: bool) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    check_mounts(path, folder)?;
    check_links(path)?;
    if cfg!(target_os = "linux") && !allow_network_file_system {
        check_file_system(path, folder)?;
    }
    check_writable(path, folder)
}

#[cfg(not(unix))]
pub(crate) fn check(_path: &Path, _allow_network_file_system: bool) -> Result<()> {
    Ok(())
}

#[cfg(all(unix, not(target_os = "linux")))]
fn check_file_system(_path: &Path, _folder: &Path) -> Result<()> {
    Ok(())
}

/// A file that is mounted alone has its log on another file system, which ends with the container.
#[cfg(unix)]
fn check_mounts(path: &Path, folder: &Path) -> Result<()> {
    for file in std::iter::once(path.to_owned()).chain(LOGS.map(|log| with_suffix(path, log))) {
        if is_mounted_alone(&file, folder) {
            return Err(path_error(
                PATH,
                &file,
                &format!(
                    "this file is mounted alone, without its folder, so the log beside the store would be \
                     lost with the container, and with it writes that were acknowledged; mount the folder \
                     {} instead (Docker: `-v FOLDER:{0}`, Kubernetes: a volume without `subPath`)",
                    FilePath::new(folder)
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_mounted_alone(file: &Path, folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    if let Some(table) = linux::mount_table() {
        return linux::is_mount_point(&table, file);
    }
    // Not as good: layers of an overlay can have several devices.
    match (fs::symlink_metadata(file), fs::metadata(folder)) {
        (Ok(file), Ok(folder)) => file.is_file() && file.dev() != folder.dev(),
        _ => false,
    }
}

/// `SQLite` names the log after the file, so each further name of the file has a log of its own.
#[cfg(unix)]
fn check_links(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.nlink() > 1 => Err(path_error(
            PATH,
            path,
            "the file has another name (a hard link), under which it would have another log; remove that \
             name, or copy the store with `VACUUM INTO`",
        )),
        _ => Ok(()),
    }
}

/// Readers write as well: they coordinate through a file beside the store.
#[cfg(unix)]
fn check_writable(path: &Path, folder: &Path) -> Result<()> {
    use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
    let denied = |cause: String, advice: &'static str| {
        Err(Error::new(ErrorKind::Denied, advice).because(cause))
    };
    if statvfs(folder).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return denied(
            format!("the folder {} (`{PATH}`) is mounted read-only", FilePath::new(folder)),
            "mount it writable, since readers of a store write to its `-shm` file; or copy the store to a \
             writable folder with `VACUUM INTO`",
        );
    }
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return denied(
            format!(
                "this process may not write to the folder {} (`{PATH}`)",
                FilePath::new(folder)
            ),
            "`chown` the folder to the user of this process, also if it only reads: the store's log is \
             beside the store",
        );
    }
    if path.exists() && access(path, Access::READ_OK).is_err() {
        return denied(
            format!("this process may not read the store {} (`{PATH}`)", FilePath::new(path)),
            "`chown` the store and its folder to the user of this process",
        );
    }
    Ok(())
}

/// Whether a file system keeps no modes and owners of files: FAT, exFAT and NTFS.
#[cfg(target_os = "linux")]
pub(crate) fn keeps_no_permissions(path: &Path) -> bool {
    linux::magic(path).is_some_and(|magic| linux::NO_PERMISSIONS.contains(&magic))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn keeps_no_permissions(_path: &Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use super::{PATH, Path, Result, path_error};
    use crate::settings::NETWORK_FILE_SYSTEM;

    /// `statfs` numbers (linux/magic.h, and the drivers' own) of file systems that several machines can
    /// mount. `SQLite` asks for one machine and for working locks: "WAL does not work over a network
    /// filesystem" (sqlite.org/wal.html), and locks of network file systems are often broken
    /// (sqlite.org/howtocorrupt.html, section 2.1).
    const NETWORK: [(u64, &str); 16] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "SMB"),
        (0xfe53_4d42, "SMB"),
        (0x564c, "NCP"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x1983_0326, "BeeGFS"),
        (0x7461_636f, "OCFS2"),
        (0x0116_1970, "GFS2"),
        (0x786f_4256, "a shared folder of VirtualBox"),
    ];
    const FUSE: u64 = 0x6573_5546;
    /// FAT, exFAT, and the two drivers for NTFS.
    pub(super) const NO_PERMISSIONS: [u64; 4] = [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e];

    pub(super) fn magic(path: &Path) -> Option<u64> {
        let magic = rustix::fs::statfs(path).ok()?.f_type;
        // Some platforms have 32 bits with a sign.
        u64::try_from(i128::from(magic) & 0xffff_ffff).ok()
    }

    pub(super) fn check_file_system(path: &Path, folder: &Path) -> Result<()> {
        let Some(magic) = magic(folder) else { return Ok(()) };
        let table = mount_table().unwrap_or_default();
        match shared_file_system(magic, file_system_type(&table, folder).as_deref()) {
            None => Ok(()),
            Some(name) => Err(path_error(
                PATH,
                path,
                &format!(
                    "it is on {name}, where SQLite's locks and shared memory can fail and writes be lost; \
                     put the store on a local disk, or set `{NETWORK_FILE_SYSTEM}` if no second machine, \
                     host or guest ever opens it"
                ),
            )),
        }
    }

    /// The name of a file system that other machines may share. FUSE serves both kinds: `fuseblk` is a
    /// block device of this machine, all others may be anywhere.
    pub(super) fn shared_file_system(magic: u64, kind: Option<&str>) -> Option<String> {
        match kind {
            Some("fuseblk") if magic == FUSE => None,
            Some("virtiofs") => {
                Some("virtiofs, which a virtual machine shares with its host".into())
            }
            Some(kind) if magic == FUSE => Some(format!("a FUSE file system (`{kind}`)")),
            None if magic == FUSE => Some("a FUSE file system".into()),
            _ => {
                let found = NETWORK.iter().find(|(number, _)| *number == magic);
                found.map(|(_, name)| (*name).to_owned())
            }
        }
    }

    /// The table of mounts as this process sees them; see proc(5).
    pub(super) fn mount_table() -> Option<Vec<u8>> {
        std::fs::read("/proc/self/mountinfo").ok()
    }

    pub(super) fn is_mount_point(table: &[u8], path: &Path) -> bool {
        mounts(table).any(|(point, _)| point == path)
    }

    /// The type of the file system that holds `path`: that of the last mount on the longest prefix.
    pub(super) fn file_system_type(table: &[u8], path: &Path) -> Option<String> {
        let holding = mounts(table).filter(|(point, _)| path.starts_with(point));
        let (_, kind) = holding.max_by_key(|(point, _)| point.as_os_str().len())?;
        Some(String::from_utf8_lossy(kind).into_owned())
    }

    /// The point and the file system's type of each mount. The fifth field is the point; the type follows
    /// the field `-`, which ends the optional ones.
    fn mounts(table: &[u8]) -> impl Iterator<Item = (PathBuf, &[u8])> {
        table.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let point = unescape(fields.nth(4)?);
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            Some((point, kind))
        })
    }

    /// Blanks, line breaks and backslashes stand in the table as octal numbers: `\040`.
    fn unescape(field: &[u8]) -> PathBuf {
        let mut bytes = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((first, after)) = rest.split_first() {
            let octal = after.get(..3).filter(|_| *first == b'\\');
            let number = octal
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u8::from_str_radix(digits, 8).ok());
            bytes.push(number.unwrap_or(*first));
            rest = if number.is_some() { after.get(3..).unwrap_or_default() } else { after };
        }
        PathBuf::from(OsString::from_vec(bytes))
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::ffi::OsStrExt as _;

        use super::*;

        /// Of a container: a file mounted alone, a folder with a blank in its name, and a mount on another.
        const TABLE: &[u8] = b"\
            514 490 0:62 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l\n\
            520 514 8:1 /srv/app/secrets.db /data/secrets.db rw,relatime - ext4 /dev/sda1 rw\n\
            521 514 8:1 /srv/my\\040app /my\\040data rw,relatime shared:7 master:2 - ext4 /dev/sda1 rw\n\
            522 514 0:70 / /net rw - nfs4 host:/x rw\n\
            523 522 8:2 / /net rw - xfs /dev/sdb rw\n\
            524 514 0:71 / /net/share rw - fuse.sshfs host: rw\n\
            broken line\n";

        #[test]
        fn a_file_that_is_mounted_alone_is_a_mount_point() {
            assert!(is_mount_point(TABLE, Path::new("/data/secrets.db")));
            for other in ["/data", "/data/secrets.db-wal", "/data/secrets.d", "/my data/secrets.db"]
            {
                assert!(!is_mount_point(TABLE, Path::new(other)), "{other}");
            }
            assert!(is_mount_point(TABLE, Path::new("/my data")));
        }

        #[test]
        fn the_last_mount_on_the_longest_prefix_holds_a_path() {
            for (path, kind) in [
                ("/anywhere", "overlay"),
                ("/data", "overlay"),
                ("/my data/x", "ext4"),
                ("/network", "overlay"),
                ("/net/x", "xfs"),
                ("/net/share/x", "fuse.sshfs"),
            ] {
                assert_eq!(
                    file_system_type(TABLE, Path::new(path)).as_deref(),
                    Some(kind),
                    "{path}"
                );
            }
            assert_eq!(file_system_type(b"", Path::new("/")), None);
        }

        #[test]
        fn file_systems_that_machines_share_are_named() {
            for (magic, kind, expected) in [
                (0x6969, Some("nfs4"), "NFS"),
                (0xfe53_4d42, Some("cifs"), "SMB"),
                (0x0102_1997, None, "9P"),
                (0x00c3_6400, Some("ceph"), "Ceph"),
                (FUSE, Some("fuse.sshfs"), "a FUSE file system (`fuse.sshfs`)"),
                (FUSE, Some("virtiofs"), "virtiofs"),
                (FUSE, None, "a FUSE file system"),
            ] {
                let name = shared_file_system(magic, kind).unwrap();
                assert!(name.starts_with(expected), "{name}");
            }
            // ext4, xfs, btrfs, tmpfs, overlayfs, FAT and a block device with a driver in user space.
            for (magic, kind) in [
                (0xef53, "ext4"),
                (0x5846_5342, "xfs"),
                (0x9123_683e, "btrfs"),
                (0x0102_1994, "tmpfs"),
                (0x794c_7630, "overlay"),
                (0x4d44, "vfat"),
                (FUSE, "fuseblk"),
            ] {
                assert_eq!(shared_file_system(magic, Some(kind)), None, "{kind}");
            }
        }

        #[test]
        fn the_numbers_are_those_of_this_machine() {
            assert_eq!(magic(Path::new("/proc")), Some(0x9fa0));
            assert_eq!(
                mount_table().map(|table| is_mount_point(&table, Path::new("/proc"))),
                Some(true)
            );
            let kind =
                mount_table().and_then(|table| file_system_type(&table, Path::new("/proc/self")));
            assert_eq!(kind.as_deref(), Some("proc"));
        }

        #[test]
        fn a_path_that_is_not_text_is_compared_by_its_bytes() {
            let table = b"1 2 8:1 / /\xff\\134\\012 rw - ext4 x rw\n";
            assert!(is_mount_point(table, Path::new(std::ffi::OsStr::from_bytes(b"/\xff\\\n"))));
        }
    }
}
