//! Escapes inside strings: backslashes of JSON, programming languages and shells, doubled quotes, and the
//! references of HTML and XML.

use std::str;

use crate::forms::{Collector, Form, push_hex};
use strongroom_core::WipedBuffer;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// How an encoder of JSON, or of a string literal, writes what it does not keep.
#[derive(Clone, Copy)]
struct Dialect {
    /// ASCII characters that get a backslash in front.
    backslash: &'static [u8],
    /// ASCII characters that are written by number, such as `\u003c`.
    by_number: &'static [u8],
    non_ascii: NonAscii,
    /// `\x1b` in place of `\u001b`.
    short_numbers: bool,
    digits: &'static [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NonAscii {
    Kept,
    /// UTF-16 units: `\u00e9`.
    Units,
    /// Bytes of UTF-8: `\xc3\xa9`.
    Bytes,
}

const fn json(backslash: &'static [u8], by_number: &'static [u8], non_ascii: NonAscii) -> Dialect {
    Dialect { backslash, by_number, non_ascii, short_numbers: false, digits: LOWER }
}

const DIALECTS: [Dialect; 13] = [
    // serde_json, `JSON.stringify`, Python without `ensure_ascii`; `Debug` of Rust for text.
    json(b"\"\\", b"", NonAscii::Kept),
    // Python, Ruby.
    json(b"\"\\", b"", NonAscii::Units),
    Dialect { digits: UPPER, ..json(b"\"\\", b"", NonAscii::Units) },
    // PHP.
    json(b"\"\\/", b"", NonAscii::Units),
    json(b"\"\\/", b"", NonAscii::Kept),
    // Go.
    json(b"\"\\", b"<>&", NonAscii::Kept),
    // Gson of Java.
    json(b"\"\\", b"<>&='", NonAscii::Kept),
    // System.Text.Json of .NET.
    Dialect { digits: UPPER, ..json(b"\\", b"\"'+<>&`", NonAscii::Units) },
    // Literals in double quotes: Go's `%q`, C.
    Dialect { short_numbers: true, ..json(b"\"\\", b"", NonAscii::Kept) },
    // Literals in single quotes: Python's `repr`, `$'…'` of bash.
    Dialect { short_numbers: true, ..json(b"'\\", b"", NonAscii::Kept) },
    // Python's `repr` of text in which it prefers no quote.
    Dialect { short_numbers: true, ..json(b"\\", b"", NonAscii::Kept) },
    // Bytes: Python's `repr`, `escape_ascii` of Rust.
    Dialect { short_numbers: true, ..json(b"'\\", b"", NonAscii::Bytes) },
    Dialect { short_numbers: true, ..json(b"'\"\\", b"", NonAscii::Bytes) },
];

pub(crate) fn add(collector: &mut Collector, value: &[u8]) {
    for dialect in &DIALECTS {
        if dialect.non_ascii == NonAscii::Bytes || str::from_utf8(value).is_ok() {
            collector.add(Form::Escaped, |out| dialect.write(value, out));
        }
    }
    // JSON inside a string of JSON, as in a log line that quotes a document.
    for dialect in DIALECTS.iter().take(2) {
        let mut inner = WipedBuffer::default();
        dialect.write(value, &mut inner);
        collector.add(Form::Escaped, |out| dialect.write(&inner, out));
    }
    add_shell(collector, value);
    add_quotes_and_markup(collector, value);
}

impl Dialect {
    fn write(&self, value: &[u8], out: &mut WipedBuffer) {
        for chunk in value.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.write_character(character, out);
            }
            for &byte in chunk.invalid() {
                self.write_number(byte, out);
            }
        }
    }

    fn write_character(&self, character: char, out: &mut WipedBuffer) {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        let [byte] = *bytes else {
            match self.non_ascii {
                NonAscii::Kept => out.extend(bytes),
                NonAscii::Units => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        self.write_unit(*unit, out);
                    }
                }
                NonAscii::Bytes => bytes.iter().for_each(|&byte| self.write_number(byte, out)),
            }
            return;
        };
        let letter = match byte {
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0x08 if !self.short_numbers => Some(b'b'),
            0x0c if !self.short_numbers => Some(b'f'),
            _ if self.backslash.contains(&byte) => Some(byte),
            _ => None,
        };
        if let Some(letter) = letter {
            out.extend(&[b'\\', letter]);
        } else if byte < b' '
            || byte == 0x7f && self.short_numbers
            || self.by_number.contains(&byte)
        {
            self.write_number(byte, out);
        } else {
            out.push(byte);
        }
    }

    fn write_number(&self, byte: u8, out: &mut WipedBuffer) {
        if self.short_numbers {
            out.extend(b"\\x");
            push_hex(byte, self.digits, out);
        } else {
            self.write_unit(u16::from(byte), out);
        }
    }

    fn write_unit(&self, unit: u16, out: &mut WipedBuffer) {
        out.extend(b"\\u");
        for byte in unit.to_be_bytes() {
            push_hex(byte, self.digits, out);
        }
    }
}

/// What a shell is given, or prints under `set -x`.
fn add_shell(collector: &mut Collector, value: &[u8]) {
    // Inside single quotes: a quote ends the string, and another one follows.
    collector.add(Form::Escaped, |out| replace(value, out, |byte| quote(byte, b"'\\''")));
    // `shlex.quote` of Python.
    collector.add(Form::Escaped, |out| replace(value, out, |byte| quote(byte, b"'\"'\"'")));
    // Inside double quotes (POSIX, section 2.2.3).
    collector.add(Form::Escaped, |out| write_backslashes(value, b"$`\"\\", out));
    // `printf %q` of bash.
    collector.add(Form::Escaped, |out| {
        write_backslashes(value, b" !\"#$&'()*,;<>?[\\]^`{|}~", out);
    });
}

fn quote(byte: u8, escaped: &'static [u8]) -> Option<&'static [u8]> {
    (byte == b'\'').then_some(escaped)
}

fn write_backslashes(value: &[u8], escaped: &[u8], out: &mut WipedBuffer) {
    for &byte in value {
        if escaped.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

fn replace(value: &[u8], out: &mut WipedBuffer, replacement: impl Fn(u8) -> Option<&'static [u8]>) {
    for &byte in value {
        match replacement(byte) {
            Some(text) => out.extend(text),
            None => out.push(byte),
        }
    }
}

fn add_quotes_and_markup(collector: &mut Collector, value: &[u8]) {
    for doubled in [b'\'', b'"'] {
        collector.add(Form::DoubledQuotes, |out| {
            for &byte in value {
                if byte == doubled {
                    out.push(byte);
                }
                out.push(byte);
            }
        });
    }
    // In text; in attributes, by several libraries; in Go; in XML.
    let quotes: [[Option<&'static [u8]>; 2]; 5] = [
        [None, None],
        [Some(b"&quot;"), None],
        [Some(b"&quot;"), Some(b"&#39;")],
        [Some(b"&quot;"), Some(b"&#x27;")],
        [Some(b"&#34;"), Some(b"&#39;")],
    ];
    let xml = [[Some(b"&quot;".as_slice()), Some(b"&apos;".as_slice())]];
    for [double, single] in quotes.into_iter().chain(xml) {
        collector.add(Form::Markup, |out| {
            replace(value, out, |byte| match byte {
                b'&' => Some(b"&amp;"),
                b'<' => Some(b"&lt;"),
                b'>' => Some(b"&gt;"),
                b'"' => double,
                b'\'' => single,
                _ => None,
            });
        });
    }
}
