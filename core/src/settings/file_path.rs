//! Settings that name files, whose value may be a secret that belongs into the file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Error, EscapedText, Result};

/// The longest path of Linux, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4_096;
/// The shortest segment of a path that may be taken for a random token.
const MIN_TOKEN: usize = 20;

/// The ends of names that files with settings, secrets and certificates usually have.
const EXTENSIONS: [&str; 12] = [
    "cer", "crt", "db", "env", "json", "key", "pem", "secret", "sqlite", "sqlite3", "token", "txt",
];

/// How the tokens of common services begin.
const TOKENS: [&str; 15] = [
    "hvs.",
    "hvb.",
    "hvr.",
    "eyJ",
    "AKIA",
    "ASIA",
    "sk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "AGE-SECRET-KEY-",
    "ssh-",
];

/// The path of a file in a setting, for messages.
///
/// A secret is easily pasted into a setting that names a file: a private key into `VAULT_CLIENT_KEY`, a
/// passphrase into `SECRETS_NATIVE_KEY_FILE`. So `Display` and `Debug` show a path that does not exist only
/// if it cannot well be anything else: an absolute path, one that begins with `./` or `../`, one in a
/// directory that exists, or a name such as `secrets.db`; and never if it looks like a key or a token.
///
/// # Examples
/// ```
/// use std::path::Path;
///
/// use strongroom_core::FilePath;
///
/// let key = FilePath::new(Path::new("-----BEGIN PRIVATE KEY-----\nMC4CAQ"));
/// let error = key.check("SECRETS_ACME_KEY").unwrap_err();
/// assert_eq!(
///     error.problems(),
///     ["`SECRETS_ACME_KEY` holds contents, not a path: write them to a file and name that"]
/// );
/// assert_eq!(format!("{key:?}"), "[REDACTED]");
/// ```
#[derive(Clone, Copy)]
pub struct FilePath<'a>(&'a Path);

impl<'a> FilePath<'a> {
    /// The path that a setting holds.
    #[must_use]
    pub fn new(path: &'a (impl AsRef<Path> + ?Sized)) -> Self {
        Self(path.as_ref())
    }

    /// Checks that `setting` holds a path rather than the contents of a file.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config), without the value.
    pub fn check(&self, setting: impl fmt::Display) -> Result<()> {
        if exists(self.0) || !is_contents(self.0) {
            return Ok(());
        }
        Err(Error::config(vec![format!(
            "`{setting}` holds contents, not a path: write them to a file and name that"
        )]))
    }

    /// Checks that a file may be created under this name: a passphrase must not become the name of a file.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config), without the value.
    pub fn check_new(&self, setting: impl fmt::Display) -> Result<()> {
        self.check(&setting)?;
        if exists(self.0) || is_explicit(self.0) {
            return Ok(());
        }
        Err(Error::config(vec![format!(
            "`{setting}` names no file that exists, and may be something else than a path, so it is not \
             shown: to create the file, give its absolute path, or begin the path with `./`"
        )]))
    }

    /// Whether systemd has put the file there for this service alone, as `LoadCredential=` does. From version 254 on, such a
    /// file belongs to root and has the mode 0440: an access control list gives the service's user the right to read it,
    /// and shows as the right of the group. `owner` and `mode` are those of the file.
    #[cfg(unix)]
    #[must_use]
    pub fn is_service_credential(&self, owner: u32, mode: u32) -> bool {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
        is_credential(self.0, folder.as_deref().map(Path::new), owner, mode)
    }

    /// Reads the file, up to `max` bytes. The buffer is wiped, and never grows, so it leaves no copy
    /// behind. It blocks, also for long if a file system does not answer.
    ///
    /// # Errors
    /// Those of reading; [`InvalidInput`](io::ErrorKind::InvalidInput) unless it is a regular file, since
    /// opening a pipe would block until another process writes to it;
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge). None shows the path or the content.
    pub fn read(&self, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        if !self.0.metadata()?.is_file() {
            let kind = io::ErrorKind::InvalidInput;
            return Err(io::Error::new(kind, "it is not a regular file"));
        }
        let file = File::open(self.0)?;
        let length = file.metadata()?.len().min(max);
        let mut content = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or_default() + 1]);
        let mut filled = 0;
        let mut file = file.take(max + 1);
        while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == content.len() {
            // It is longer than allowed, or has grown since.
            let kind = io::ErrorKind::FileTooLarge;
            return Err(io::Error::new(kind, format!("it is longer than {max} bytes")));
        }
        content.truncate(filled);
        Ok(content)
    }

    fn is_shown(&self) -> bool {
        exists(self.0) || (is_explicit(self.0) && !is_contents(self.0))
    }
}

impl fmt::Display for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_shown() {
            EscapedText::name(&self.0.to_string_lossy()).fmt(f)
        } else {
            f.write_str("[hidden: may be a secret]")
        }
    }
}

impl fmt::Debug for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_shown() { self.0.fmt(f) } else { f.write_str("[REDACTED]") }
    }
}

#[cfg(unix)]
fn is_credential(path: &Path, folder: Option<&Path>, owner: u32, mode: u32) -> bool {
    owner == 0
        && (mode & 0o030, mode & 0o007) == (0, 0)
        && folder.is_some_and(|folder| folder.is_absolute() && path.parent() == Some(folder))
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether a text is written as a path: absolute, with a dot or a home directory in front, in a directory that
/// exists, or with the name of a file.
fn is_explicit(path: &Path) -> bool {
    let begins_as_path = match path.components().next() {
        Some(Component::Normal(first)) => first == "~" && path.components().count() > 1,
        first => first.is_some(),
    };
    let is_in_directory =
        || path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && parent.is_dir());
    begins_as_path || is_in_directory() || has_name_of_file(path)
}

/// Whether a text is a name such as `secrets.db` or `.env.local`, also in a directory.
fn has_name_of_file(path: &Path) -> bool {
    let Some(name) = path.to_str() else { return false };
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/'));
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_usual = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
    let is_dotenv = path.file_name().and_then(|name| name.to_str());
    let is_dotenv = is_dotenv.is_some_and(|name| name == ".env" || name.starts_with(".env."));
    is_plain && (is_usual || is_dotenv)
}

/// Whether a text looks like what belongs into a file.
fn is_contents(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let text = text.trim();
    text.len() > MAX_PATH
        || text.chars().any(char::is_control)
        || text.starts_with(['{', '[', '"', '<'])
        || text.starts_with("-----BEGIN")
        || TOKENS.iter().any(|token| text.starts_with(token))
        || has_token(path)
}

/// Whether a segment looks like a random token, and is not the name of a file or directory that exists.
fn has_token(path: &Path) -> bool {
    let mut beginning = PathBuf::new();
    path.components().any(|segment| {
        beginning.push(segment);
        is_token(&segment.as_os_str().to_string_lossy()) && !exists(&beginning)
    })
}

/// Whether a segment of a path looks like a random token: a UUID, hexadecimal digits, or base64.
fn is_token(segment: &str) -> bool {
    let has = |is: fn(&u8) -> bool| segment.bytes().any(|byte| is(&byte));
    let is_hex = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_base64 = segment
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'_' | b'='));
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let is_random = has(u8::is_ascii_digit) && (is_hex || (is_base64 && is_mixed));
    segment.len() >= MIN_TOKEN && (is_random || (is_base64 && segment.ends_with('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SECRETS_A_KEY";

    fn shown(path: &str) -> bool {
        FilePath::new(path).to_string() == path
    }

    #[test]
    fn contents_are_refused_and_never_shown() {
        for contents in [
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----",
            "two\nlines",
            " {\"type\": \"service_account\"}",
            "hvs.CAESIJ",
            "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "k7xP2m9QvR4tY8wZ1aB3cD5eF6gH7iJ8kL9mN0oPqRs=",
            "/7xP2m9QvR4tY8wZ1aB3c/5eF6gH7iJ8kL9mN0oPqRs=",
            "AGE-SECRET-KEY-1QQQ",
        ] {
            let path = FilePath::new(contents);
            for error in [path.check(KEY).unwrap_err(), path.check_new(KEY).unwrap_err()] {
                assert_eq!(
                    error.problems(),
                    [
                        "`SECRETS_A_KEY` holds contents, not a path: write them to a file and name that"
                    ]
                );
            }
            assert!(!shown(contents) && !format!("{path:?}").contains(contents), "{contents}");
        }
        let long = "/a".repeat(MAX_PATH);
        assert!(FilePath::new(&long).check(KEY).is_err());
    }

    #[test]
    fn a_passphrase_does_not_become_the_name_of_a_file() {
        for passphrase in
            ["correct horse battery staple", "hunter2", "Tr0ub4dor&3.x", "no such/dir"]
        {
            let path = FilePath::new(passphrase);
            path.check(KEY).unwrap();
            let error = path.check_new(KEY).unwrap_err().to_string();
            assert!(error.contains("begin the path with `./`"), "{error}");
            assert!(!error.contains(passphrase) && !shown(passphrase));
        }
    }

    #[test]
    fn what_is_written_as_a_path_is_shown() {
        for path in [
            "/run/secrets/strongroom.key",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "./hunter2",
            "../key.pem",
            "/etc/ssl/certs/ca-certificates.crt",
            "src/lib.rs",
            "src/missing.rs",
            "secrets.db",
            "strongroom.key",
            ".env.local",
            "Cargo.toml",
        ] {
            let file = FilePath::new(path);
            file.check(KEY).unwrap();
            file.check_new(KEY).unwrap();
            assert!(shown(path), "{path}");
        }
    }

    #[test]
    fn reads_regular_files_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for length in [0, 1, 63, 64] {
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            assert_eq!(FilePath::new(&path).read(64).unwrap().len(), length);
        }
        std::fs::write(&path, [b'x'; 65]).unwrap();
        for (path, kind) in [
            (path.as_path(), io::ErrorKind::FileTooLarge),
            (folder.path(), io::ErrorKind::InvalidInput),
            (Path::new("/dev/zero"), io::ErrorKind::InvalidInput),
            (&folder.path().join("missing"), io::ErrorKind::NotFound),
        ] {
            assert_eq!(FilePath::new(path).read(64).unwrap_err().kind(), kind, "{path:?}");
        }
    }

    #[test]
    fn a_file_that_exists_is_a_path_with_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k7xP2m9QvR4tY8wZ1aB3cD5eF6gH7iJ8=");
        assert!(FilePath::new(&path).check(KEY).is_err());
        std::fs::create_dir(&path).unwrap();
        FilePath::new(&path.join("jwt")).check_new(KEY).unwrap();
        FilePath::new(&path).check_new(KEY).unwrap();
        assert!(shown(path.to_str().unwrap()));
    }

    #[cfg(unix)]
    #[test]
    fn the_group_may_read_a_credential_of_systemd_and_no_other_file() {
        let folder = Path::new("/run/credentials/app.service");
        let file = folder.join("strongroom.key");
        assert!(is_credential(&file, Some(folder), 0, 0o100_440));
        for (path, folder, owner, mode) in [
            (file.as_path(), Some(folder), 1000, 0o100_440),
            (&file, Some(folder), 0, 0o100_444),
            (&file, Some(folder), 0, 0o100_460),
            (&file, None, 0, 0o100_440),
            (&file, Some(Path::new("/run")), 0, 0o100_440),
            (&file, Some(Path::new("")), 0, 0o100_440),
            (Path::new("/etc/strongroom.key"), Some(folder), 0, 0o100_440),
        ] {
            assert!(
                !is_credential(path, folder, owner, mode),
                "{path:?} {folder:?} {owner} {mode:o}"
            );
        }
    }
}
