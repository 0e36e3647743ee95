//! A writer that masks.

use std::fmt;
use std::io::{self, Write};

use crate::Stream;

/// A writer that masks what it writes to another one.
///
/// [`flush`](Write::flush) flushes the other writer, and does not give out what may still become a value.
/// [`finish`](Self::finish) does, as does a drop, which ignores errors.
///
/// # Examples
/// ```
/// # use std::io::Write as _;
/// # use strongroom_core::{SecretPath, SecretValue};
/// # use strongroom_redact::Redactor;
/// let redactor = Redactor::new();
/// redactor.add([(SecretPath::parse("db/password")?, SecretValue::from("correct horse"))]);
///
/// let mut log = redactor.writer(Vec::new());
/// write!(log, "login with {:?} failed", "correct horse")?;
/// assert_eq!(log.finish()?, b"login with \"[REDACTED:db/password]\" failed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedactingWriter<W: Write> {
    stream: Stream,
    /// Masked text that the other writer has not taken.
    out: Vec<u8>,
    /// It is `None` once the writer is finished.
    inner: Option<W>,
}

impl<W: Write> RedactingWriter<W> {
    pub(crate) fn new(stream: Stream, inner: W) -> Self {
        Self { stream, out: Vec::new(), inner: Some(inner) }
    }

    /// The stream, for example to [flush](Stream::flush) what it holds; and the writer.
    pub fn get_mut(&mut self) -> Option<(&mut Stream, &mut W)> {
        Some((&mut self.stream, self.inner.as_mut()?))
    }

    /// Writes the rest and returns the other writer, flushed.
    ///
    /// # Errors
    /// Those of the other writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_rest()?;
        self.inner.take().ok_or_else(|| io::Error::other("the writer is finished"))
    }

    fn write_rest(&mut self) -> io::Result<()> {
        let out = &mut self.out;
        self.stream.finish(|text| out.extend_from_slice(text));
        self.flush()
    }

    /// Writes the masked text. After an error, it keeps what the other writer has not taken.
    fn write_out(&mut self) -> io::Result<()> {
        let Some(inner) = &mut self.inner else { return Ok(()) };
        let mut written = 0;
        let result = loop {
            let rest = self.out.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match inner.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.out.drain(..written.min(self.out.len()));
        result
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    /// Takes all of `bytes`. An error of the other writer is returned by the next call, so that no bytes are taken
    /// twice.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_out()?;
        let out = &mut self.out;
        self.stream.push(bytes, |text| out.extend_from_slice(text));
        // After an error the masked text stays, and the next call meets the error again.
        let _ = self.write_out();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.inner.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl<W: Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        if self.inner.is_some() && !std::thread::panicking() {
            // An error cannot be reported any more.
            let _ = self.write_rest();
        }
    }
}

impl<W: Write> fmt::Debug for RedactingWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactingWriter").field("stream", &self.stream).finish_non_exhaustive()
    }
}
