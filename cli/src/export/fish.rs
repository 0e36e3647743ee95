//! Commands for fish, to be read with `… | source`.

use std::io::Write as _;

use strongroom::Result;

use super::Entry;
use strongroom_core::WipedBuffer;

/// Writes a `set -gx` for each entry. Text stands between single quotes, where only `\'` and `\\` are escapes. What
/// is not printable stands outside of them as an escape of its own, so that an entry is one line and `eval (…)`,
/// which splits at lines, reads it as well.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        output.extend(b"set -gx ");
        output.extend(entry.variable()?.as_bytes());
        output.extend(b" '");
        for c in entry.variable_text()?.chars() {
            push_character(&mut output, c);
        }
        output.extend(b"';\n");
    }
    Ok(output)
}

/// Writes a character of text between single quotes.
fn push_character(output: &mut WipedBuffer, c: char) {
    let mut bytes = [0; 4];
    let bytes = c.encode_utf8(&mut bytes).as_bytes();
    match c {
        '\'' => output.extend(b"\\'"),
        '\\' => output.extend(b"\\\\"),
        c if is_special(c) => {
            output.extend(b"'");
            for byte in bytes {
                // Writing into this buffer cannot fail.
                let _ = write!(output, "\\X{byte:02x}");
            }
            output.extend(b"'");
        }
        _ => output.extend(bytes),
    }
}

/// Control characters, and the code points that fish itself uses for bytes and expansions.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{f0000}'..
        )
}
