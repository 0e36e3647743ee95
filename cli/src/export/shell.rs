//! Commands for POSIX shells, to be read with `eval "$(…)"` or `.`.

use strongroom::Result;

use super::{Entry, push_quoted};
use strongroom_core::WipedBuffer;

/// Writes an `export` for each entry. Between single quotes each character stands for itself (POSIX, Shell Command
/// Language, section 2.2.2).
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        output.extend(b"export ");
        output.extend(entry.variable()?.as_bytes());
        output.extend(b"=");
        push_quoted(&mut output, entry.variable_text()?, r"'\''");
        output.extend(b"\n");
    }
    Ok(output)
}
