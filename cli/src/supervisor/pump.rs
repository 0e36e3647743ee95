//! Copies one stream of the command to one of this process, and masks values on the way.
//!
//! A pump has a thread of its own, because standard output may block for as long as its reader likes, and
//! signals have to be forwarded meanwhile. It passes on each piece when it comes, up to the longest end that
//! may still become a value. On a terminal it gives out that end as well when the command pauses, as it does
//! at a prompt, but not as much of it as the shortest value has, unless a person types it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use strongroom_redact::Stream;
use tokio::sync::oneshot;
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::Failure;
use crate::output::BlockingFile;

/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;
/// A command that writes nothing for this time waits for input, as far as a terminal is concerned.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes of what may become a value are given out at a pause. The shortest value that is masked has
/// one byte more.
const MAX_SHOWN: usize = 3;

/// Why a pump has ended early.
#[derive(Debug)]
pub(crate) enum PumpError {
    Read(io::Error),
    Write(io::Error),
}

impl PumpError {
    /// Tells which stream of this process could not be copied to, unless its reader has gone: then there is
    /// nothing to tell.
    pub(crate) fn report(self, stream: &str) -> Result<(), Failure> {
        match self {
            Self::Read(error) => Err(Failure::io("read the output of the command", &error)),
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Write(error) => Err(Failure::io(format_args!("write to {stream}"), &error)),
        }
    }
}

/// A pump at work.
pub(crate) struct Pump {
    done: oneshot::Receiver<Result<(), PumpError>>,
    /// A drop tells the thread that the command has ended.
    stop: PipeWriter,
}

impl Pump {
    /// Starts a thread that copies. After the end of the command it copies what is there, until nothing comes
    /// for `settle`: another process may keep the stream open for ever. `typed` is set when a key was typed.
    pub(crate) fn start(
        source: OwnedFd,
        sink: BlockingFile,
        stream: Stream,
        settle: Duration,
        typed: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (sender, done) = oneshot::channel();
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut copy = Copy::new(File::from(source), sink, stream, typed);
            let result = copy.run(&stopped, settle);
            drop(copy);
            // Without a receiver, the process ends.
            let _ = sender.send(result);
        })?;
        Ok(Self { done, stop })
    }

    /// Waits until the source has ended.
    pub(crate) async fn wait(&mut self) -> Result<(), PumpError> {
        (&mut self.done).await.unwrap_or(Ok(()))
    }

    /// Waits until all that the command has written is copied, after its end.
    pub(crate) async fn finish(self) -> Result<(), PumpError> {
        let Self { done, stop } = self;
        drop(stop);
        done.await.unwrap_or(Ok(()))
    }
}

struct Copy {
    source: File,
    sink: BlockingFile,
    stream: Stream,
    chunk: Zeroizing<Vec<u8>>,
    out: Vec<u8>,
    is_terminal: bool,
    /// How many bytes of a value that may begin here have been given out.
    shown: usize,
    typed: Arc<AtomicBool>,
}

/// What a wait has ended with.
enum Wakeup {
    Data,
    Stop,
    Timeout,
}

impl Copy {
    fn new(source: File, sink: BlockingFile, stream: Stream, typed: Arc<AtomicBool>) -> Self {
        let is_terminal = rustix::termios::isatty(&sink);
        let chunk = Zeroizing::new(vec![0; CHUNK]);
        Self { source, sink, stream, chunk, out: Vec::new(), is_terminal, shown: 0, typed }
    }

    fn run(&mut self, stopped: &PipeReader, settle: Duration) -> Result<(), PumpError> {
        let mut is_stopping = false;
        loop {
            let timeout = match (is_stopping, self.may_show()) {
                (true, _) => Some(settle),
                (false, true) => Some(PAUSE),
                (false, false) => None,
            };
            let stopped = Some(stopped).filter(|_| !is_stopping);
            match self.wait(stopped, timeout).map_err(PumpError::Read)? {
                Wakeup::Data if !self.copy()? => break,
                Wakeup::Data => {}
                Wakeup::Stop => is_stopping = true,
                Wakeup::Timeout if is_stopping => break,
                Wakeup::Timeout => self.show()?,
            }
        }
        let out = &mut self.out;
        self.stream.finish(|text| out.extend_from_slice(text));
        self.write()
    }

    fn wait(&self, stopped: Option<&PipeReader>, timeout: Option<Duration>) -> io::Result<Wakeup> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let source = PollFd::new(&self.source, PollFlags::IN);
        let mut descriptors: Vec<PollFd<'_>> = vec![source];
        descriptors.extend(
            stopped.map(|stopped| PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)),
        );
        loop {
            match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) => return Ok(Wakeup::Timeout),
                Ok(_) => break,
            }
        }
        let has_data = descriptors.first().is_some_and(|source| !source.revents().is_empty());
        Ok(if has_data { Wakeup::Data } else { Wakeup::Stop })
    }

    /// Copies one piece. Returns whether more may come.
    fn copy(&mut self) -> Result<bool, PumpError> {
        let count = match self.source.read(&mut self.chunk) {
            // A pseudo-terminal without a process at its other end gives this error.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => 0,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => return Ok(true),
                _ => return Err(PumpError::Read(error)),
            },
            Ok(count) => count,
        };
        let piece = self.chunk.get(..count).unwrap_or_default();
        let out = &mut self.out;
        self.stream.push(piece, |text| out.extend_from_slice(text));
        if let Some(piece) = self.chunk.get_mut(..count) {
            piece.zeroize();
        }
        // What is held begins after what was shown, or a person has typed it.
        let begins_later = !self.out.is_empty() || self.stream.held_len() == 0;
        if begins_later || self.typed.swap(false, Ordering::Relaxed) {
            self.shown = 0;
        }
        self.write()?;
        Ok(count > 0)
    }

    fn may_show(&self) -> bool {
        let held = self.stream.held_len();
        self.is_terminal && held > 0 && self.shown + held <= MAX_SHOWN
    }

    /// Gives out the beginning of what may become a value.
    fn show(&mut self) -> Result<(), PumpError> {
        self.shown += self.stream.held_len();
        let out = &mut self.out;
        self.stream.flush(|text| out.extend_from_slice(text));
        self.write()
    }

    fn write(&mut self) -> Result<(), PumpError> {
        let result = (&self.sink).write_all(&self.out);
        self.out.clear();
        result.map_err(|error| match error.raw_os_error() {
            // The terminal was closed.
            Some(code) if self.is_terminal && code == Errno::IO.raw_os_error() => {
                PumpError::Write(io::ErrorKind::BrokenPipe.into())
            }
            _ => PumpError::Write(error),
        })
    }
}
