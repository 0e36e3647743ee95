//! The file in which root grants that values are shown in sessions of AI agents.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Deserialize;
use strongroom::SecretPath;
use strongroom_core::FilePath;

/// The largest file, in bytes.
const MAX: u64 = 64 * 1024;

/// What the file grants.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grants {
    #[serde(default)]
    reveal: Vec<Reveal>,
}

/// A user whose agents may show the values of some secrets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reveal {
    /// The user's number.
    uid: u32,
    /// Full paths, or prefixes with `/**` behind them.
    paths: Vec<String>,
}

impl Grants {
    /// Reads the grants. A file that does not exist grants nothing.
    ///
    /// The file and every folder above it, up to `root`, must belong to `owner` and be writable by that
    /// user alone. Otherwise the agent could write it, or put another one in its place.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(file: &Path, root: &Path, owner: u32) -> Result<Self, String> {
        match fs::symlink_metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("it cannot be read: {}", error.kind())),
            Ok(found) if !found.is_file() => return Err("it is not a regular file".to_owned()),
            Ok(_) => {}
        }
        for place in file.ancestors() {
            let found = fs::symlink_metadata(place)
                .map_err(|error| format!("{} cannot be read: {}", place.display(), error.kind()))?;
            if !is_protected(&found, owner) {
                return Err(format!(
                    "{} must belong to user {owner} and be writable by that user alone",
                    place.display()
                ));
            }
            if place == root {
                break;
            }
        }
        let content = FilePath::new(file)
            .read(MAX)
            .map_err(|error| format!("it cannot be read: {}", error.kind()))?;
        let text = std::str::from_utf8(&content).map_err(|_| "it is not UTF-8".to_owned())?;
        let grants: Self = toml::from_str(text)
            .map_err(|_| "it is not a list of `[[reveal]]` with `uid` and `paths`".to_owned())?;
        let patterns = grants.reveal.iter().flat_map(|reveal| &reveal.paths);
        match patterns.into_iter().find(|pattern| parse(pattern).is_none()) {
            Some(_) => {
                Err("one of the `paths` is neither a path nor a prefix with `/**`".to_owned())
            }
            None => Ok(grants),
        }
    }

    #[cfg(test)]
    pub(super) fn of(uid: u32, paths: &[&str]) -> Self {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Self { reveal: vec![Reveal { uid, paths }] }
    }

    /// Whether the values of this secret may be shown in sessions of this user.
    pub(super) fn allow(&self, uid: u32, path: &SecretPath) -> bool {
        let patterns = self.reveal.iter().filter(|reveal| reveal.uid == uid);
        patterns.flat_map(|reveal| &reveal.paths).filter_map(|pattern| parse(pattern)).any(
            |pattern| match pattern {
                Pattern::Exact(exact) => exact == *path,
                Pattern::Below(prefix) => path.below(&prefix).is_some(),
            },
        )
    }
}

enum Pattern {
    Exact(SecretPath),
    Below(SecretPath),
}

fn parse(pattern: &str) -> Option<Pattern> {
    match pattern.strip_suffix("/**") {
        Some(prefix) => SecretPath::parse(prefix).ok().map(Pattern::Below),
        None => SecretPath::parse(pattern).ok().map(Pattern::Exact),
    }
}

/// Whether only `owner` can write it. A link is followed by no check, so it is refused.
fn is_protected(found: &Metadata, owner: u32) -> bool {
    !found.is_symlink() && found.uid() == owner && found.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    /// A folder and a file in it that grants something; the running user takes root's part.
    struct Place {
        folder: tempfile::TempDir,
        file: PathBuf,
    }

    fn place(content: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agents.toml");
        fs::write(&file, content).unwrap();
        set_mode(&file, 0o644);
        Place { folder, file }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn own_uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn read(place: &Place) -> Result<Grants, String> {
        Grants::read(&place.file, place.folder.path(), own_uid())
    }

    const GRANT: &str = "[[reveal]]\nuid = 1000\npaths = [\"staging/**\", \"shared/model\"]\n";

    #[test]
    fn a_grant_is_for_one_user_and_these_paths() {
        let grants = read(&place(GRANT)).unwrap();
        for (uid, path, is_allowed) in [
            (1000, "staging/db/main", true),
            (1000, "shared/model", true),
            (1000, "staging", false),
            (1000, "staging-2/db", false),
            (1000, "shared/model/x", false),
            (1000, "production/db", false),
            (1001, "staging/db/main", false),
        ] {
            let path = SecretPath::parse(path).unwrap();
            assert_eq!(grants.allow(uid, &path), is_allowed, "{uid} {path}");
        }
    }

    #[test]
    fn no_file_grants_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::read(&folder.path().join("none"), folder.path(), own_uid()).unwrap();
        assert!(!grants.allow(1000, &SecretPath::parse("staging/a").unwrap()));
    }

    #[test]
    fn a_file_that_others_can_write_grants_nothing() {
        for mode in [0o664, 0o646, 0o666] {
            let place = place(GRANT);
            set_mode(&place.file, mode);
            assert!(read(&place).unwrap_err().contains("writable by that user alone"));
        }
    }

    #[test]
    fn a_file_in_a_folder_that_others_can_write_grants_nothing() {
        let place = place(GRANT);
        set_mode(place.folder.path(), 0o777);
        assert!(read(&place).unwrap_err().contains("writable by that user alone"));
    }

    #[test]
    fn a_file_of_another_owner_grants_nothing() {
        let place = place(GRANT);
        let other = own_uid() + 1;
        let problem = Grants::read(&place.file, place.folder.path(), other).unwrap_err();
        assert!(problem.contains("must belong to user"), "{problem}");
    }

    #[test]
    fn a_link_grants_nothing() {
        let place = place(GRANT);
        let link = place.folder.path().join("link.toml");
        symlink(&place.file, &link).unwrap();
        assert!(Grants::read(&link, place.folder.path(), own_uid()).is_err());
    }

    #[test]
    fn a_file_that_is_not_understood_grants_nothing() {
        for content in [
            "reveal = true",
            "[[reveal]]\nuid = 1000\npaths = [\"**\"]",
            "[[reveal]]\nuid = 1000\npaths = [\"a/*\"]",
            "[[reveal]]\nuid = 1000\npaths = [\"a\"]\nunless = \"b\"",
        ] {
            assert!(read(&place(content)).is_err(), "{content}");
        }
    }
}
