//! Percent-encoding, as encoders of URLs and forms write it.

use crate::forms::{Collector, Form, push_hex};
use strongroom_core::WipedBuffer;

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// The punctuation that an encoder leaves as it is, and what it writes for a space.
struct Encoder {
    kept: &'static [u8],
    space: &'static [u8],
}

const ENCODERS: [Encoder; 6] = [
    // RFC 3986, section 2.3.
    Encoder { kept: b"-._~", space: b"%20" },
    // `quote` of Python, whose default keeps the slash.
    Encoder { kept: b"-._~/", space: b"%20" },
    // `encodeURIComponent` of ECMAScript.
    Encoder { kept: b"-._~!'()*", space: b"%20" },
    // `encodeURI` of ECMAScript.
    Encoder { kept: b"-._~!'()*;/?:@&=+$,#", space: b"%20" },
    // Forms: the URL standard of WHATWG, section 5.2.
    Encoder { kept: b"*-._", space: b"+" },
    // Forms, by `quote_plus` of Python and `QueryEscape` of Go.
    Encoder { kept: b"-._~", space: b"+" },
];

pub(crate) fn add(collector: &mut Collector, value: &[u8]) {
    for encoder in &ENCODERS {
        for digits in [UPPER, LOWER] {
            collector.add(Form::Percent, |out| encoder.write(value, digits, b"%", out));
        }
        // Twice: a URL inside the query of another one.
        collector.add(Form::Percent, |out| encoder.write(value, UPPER, b"%25", out));
    }
}

impl Encoder {
    fn write(&self, value: &[u8], digits: &[u8; 16], percent: &[u8], out: &mut WipedBuffer) {
        for &byte in value {
            if byte.is_ascii_alphanumeric() || self.kept.contains(&byte) {
                out.push(byte);
            } else if byte == b' ' && self.space == b"+" {
                // The second encoding writes a plus as `%2B`.
                out.extend(if percent == b"%" { b"+" } else { b"%2B" });
            } else {
                out.extend(percent);
                push_hex(byte, digits, out);
            }
        }
    }
}
