//! Filters for streams of bytes and of text.

use std::fmt;
use std::sync::Arc;

use crate::Redactor;
use crate::mask::MaskSink;
use crate::matcher::Matcher;
use crate::redactor::Current;

/// A filter for one stream of bytes.
///
/// The output is the same however the stream is split into pieces. The filter holds the longest end of the stream that
/// may still become a value, at most 4 KiB, and one byte more if that byte may belong to a form in base64. Finish the stream to get the
/// rest: dropping it wipes what it holds.
///
/// # Examples
/// ```
/// # use strongroom_core::{SecretPath, SecretValue};
/// # use strongroom_redact::Redactor;
/// let redactor = Redactor::new();
/// redactor.add([(SecretPath::parse("db/password")?, SecretValue::from("correct horse"))]);
///
/// let mut stream = redactor.stream();
/// let mut out = Vec::new();
/// for piece in ["the password is cor", "rect ho", "rse, and cor"] {
///     stream.push(piece.as_bytes(), |text| out.extend_from_slice(text));
/// }
/// assert_eq!(out, b"the password is [REDACTED:db/password], and ");
/// stream.finish(|text| out.extend_from_slice(text));
/// assert!(out.ends_with(b", and cor"));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
pub struct Stream {
    redactor: Redactor,
    current: Arc<Current>,
    matcher: Matcher,
}

impl Stream {
    pub(crate) fn new(redactor: Redactor) -> Self {
        let current = redactor.current();
        Self { redactor, current, matcher: Matcher::default() }
    }

    /// Takes the next piece and calls `write` with what may be given out, in pieces of any length.
    pub fn push(&mut self, piece: &[u8], write: impl FnMut(&[u8])) {
        self.follow_changes();
        let Self { redactor, current, matcher } = self;
        let has_masked = &mut false;
        let mut sink = MaskSink::new(redactor.mask(), &current.paths, write, has_masked);
        matcher.push(&current.tables, piece, &mut sink);
    }

    /// Gives out what it holds, and stays in the stream.
    ///
    /// A terminal needs this when a program waits for input: the last characters may be the beginning of a value. The
    /// rest of such a value is masked when it comes, but its beginning is then visible.
    pub fn flush(&mut self, write: impl FnMut(&[u8])) {
        self.follow_changes();
        let Self { redactor, current, matcher } = self;
        let has_masked = &mut false;
        let mut sink = MaskSink::new(redactor.mask(), &current.paths, write, has_masked);
        matcher.flush(&current.tables, &mut sink);
    }

    /// Gives out the rest of the stream. The next piece begins a new one.
    pub fn finish(&mut self, write: impl FnMut(&[u8])) {
        self.follow_changes();
        let Self { redactor, current, matcher } = self;
        let has_masked = &mut false;
        let mut sink = MaskSink::new(redactor.mask(), &current.paths, write, has_masked);
        matcher.finish(&current.tables, &mut sink);
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn held_len(&self) -> usize {
        self.matcher.held_len()
    }

    fn follow_changes(&mut self) {
        if self.redactor.generation() != self.current.generation {
            self.current = self.redactor.current();
            self.matcher.patterns_changed();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("redactor", &self.redactor).finish_non_exhaustive()
    }
}

/// A filter for one stream of text, such as the answer of a model that arrives in pieces.
///
/// # Examples
/// ```
/// # use strongroom_core::{SecretPath, SecretValue};
/// # use strongroom_redact::Redactor;
/// let redactor = Redactor::new();
/// redactor.add([(SecretPath::parse("db/password")?, SecretValue::from("correct horse"))]);
///
/// let mut answer = redactor.text_stream();
/// let mut shown = String::new();
/// for token in ["It", " is", " correct", " ho", "rse", "."] {
///     shown += &answer.push(token);
/// }
/// shown += &answer.finish();
/// assert_eq!(shown, "It is [REDACTED:db/password].");
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TextStream {
    stream: Stream,
    /// The first bytes of a character whose other bytes the stream holds.
    incomplete: Vec<u8>,
}

impl TextStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, incomplete: Vec::new() }
    }

    /// Takes the next piece and returns what may be shown.
    #[must_use]
    pub fn push(&mut self, piece: &str) -> String {
        let mut out = std::mem::take(&mut self.incomplete);
        self.stream.push(piece.as_bytes(), |text| out.extend_from_slice(text));
        if let Err(error) = str::from_utf8(&out)
            && error.error_len().is_none()
        {
            self.incomplete = out.split_off(error.valid_up_to());
        }
        text(out)
    }

    /// Returns the rest of the text. The next piece begins a new one.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let mut out = std::mem::take(&mut self.incomplete);
        self.stream.finish(|text| out.extend_from_slice(text));
        text(out)
    }
}

/// The bytes as text: a value of bytes may have ended inside of a character.
fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}
