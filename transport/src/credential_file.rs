//! Reads credentials from files that an orchestrator replaces.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, FilePath, Result, Setting};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 64 * 1024;

/// Reads a file with one credential. It starts one read at a time, so that a file system that hangs
/// blocks one thread only.
#[derive(Clone, Debug)]
pub struct CredentialReader {
    /// What the file holds, with its article.
    what: &'static str,
    /// The setting that names the file.
    setting: Setting,
    is_reading: Arc<AtomicBool>,
}

impl CredentialReader {
    /// How long a read may take, such as one from a network file system.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// A reader of a file that `setting` names. `what` is what it holds, with its article: "the token".
    #[must_use]
    pub fn new(what: &'static str, setting: Setting) -> Self {
        Self { what, setting, is_reading: Arc::default() }
    }

    /// The one word in a file, without white space around it.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated), temporary if the file may still appear.
    pub async fn read_word(&self, file: &Path) -> Result<SecretString> {
        let bytes = self.read(file).await?;
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let cause = format!("{} does not contain exactly one word", FilePath::new(file));
            return Err(self.unusable(cause));
        }
        Ok(SecretString::from(text))
    }

    /// The text of a file, without a line break at its end.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated), temporary if the file may still appear.
    pub async fn read_line(&self, file: &Path) -> Result<SecretString> {
        let bytes = self.read(file).await?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            let cause = format!("{} contains no text", FilePath::new(file));
            return Err(self.unusable(cause));
        }
        Ok(SecretString::from(text))
    }

    async fn read(&self, file: &Path) -> Result<Zeroizing<Vec<u8>>> {
        let (what, name) = (self.what, FilePath::new(file));
        if self.is_reading.swap(true, Ordering::SeqCst) {
            let cause = format!("{what} in {name} is still being read by an earlier attempt");
            return Err(self.unusable(cause).temporary(true));
        }
        let guard = ReadGuard(Arc::clone(&self.is_reading));
        let path = file.to_owned();
        // Reading may block: it must not hold up other tasks of the runtime.
        let read = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            FilePath::new(&path).read(MAX_LEN)
        });
        match timeout(Self::TIMEOUT, read).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(error))) => {
                // The file may be delivered after this service has started.
                let may_appear = error.kind() == io::ErrorKind::NotFound;
                let cause = format!("{what} in {name} cannot be read: {error}");
                Err(self.unusable(cause).temporary(may_appear))
            }
            Ok(Err(_)) | Err(_) => {
                let cause = format!("{what} in {name} cannot be read: it takes too long");
                Err(self.unusable(cause).temporary(true))
            }
        }
    }

    fn unusable(&self, cause: String) -> Error {
        let advice = format!("check the file that `{}` names", self.setting);
        Error::new(ErrorKind::Unauthenticated, advice).because(cause)
    }
}

/// Marks the end of a read when it is dropped, also if the runtime was shut down before the read
/// began.
struct ReadGuard(Arc<AtomicBool>);

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::task::{Context, Waker};

    use secrecy::ExposeSecret as _;

    use super::*;

    const SECRET_ID_FILE: Setting = Setting::file("SECRETS_A_SECRET_ID_FILE", "AConfig::secret_id");

    fn reader() -> CredentialReader {
        CredentialReader::new("the secret id", SECRET_ID_FILE)
    }

    async fn read_content(content: Option<&[u8]>) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret-id");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        reader().read_word(&file).await.map(|text| text.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_file_contains_one_word() {
        assert_eq!(read_content(Some(b" hunter2\n")).await.unwrap(), "hunter2");
        let max = usize::try_from(MAX_LEN).unwrap();
        let long = vec![b'x'; max];
        assert_eq!(read_content(Some(&long)).await.unwrap().len(), max);
        for content in [b"".as_slice(), b"hunter 2", b"\xff", &vec![b'x'; max + 1]] {
            let error = read_content(Some(content)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(!error.is_temporary() && !error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn a_read_that_its_runtime_never_began_does_not_block_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret-id");
        fs::write(&file, "hunter2").unwrap();
        let reader = reader();
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().max_blocking_threads(1).build().unwrap()
        };
        let (first, (release, blocked)) = (runtime(), std::sync::mpsc::channel::<()>());
        first.block_on(async {
            // Occupy the only thread for blocking work.
            tokio::task::spawn_blocking(move || blocked.recv());
            let mut read = std::pin::pin!(reader.read_word(&file));
            let mut context = Context::from_waker(Waker::noop());
            assert!(read.as_mut().poll(&mut context).is_pending());
        });
        first.shutdown_background();
        drop(release);
        let begin = std::time::Instant::now();
        while runtime().block_on(reader.read_word(&file)).is_err() {
            assert!(
                begin.elapsed() < CredentialReader::TIMEOUT,
                "the first read still blocks the next"
            );
        }
    }

    #[tokio::test]
    async fn a_line_keeps_its_blanks_and_loses_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (content, text) in [(" a b \n", " a b "), ("a\r\n", "a"), ("a\n\n", "a\n"), ("ä", "ä")]
        {
            fs::write(&file, content).unwrap();
            assert_eq!(reader().read_line(&file).await.unwrap().expose_secret(), text);
        }
        for content in [b"".as_slice(), b"\n", b"\xff"] {
            fs::write(&file, content).unwrap();
            assert!(reader().read_line(&file).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_a_temporary_error() {
        assert!(read_content(None).await.unwrap_err().is_temporary());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn rejects_a_device_or_directory_without_reading_it() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["/dev/zero".into(), folder.path().to_path_buf()] {
            let error = reader().read_word(&file).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        }
    }
}
