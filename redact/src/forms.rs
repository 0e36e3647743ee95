//! The forms in which a value may be written.
//!
//! Each form is one literal text, as a common encoder writes it. A text in which an encoder's choices are mixed,
//! such as `%2f%2F`, is not among them.

mod base64;
mod escapes;
mod percent;

use std::fmt;

use crate::parts::{Extent, Part};
use crate::pattern::{Lead, Pattern, Tail};
use strongroom_core::WipedBuffer;

/// The least number of bytes of a literal. What is shorter would match everywhere.
pub(crate) const MIN_LEN: usize = 4;

/// A longer value is looked for as it is and in base64 without line ends: all forms together take some thirty times
/// the memory of the value.
pub(crate) const MAX_LEN_OF_ALL_FORMS: usize = 64 * 1024;

/// A longer literal is looked for in pieces of this length, which overlap and so give one run. It bounds what a
/// stream holds, and the time for a text that begins like a value at each of its bytes.
pub(crate) const MAX_LITERAL: usize = 4096;
pub(crate) const OVERLAP: usize = 16;

/// How an occurrence of a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Form {
    /// As it is.
    Plain,
    /// One line of a value of several lines.
    Line,
    /// Base64 (RFC 4648, both alphabets), alone or inside a longer encoded text.
    Base64,
    /// Hexadecimal digits, all in lower or all in upper case.
    Hex,
    /// Percent-encoded, as a part of a URL or a form.
    Percent,
    /// With backslash escapes: inside a string of JSON, of a programming language or of a shell.
    Escaped,
    /// With character references: inside HTML or XML.
    Markup,
    /// With doubled quotes: inside a quoted string of SQL, CSV, YAML or PowerShell.
    DoubledQuotes,
}

impl Form {
    /// The name, such as `base64`: stable, for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Line => "line",
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Percent => "percent-encoded",
            Self::Escaped => "escaped",
            Self::Markup => "markup",
            Self::DoubledQuotes => "doubled-quotes",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Collects the literals of all values, one after the other, in one buffer.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) arena: WipedBuffer,
    pub(crate) patterns: Vec<Pattern>,
    source: u32,
    /// The literals of the current part.
    literals: Vec<Literal>,
    /// Where the buffer holds the current part as it is: its first literal.
    value: (usize, usize),
}

/// A literal in one piece.
struct Literal {
    start: usize,
    end: usize,
    lead: Lead,
    tail: Tail,
}

impl Collector {
    /// Adds all forms of `part`, which belongs to the secret with the number `source`.
    pub(crate) fn add_part(&mut self, source: u32, part: &Part) {
        self.source = source;
        self.literals.clear();
        self.value = (self.arena.len(), part.bytes.len());
        let bytes = &part.bytes;
        match part.extent {
            Extent::Line => self.add(Form::Line, |out| out.extend(bytes)),
            Extent::Text => self.add(Form::Plain, |out| out.extend(bytes)),
            Extent::Value => {
                self.add(Form::Plain, |out| out.extend(bytes));
                base64::add(self, bytes);
                if bytes.len() > MAX_LEN_OF_ALL_FORMS {
                    return;
                }
                base64::add_lines(self, bytes);
                self.add(Form::Hex, |out| hex(bytes, b"0123456789abcdef", out));
                self.add(Form::Hex, |out| hex(bytes, b"0123456789ABCDEF", out));
                percent::add(self, bytes);
                escapes::add(self, bytes);
            }
        }
    }

    /// Adds the literal that `write` writes, unless the part already has it.
    fn add(&mut self, form: Form, write: impl FnOnce(&mut WipedBuffer)) {
        self.add_inside(form, Lead::NONE, Tail::NONE, write);
    }

    /// Adds a literal that may have one more character on each side.
    fn add_inside(
        &mut self,
        form: Form,
        lead: Lead,
        tail: Tail,
        write: impl FnOnce(&mut WipedBuffer),
    ) {
        let start = self.arena.len();
        write(&mut self.arena);
        let end = self.arena.len();
        let is_known = self.literals.iter().any(|earlier| {
            earlier.lead == lead
                && earlier.tail == tail
                && self.arena.get(earlier.start..earlier.end) == self.arena.get(start..end)
        });
        if end - start < MIN_LEN || is_known {
            self.arena.truncate(start);
            return;
        }
        let Self { source, value, .. } = *self;
        for (piece, len) in pieces(start, end) {
            let lead = if piece == start { lead } else { Lead::NONE };
            let tail = if piece + len == end { tail } else { Tail::NONE };
            self.patterns.push(Pattern { start: piece, len, value, lead, tail, source, form });
        }
        self.literals.push(Literal { start, end, lead, tail });
    }
}

/// The starts and lengths of the pieces of a literal. The last one is as long as the others.
fn pieces(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let len = (end - start).min(MAX_LITERAL);
    let last = end - len;
    let before = (start..last).step_by(MAX_LITERAL - OVERLAP);
    before.chain([last]).map(move |piece| (piece, len))
}

fn hex(bytes: &[u8], digits: &[u8; 16], out: &mut WipedBuffer) {
    for &byte in bytes {
        push_hex(byte, digits, out);
    }
}

/// Writes two digits.
fn push_hex(byte: u8, digits: &[u8; 16], out: &mut WipedBuffer) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(digits.get(usize::from(nibble)).copied().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
