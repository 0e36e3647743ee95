//! Base64, alone or inside a longer encoded text.
//!
//! A character stands for six bits, so a value begins at one of three places within a group of four characters.
//! The characters that consist of the value's bits alone are the literal. The first and the last bits may share a
//! character with a neighbour: these characters are the [`Lead`] and the [`Tail`].

use crate::forms::{Collector, Form};
use crate::pattern::{Lead, Tail};
use strongroom_core::WipedBuffer;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The lengths of lines that encoders write: PEM (RFC 7468) and MIME (RFC 2045, also `base64` of GNU).
const LINE_LENGTHS: [usize; 2] = [64, 76];

pub(crate) fn add(collector: &mut Collector, value: &[u8]) {
    for bytes_before in 0..3 {
        let position = Position::new(value, bytes_before);
        for alphabet in [STANDARD, URL] {
            collector.add_inside(Form::Base64, position.lead, position.tail, |out| {
                position.write(value, alphabet, None, out);
            });
        }
    }
}

/// Adds lines that begin with the value.
pub(crate) fn add_lines(collector: &mut Collector, value: &[u8]) {
    let position = Position::new(value, 0);
    for line_length in LINE_LENGTHS {
        if position.characters <= line_length {
            continue;
        }
        for line_end in [b"\n".as_slice(), b"\r\n"] {
            collector.add_inside(Form::Base64, Lead::NONE, position.tail, |out| {
                position.write(value, STANDARD, Some((line_length, line_end)), out);
            });
        }
    }
}

/// Where a value stands in an encoded text.
struct Position {
    /// How many bits of the value are in the lead.
    skipped_bits: usize,
    /// The number of characters that consist of the value's bits alone.
    characters: usize,
    lead: Lead,
    tail: Tail,
}

impl Position {
    fn new(value: &[u8], bytes_before: u8) -> Self {
        let first = value.first().copied().unwrap_or_default();
        let (skipped_bits, lead) = match bytes_before {
            0 => (0, Lead::NONE),
            1 => (4, Lead::low_bits(4, first >> 4)),
            _ => (2, Lead::low_bits(2, first >> 6)),
        };
        let bits = (value.len() * 8).saturating_sub(skipped_bits);
        let last = value.last().copied().unwrap_or_default();
        let tail = match bits % 6 {
            2 => Tail::high_bits(2, last & 0b11, 2),
            4 => Tail::high_bits(4, last & 0b1111, 1),
            _ => Tail::NONE,
        };
        Self { skipped_bits, characters: bits / 6, lead, tail }
    }

    fn write(
        &self,
        value: &[u8],
        alphabet: &[u8; 64],
        wrap: Option<(usize, &[u8])>,
        out: &mut WipedBuffer,
    ) {
        for index in 0..self.characters {
            if let Some((line_length, line_end)) = wrap
                && index > 0
                && index % line_length == 0
            {
                out.extend(line_end);
            }
            let sextet = sextet(value, self.skipped_bits + index * 6);
            out.push(alphabet.get(usize::from(sextet)).copied().unwrap_or_default());
        }
    }
}

/// Six bits of the value from this bit on.
fn sextet(value: &[u8], bit: usize) -> u8 {
    let byte = |index: usize| u16::from(value.get(index).copied().unwrap_or_default());
    let pair = (byte(bit / 8) << 8) | byte(bit / 8 + 1);
    let shifted = pair >> (10 - bit % 8);
    u8::try_from(shifted & 0b11_1111).unwrap_or_default()
}
