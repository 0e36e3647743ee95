//! Reading the secret id, wherever it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::SecretId;

/// The longest file that is read, in bytes.
const LONGEST: usize = 4096;
/// How long a file may take, such as one on a network.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Reads one secret id, one file at a time: a thread that hangs in one is not joined by others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    reading: Arc<AtomicBool>,
}

impl Reader {
    /// The secret id as it is now.
    pub(crate) async fn read(&self, secret_id: &SecretId) -> Result<SecretString> {
        let file = match secret_id {
            SecretId::Text(text) => return Ok(text.clone()),
            SecretId::File(file) => file.clone(),
        };
        let name = file.display().to_string();
        if self.reading.swap(true, Ordering::SeqCst) {
            let cause = format!("the secret id in {name} is still being read");
            return Err(unusable(cause).temporary(true));
        }
        let under_way = UnderWay(Arc::clone(&self.reading));
        // Reading may block: it must not keep the runtime from other tasks.
        let reading = tokio::task::spawn_blocking(move || {
            let _under_way = under_way;
            content(&file)
        });
        let bytes = match timeout(LIMIT, reading).await {
            Ok(Ok(Ok(bytes))) => bytes,
            Ok(Ok(Err(error))) => {
                // Whoever delivers the file may come later than this service.
                let may_come = error.kind() == io::ErrorKind::NotFound;
                let cause = format!("the secret id in {name} cannot be read: {}", error.kind());
                return Err(unusable(cause).temporary(may_come));
            }
            Ok(Err(_)) | Err(_) => {
                let cause = format!("the secret id in {name} cannot be read: it takes too long");
                return Err(unusable(cause).temporary(true));
            }
        };
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(format!("{name} does not hold one secret id")));
        }
        Ok(SecretString::from(text))
    }
}

/// Ends with the reading, also if that never began because its runtime was shut down.
struct UnderWay(Arc<AtomicBool>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The content of a file that is no longer than a secret id may be; a longer one gives nothing.
fn content(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a pipe would wait for whoever writes to it.
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Zeroizing::new(vec![0; LONGEST + 1]);
    let mut length = 0;
    let mut file = File::open(file)?;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(if length > LONGEST { 0 } else { length });
    Ok(bytes)
}

fn unusable(cause: String) -> Error {
    Error::new(ErrorKind::Unauthenticated, "check the file that `VAULT_SECRET_ID_FILE` names")
        .because(cause)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::task::{Context, Waker};

    use secrecy::ExposeSecret as _;

    use super::*;

    async fn read_file(content: Option<&[u8]>) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret-id");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        Reader::default()
            .read(&SecretId::File(file))
            .await
            .map(|text| text.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_file_holds_one_word() {
        assert_eq!(read_file(Some(b" hunter2\n")).await.unwrap(), "hunter2");
        let long = vec![b'x'; LONGEST];
        assert_eq!(read_file(Some(&long)).await.unwrap().len(), LONGEST);
        for content in [b"".as_slice(), b"hunter 2", b"\xff", &vec![b'x'; LONGEST + 1]] {
            let error = read_file(Some(content)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(!error.is_temporary() && !error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn a_reading_that_its_runtime_never_began_stands_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret-id");
        fs::write(&file, "hunter2").unwrap();
        let (reader, secret_id) = (Reader::default(), SecretId::File(file));
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().max_blocking_threads(1).build().unwrap()
        };
        let (first, (release, blocked)) = (runtime(), std::sync::mpsc::channel::<()>());
        first.block_on(async {
            // The only thread for blocking work is taken.
            tokio::task::spawn_blocking(move || blocked.recv());
            let mut reading = std::pin::pin!(reader.read(&secret_id));
            let mut context = Context::from_waker(Waker::noop());
            assert!(reading.as_mut().poll(&mut context).is_pending());
        });
        first.shutdown_background();
        drop(release);
        let begin = std::time::Instant::now();
        while runtime().block_on(reader.read(&secret_id)).is_err() {
            assert!(begin.elapsed() < LIMIT, "it is still being read");
        }
    }

    #[tokio::test]
    async fn a_file_may_come_later() {
        assert!(read_file(None).await.unwrap_err().is_temporary());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_or_folder_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["/dev/zero".into(), folder.path().to_path_buf()] {
            let error = Reader::default().read(&SecretId::File(file)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        }
    }
}
