//! A file to which checkpoints are appended, for an operator who ships them elsewhere.
//!
//! A thread of its own writes: the file may be on a network file system that hangs, and the log must go on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use strongroom_core::{Error, FilePath, Result};
use tracing::{error, info, warn};

use super::checkpoint::SignedCheckpoint;
use crate::access::spawn_thread;
use crate::settings::CHECKPOINT_FILE;

/// How much of the end of a file is read for its last checkpoints, in bytes: some 200.
const LAST_PART: u64 = 64 * 1024;
/// The longest file that is read whole, in bytes: that of some 20 years with a checkpoint each hour.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How soon a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long the end of a process waits for the last checkpoint.
const END_WAIT: Duration = Duration::from_secs(2);

/// Reads the last checkpoints of a file. A file that does not exist has none.
pub(crate) fn read_last(path: &Path) -> Result<Vec<SignedCheckpoint>> {
    read(path, LAST_PART)
}

/// Reads all checkpoints of a file.
pub(crate) fn read_all(path: &Path) -> Result<Vec<SignedCheckpoint>> {
    read(path, MAX_FILE)
}

fn read(path: &Path, most: u64) -> Result<Vec<SignedCheckpoint>> {
    let text = read_end(path, most).map_err(|error| problem(path, &error))?;
    let (checkpoints, malformed) = SignedCheckpoint::parse_all(&text);
    if malformed > 0 && checkpoints.is_empty() {
        return Err(problem(path, &io::ErrorKind::InvalidData.into()));
    }
    if malformed > 0 {
        warn!(
            malformed,
            "a part of the file of checkpoints is no checkpoint; its write was interrupted, or it was edited"
        );
    }
    Ok(checkpoints)
}

/// The end of a file, from the beginning of a checkpoint on.
fn read_end(path: &Path, most: u64) -> io::Result<String> {
    let mut file = match check_regular(path).and_then(|()| File::open(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let skipped = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if skipped == 0 {
        return Ok(text);
    }
    let begin = SignedCheckpoint::find_first(&text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(text.get(begin..).unwrap_or_default().to_owned())
}

/// Decides when a checkpoint is due, and hands it to the thread that writes.
pub(crate) struct CheckpointFile {
    interval: Duration,
    next: Instant,
    /// The last record that a checkpoint of this process covers.
    last_seq: u64,
    texts: Sender<String>,
    ended: Receiver<()>,
}

impl CheckpointFile {
    /// Creates the file, unless it exists. `last_seq` is the end of the log, for which no checkpoint is due.
    pub(crate) fn open(path: PathBuf, interval: Duration, last_seq: u64) -> Result<Self> {
        open_to_append(&path).map_err(|error| problem(&path, &error))?;
        let (texts, receiver) = channel();
        let (ending, ended) = channel();
        spawn_thread("strongroom-checkpoints", move || {
            write_all(&path, &receiver);
            // Fails if `end` waits no longer, or was not called.
            let _ = ending.send(());
        })?;
        Ok(Self { interval, next: Instant::now() + interval, last_seq, texts, ended })
    }

    pub(crate) fn is_due(&self, last_seq: u64) -> bool {
        last_seq != self.last_seq && Instant::now() >= self.next
    }

    pub(crate) fn is_behind(&self, last_seq: u64) -> bool {
        last_seq != self.last_seq
    }

    pub(crate) fn write(&mut self, checkpoint: &SignedCheckpoint, last_seq: u64) {
        self.last_seq = last_seq;
        self.postpone();
        // The thread outlives this value.
        let _ = self.texts.send(checkpoint.to_string());
    }

    /// Waits for another interval.
    pub(crate) fn postpone(&mut self) {
        self.next = Instant::now() + self.interval;
    }

    /// Waits for what is to be written, but not for a file system that hangs.
    pub(crate) fn end(self) {
        let Self { texts, ended, .. } = self;
        drop(texts);
        if ended.recv_timeout(END_WAIT) == Err(RecvTimeoutError::Timeout) {
            error!("the last checkpoint of the audit log may not be written");
        }
    }
}

/// Writes until the sender is gone. Of several texts that wait, the newest covers the others.
fn write_all(path: &Path, texts: &Receiver<String>) {
    let mut fails = false;
    let mut waiting: Option<String> = None;
    loop {
        let received = match waiting {
            None => texts.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => texts.recv_timeout(RETRY),
        };
        let is_last = match received {
            Ok(text) => {
                waiting = Some(texts.try_iter().last().unwrap_or(text));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let written = waiting.as_ref().map(|text| append(path, text));
        match written {
            Some(Ok(())) => {
                waiting = None;
                if std::mem::take(&mut fails) {
                    info!("checkpoints of the audit log are written again");
                }
            }
            Some(Err(failure)) if !std::mem::replace(&mut fails, true) => {
                let error = problem(path, &failure);
                error!(%error, "a checkpoint of the audit log cannot be written");
            }
            Some(Err(_)) | None => {}
        }
        if is_last {
            return;
        }
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = open_to_append(path)?;
    // In one call, so that processes do not mix their texts; after a blank line, since the end of the file may be a
    // part whose write was interrupted.
    file.write_all(format!("\n{text}").as_bytes())?;
    file.sync_data()
}

fn open_to_append(path: &Path) -> io::Result<File> {
    match check_regular(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Fails for what is no regular file before it is opened: a named pipe would block until its other end is opened.
fn check_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn problem(path: &Path, error: &io::Error) -> Error {
    let complaint = match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist; create it, or name another path",
        io::ErrorKind::PermissionDenied => "this process may not read it and append to it",
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => "it is not a regular file",
        io::ErrorKind::InvalidData => "it has text that is no checkpoint",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => "the file system failed",
    };
    Error::config(vec![format!("`{CHECKPOINT_FILE}`: {}: {complaint}", FilePath::new(path))])
}
