//! One YAML mapping with an entry for each secret.

use std::io::Write as _;

use strongroom::Result;

use super::Entry;
use strongroom_core::WipedBuffer;

/// Writes the mapping. Names and values are double-quoted scalars of printable ASCII, which no reader takes for
/// anything but text, in any version of YAML.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        push_scalar(&mut output, &entry.name);
        output.extend(b": ");
        push_scalar(&mut output, entry.text()?);
        output.extend(b"\n");
    }
    if entries.is_empty() {
        output.extend(b"{}\n");
    }
    Ok(output)
}

/// Writes a double-quoted scalar on one line (YAML 1.2.2, section 5.7 for the escapes).
pub(super) fn push_scalar(output: &mut WipedBuffer, text: &str) {
    output.extend(b"\"");
    let mut bytes = [0; 4];
    for c in text.chars() {
        // Writing into this buffer cannot fail.
        let _ = match c {
            '"' => output.write_all(b"\\\""),
            '\\' => output.write_all(b"\\\\"),
            '\n' => output.write_all(b"\\n"),
            '\r' => output.write_all(b"\\r"),
            '\t' => output.write_all(b"\\t"),
            ' '..='~' => output.write_all(c.encode_utf8(&mut bytes).as_bytes()),
            '\0'..='\u{ff}' => write!(output, "\\x{:02x}", u32::from(c)),
            '\u{100}'..='\u{ffff}' => write!(output, "\\u{:04x}", u32::from(c)),
            _ => write!(output, "\\U{:08x}", u32::from(c)),
        };
    }
    output.extend(b"\"");
}
