//! Programs of Debian's packages, unpacked below `target`, without root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;
use crate::step::Step;

/// A package, and the file in it that shows that it is there.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// The end of the file's path.
    pub(crate) file: &'static str,
    /// Where an installed one may be.
    pub(crate) installed: &'static [&'static str],
    /// How to install it otherwise.
    pub(crate) help: &'static str,
}

impl Package {
    /// The installed file, or the one of the package that is unpacked in `target/debian/NAME`, which is downloaded unless
    /// it is there.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let installed = self.installed.iter().map(Path::new).find(|path| path.exists());
        if let Some(path) = installed {
            return Ok(path.to_owned());
        }
        let folder = root()?.join("target/debian").join(self.name);
        if let Some(path) = search(&folder, self.file) {
            return Ok(path);
        }
        self.download(&folder).with_context(|| self.help)?;
        search(&folder, self.file).with_context(|| {
            format!("the package {} has no {}; {}", self.name, self.file, self.help)
        })
    }

    /// Downloads the package and what it needs that is not installed, and unpacks it all.
    fn download(&self, folder: &Path) -> Result<()> {
        ensure!(cfg!(target_os = "linux"), "there is no `apt-get` on this platform");
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot remove an outdated package")?;
        }
        let archives = folder.join("archives");
        fs::create_dir_all(archives.join("partial")).context("cannot create target/debian")?;
        if !self.fetch(folder, &archives)? {
            // An image may come without lists of packages, which root alone can fetch.
            let updated = Step::new("apt-get")?.args(["update"]).succeeds()?;
            ensure!(updated, "`apt-get update` has failed");
            ensure!(self.fetch(folder, &archives)?, "`apt-get` cannot download the package");
        }
        for archive in fs::read_dir(&archives).context("cannot read the archives")? {
            let path = archive.context("cannot read the archives")?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let unpacked = Step::new("dpkg-deb")?.args(["-x".as_ref(), path.as_os_str()]);
                unpacked.args([folder]).run()?;
            }
        }
        Ok(())
    }

    fn fetch(&self, folder: &Path, archives: &Path) -> Result<bool> {
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        Step::new("apt-get")?
            .args(["install", "--yes", "--download-only", "--no-install-recommends"])
            .args(["-o", "Debug::NoLocking=true"])
            .args(["-o".to_owned(), option("Dir::Cache", folder)])
            .args(["-o".to_owned(), option("Dir::Cache::archives", archives)])
            .args([self.name])
            .succeeds()
    }
}

/// The file below a folder whose path has this end.
fn search(folder: &Path, end: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            let (path, kind) = (entry.path(), entry.file_type().ok()?);
            if kind.is_dir() {
                folders.push(path);
            } else if path.ends_with(end) {
                return Some(path);
            }
        }
    }
    None
}

const GNOME_KEYRING: Package = Package {
    name: "gnome-keyring",
    file: "bin/gnome-keyring-daemon",
    installed: &["/usr/bin/gnome-keyring-daemon"],
    help: "the tests need GNOME Keyring and D-Bus: `apt-get install gnome-keyring dbus` or `dnf install gnome-keyring dbus-daemon`",
};

/// The GNOME Keyring, for the tests on Linux.
pub(crate) fn gnome_keyring() -> Result<Option<PathBuf>> {
    if cfg!(target_os = "linux") { GNOME_KEYRING.find().map(Some) } else { Ok(None) }
}

const CHROMIUM: Package = Package {
    name: "chromium",
    file: "lib/chromium/chromium",
    // The program itself: a script before it could leave it running.
    installed: &[
        "/usr/lib/chromium/chromium",
        "/usr/lib64/chromium-browser/chromium-browser",
        "/opt/google/chrome/chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ],
    help: "the tests of the server's page need Chromium: `apt-get install chromium`, `dnf install chromium` or \
        `brew install --cask chromium`",
};

/// Chromium, for the tests of the server's page.
pub(crate) fn chromium() -> Result<PathBuf> {
    CHROMIUM.find()
}

/// SoftHSM2, and the folder of its tokens.
pub(crate) struct SoftHsm {
    pub(crate) module: PathBuf,
    /// The file that `SOFTHSM2_CONF` names.
    pub(crate) configuration: PathBuf,
}

const SOFTHSM: Package = Package {
    name: "libsofthsm2",
    file: "softhsm/libsofthsm2.so",
    installed: &[
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    ],
    help: "the tests need SoftHSM2: `apt-get install libsofthsm2`, `dnf install softhsm` or `brew install softhsm`",
};

impl SoftHsm {
    /// Finds SoftHSM2, and makes an empty folder for the tokens of one run.
    pub(crate) fn set_up() -> Result<Self> {
        let module = SOFTHSM.find()?;
        let folder = root()?.join("target/softhsm");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("cannot remove the tokens of an earlier run")?;
        }
        let tokens = folder.join("tokens");
        fs::create_dir_all(&tokens).context("cannot create target/softhsm")?;
        let configuration = folder.join("softhsm2.conf");
        let Some(tokens) = tokens.to_str() else { bail!("the workspace's path is not UTF-8") };
        let text = format!(
            "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        );
        fs::write(&configuration, text).context("cannot write softhsm2.conf")?;
        Ok(Self { module, configuration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_file_by_the_end_of_its_path() {
        let folder = std::env::temp_dir().join(format!("xtask-debian-{}", std::process::id()));
        let file = folder.join("usr/lib/softhsm/libsofthsm2.so");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(search(&folder, "softhsm/libsofthsm2.so"), Some(file));
        assert_eq!(search(&folder, "other/libsofthsm2.so"), None);
        assert_eq!(search(&folder.join("missing"), "a"), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
