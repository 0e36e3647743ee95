//! Reads the `.env` file whole, within bounds of size and time, off the thread of the caller.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// The largest file, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// How long opening waits for the whole file, such as for the writer of a pipe.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer the caller waits, if a file system does not answer.
const GRACE: Duration = Duration::from_secs(1);

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    Io(io::ErrorKind),
    TooLarge,
    TimedOut,
    EmptyPipe,
    NoThread,
}

impl ReadError {
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::Io(io::ErrorKind::NotFound) => {
                "does not exist; create it or leave the setting out"
            }
            Self::Io(io::ErrorKind::PermissionDenied) => {
                "may not be read by this process; change its mode"
            }
            Self::Io(io::ErrorKind::IsADirectory) => "is a directory; name a file in it",
            Self::Io(_) => "cannot be read; name a file or a pipe, and check the file system",
            Self::TooLarge => "has more than 1 MiB; is it the right one?",
            Self::TimedOut => {
                "did not end within 30 s; check that the program at the other end of the pipe writes it and \
                 closes it"
            }
            Self::EmptyPipe => {
                "is a pipe that gave nothing; a pipe can be read only once: make a new one for each opening, \
                 and check the program that writes it"
            }
            Self::NoThread => "cannot be read, since no thread could be started; raise the limit",
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

type Contents = Result<Zeroizing<Vec<u8>>, ReadError>;

/// Reads a file, a pipe or another thing that can be opened.
pub(crate) async fn read(path: &Path, timeout: Duration) -> Contents {
    let (path, (reply, contents)) = (path.to_owned(), oneshot::channel());
    spawn(move || {
        let (sender, receiver) = mpsc::sync_channel(1);
        // A file system that does not answer keeps this thread, but not the caller.
        let contents = spawn(move || {
            let _ = sender.send(read_within(&path, Instant::now() + timeout));
        })
        .and_then(|()| receiver.recv_timeout(timeout + GRACE).unwrap_or(Err(ReadError::TimedOut)));
        // Fails if the caller dropped the future.
        let _ = reply.send(contents);
    })?;
    contents.await.unwrap_or(Err(ReadError::NoThread))
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<(), ReadError> {
    let thread = thread::Builder::new().name("strongroom-env".into()).spawn(run);
    thread.map(drop).map_err(|_| ReadError::NoThread)
}

fn read_within(path: &Path, deadline: Instant) -> Contents {
    let mut file = open(path)?;
    // One byte more than allowed. The buffer never moves, and files of unknown size fit, too.
    let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 1]);
    let mut len = 0;
    loop {
        let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) else {
            return Err(ReadError::TooLarge);
        };
        wait_until_readable(&file, deadline)?;
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                kind => return Err(ReadError::Io(kind)),
            },
        }
    }
    if len == 0 && is_pipe(&file)? {
        return Err(ReadError::EmptyPipe);
    }
    buffer.truncate(len);
    Ok(buffer)
}

/// Opens a file without waiting for the writer of a named pipe.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

#[cfg(unix)]
fn is_pipe(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    Ok(file.metadata()?.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_file: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(unix)]
fn wait_until_readable(file: &File, deadline: Instant) -> Result<(), ReadError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).map_err(|_| ReadError::TimedOut)?;
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => Err(ReadError::TimedOut),
        // The read that follows tells.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(ReadError::from(io::Error::from(error))),
    }
}

#[cfg(not(unix))]
fn wait_until_readable(_file: &File, deadline: Instant) -> Result<(), ReadError> {
    if Instant::now() < deadline { Ok(()) } else { Err(ReadError::TimedOut) }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{PipeWriter, Write};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::path::PathBuf;

    use rustix::fs::{CWD, Mode};
    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    /// The path under which this process can open the reading end, as a shell gives it for `<(…)`.
    fn pipe() -> (OwnedFd, PathBuf, PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        let path = format!("/dev/fd/{}", reader.as_raw_fd()).into();
        (reader, path, writer)
    }

    fn named_pipe() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        (directory, path)
    }

    fn written(name: &Path, content: &'static [u8]) -> thread::JoinHandle<()> {
        let name = name.to_owned();
        thread::spawn(move || {
            File::options().write(true).open(name).unwrap().write_all(content).unwrap();
        })
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let (_reader, path, mut writer) = pipe();
        // More than a pipe holds, in two parts.
        let content = "x".repeat(200_000);
        let parts = content.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&parts.as_bytes()[..70_000]).unwrap();
            thread::sleep(SHORT);
            writer.write_all(&parts.as_bytes()[70_000..]).unwrap();
        });
        assert_eq!(**read(&path, LONG).await.unwrap(), *content.as_bytes());
        writing.join().unwrap();
    }

    #[tokio::test]
    async fn a_pipe_whose_writer_has_ended_is_read_once() {
        let (_reader, path, mut writer) = pipe();
        writer.write_all(b"A=1\n").unwrap();
        drop(writer);
        assert_eq!(**read(&path, LONG).await.unwrap(), *b"A=1\n");
        assert_eq!(read(&path, LONG).await.unwrap_err(), ReadError::EmptyPipe);
    }

    #[tokio::test]
    async fn a_named_pipe_is_read_once_its_writer_has_come() {
        let (_directory, path) = named_pipe();
        let (contents, ()) = tokio::join!(read(&path, LONG), async {
            tokio::time::sleep(SHORT).await;
            written(&path, b"A=1\n");
        });
        assert_eq!(**contents.unwrap(), *b"A=1\n");
    }

    #[tokio::test]
    async fn a_pipe_without_an_end_is_refused_in_time() {
        let (_directory, path) = named_pipe();
        assert_eq!(read(&path, SHORT).await.unwrap_err(), ReadError::TimedOut, "no writer");
        let (_reader, path, mut writer) = pipe();
        writer.write_all(b"A=1\n").unwrap();
        assert_eq!(read(&path, SHORT).await.unwrap_err(), ReadError::TimedOut, "not closed");
    }

    #[tokio::test]
    async fn a_device_without_an_end_is_refused_by_its_size() {
        assert_eq!(read(Path::new("/dev/zero"), LONG).await.unwrap_err(), ReadError::TooLarge);
        assert!(read(Path::new("/dev/null"), LONG).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_whose_size_the_system_does_not_know_is_read_whole() {
        let path = Path::new("/proc/self/status");
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert!(read(path, LONG).await.unwrap().starts_with(b"Name:"));
    }

    #[tokio::test]
    async fn a_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = read(&path, LONG).await.unwrap_err();
        assert!(error.phrase().contains("name a file or a pipe"), "{error:?}");
    }

    /// The runtime of the test has one thread: if the read kept it, the timer could not run.
    #[tokio::test]
    async fn other_tasks_run_while_a_pipe_is_awaited() {
        let (_directory, path) = named_pipe();
        let reading = read(&path, LONG);
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => panic!("the pipe had no writer"),
            () = tokio::time::sleep(SHORT) => {}
        }
        written(&path, b"A=1\n");
        assert_eq!(**reading.await.unwrap(), *b"A=1\n");
    }
}
