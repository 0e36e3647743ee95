//! Which module has the token, and how to log in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, ErrorKind, FilePath, Problems, Result};

/// The largest file with a PIN, in bytes.
const MAX_PIN_FILE: u64 = 4096;
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The user PIN of a token, or where it is. `Debug` shows no PIN.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pin {
    /// The PIN.
    Text(SecretString),
    /// A file of up to 4096 bytes with the PIN, read for each call; one line break at its end is not part of it.
    /// Its mode is not checked: let this service alone read it.
    File(PathBuf),
}

/// How to use the token of a [`Pkcs11Key`](crate::Pkcs11Key). `Debug` shows no PIN.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pkcs11Config {
    /// The absolute path of the token's PKCS#11 module, such as `/usr/lib/softhsm/libsofthsm2.so`. This process loads it
    /// at the first call: whoever can write the file controls the process.
    pub module: PathBuf,
    /// The user PIN.
    pub pin: Pin,
    /// How long one call may take; default 30 s. A call that takes longer fails with
    /// [`Timeout`](strongroom_core::ErrorKind::Timeout), and its thread ends when the module returns.
    pub timeout: Duration,
}

impl Pkcs11Config {
    /// The token of a module, with a time limit of 30 s.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>, pin: Pin) -> Self {
        Self { module: module.into(), pin, timeout: TIMEOUT }
    }

    /// Checks the configuration without looking at a file.
    pub(crate) fn check(&self, problems: &mut Problems) {
        // The loader searches for a name without a directory, and may find another library.
        if !self.module.is_absolute() {
            problems.add("`Pkcs11Config::module` must be the absolute path of a library");
        }
        if self.timeout.is_zero() {
            problems.add("`Pkcs11Config::timeout` must be longer than zero");
        }
        match &self.pin {
            Pin::Text(pin) if pin.expose_secret().is_empty() => {
                problems.add("`Pin::Text` is empty");
            }
            Pin::Text(_) => {}
            Pin::File(file) => {
                problems.collect(FilePath::new(file).check("Pin::File"));
            }
        }
    }
}

impl Pin {
    /// The PIN. Blocks while a file is read.
    pub(crate) fn read(&self) -> Result<SecretString> {
        let file = match self {
            Self::Text(pin) => return Ok(pin.clone()),
            Self::File(file) => FilePath::new(file),
        };
        let unusable = |cause: String, temporary| {
            Error::new(ErrorKind::Unauthenticated, "write the token's user PIN to the file")
                .because(cause)
                .temporary(temporary)
        };
        let bytes = file.read(MAX_PIN_FILE).map_err(|error| {
            // The file may be delivered after this service has started.
            let may_appear = error.kind() == std::io::ErrorKind::NotFound;
            unusable(format!("the file with the PIN, {file}, cannot be read: {error}"), may_appear)
        })?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(unusable(
                format!("the file with the PIN, {file}, contains no text"),
                false,
            ));
        }
        Ok(SecretString::from(text))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pin) => f.debug_tuple("Text").field(pin).finish(),
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_loses_one_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pin");
        for (content, pin) in [("1234", "1234"), ("12 34\r\n", "12 34"), (" 1\n\n", " 1\n")] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(Pin::File(file.clone()).read().unwrap().expose_secret(), pin);
        }
        for content in [&b""[..], b"\n", b"\xff", &[b'1'; 4097]] {
            std::fs::write(&file, content).unwrap();
            let error = Pin::File(file.clone()).read().unwrap_err();
            assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unauthenticated, false));
        }
        std::fs::remove_file(&file).unwrap();
        assert!(Pin::File(file).read().unwrap_err().is_temporary());
    }

    #[test]
    fn every_problem_is_named_and_no_pin_shown() {
        let config = Pkcs11Config {
            module: "libsofthsm2.so".into(),
            pin: Pin::File("-----BEGIN hunter2".into()),
            timeout: Duration::ZERO,
        };
        let mut problems = Problems::new();
        config.check(&mut problems);
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.problems().len(), 3, "{error}");
        let text = Pin::Text("hunter2".into());
        assert!(!format!("{error} {config:?} {text:?}").contains("hunter2"));
        let mut problems = Problems::new();
        Pkcs11Config::new("/lib/module.so", Pin::Text("".into())).check(&mut problems);
        assert!(problems.into_result().is_err());
    }
}
