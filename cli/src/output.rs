//! What the command prints: bytes, lines of JSON, and tables.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use strongroom_core::WipedBuffer;

use crate::failure::Failure;

/// The version of the shape of every JSON document. A member may be added at any time; the number changes
/// when one is removed or gets another meaning.
const SCHEMA_VERSION: u32 = 1;

/// A JSON document on one line.
#[derive(Serialize)]
pub(crate) struct Document<T> {
    schema_version: u32,
    #[serde(flatten)]
    body: T,
}

impl<T: Serialize> Document<T> {
    pub(crate) fn new(body: T) -> Self {
        Self { schema_version: SCHEMA_VERSION, body }
    }

    /// The document with a line break, in a buffer that is wiped.
    pub(crate) fn to_line(&self) -> io::Result<WipedBuffer> {
        let mut line = WipedBuffer::default();
        serde_json::to_writer(&mut line, self)?;
        line.write_all(b"\n")?;
        Ok(line)
    }
}

/// A file that is waited for, also if another process has set that it does not block.
pub(crate) struct BlockingFile(File);

impl Read for BlockingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_and_retry(self.0.as_fd(), PollFlags::IN, || (&self.0).read(buffer))
    }
}

impl Write for &BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait_and_retry(self.0.as_fd(), PollFlags::OUT, || (&self.0).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for BlockingFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn wait_and_retry(
    file: BorrowedFd<'_>,
    flags: PollFlags,
    mut call: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // After an error here, the call meets it, too.
                let _ = rustix::event::poll(&mut [PollFd::new(&file, flags)], None);
            }
            result => return result,
        }
    }
}

/// Standard output, without a buffer, which would keep values.
pub(crate) struct Stdout(BlockingFile);

impl Stdout {
    pub(crate) fn new() -> Result<Self, Failure> {
        open_stream(rustix::stdio::stdout()).map(Self).map_err(|error| Failure::output(&error))
    }

    pub(crate) fn is_terminal(&self) -> bool {
        rustix::termios::isatty(&self.0)
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        (&self.0).write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Writes one JSON document on a line.
    pub(crate) fn document(&mut self, body: impl Serialize) -> Result<(), Failure> {
        let line = Document::new(body).to_line().map_err(|error| Failure::output(&error))?;
        self.write(&line)
    }

    /// A writer for many lines without values.
    pub(crate) fn buffered(&self) -> BufWriter<&BlockingFile> {
        BufWriter::with_capacity(32_768, &self.0)
    }
}

/// A standard stream as a file without a buffer.
pub(crate) fn open_stream(stream: BorrowedFd<'static>) -> io::Result<BlockingFile> {
    Ok(BlockingFile(File::from(stream.try_clone_to_owned()?)))
}

/// Standard error.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait_and_retry(rustix::stdio::stderr(), PollFlags::OUT, || io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
