//! Files for `docker run --env-file`. They have neither quotes nor escapes: what stands behind the `=` is the value,
//! up to the end of the line.

use strongroom::Result;

use super::Entry;
use strongroom_core::WipedBuffer;

/// Docker reads a line into a buffer of 64 KiB, and refuses a longer one.
const MAX_LINE: usize = 64 * 1024 - 1;

/// Writes a line for each entry.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        let name = entry.variable()?;
        let text = entry.text_without(
            |c| c == '\n' || c == '\r',
            "the value has a line break, which an `--env-file` of Docker cannot hold",
        )?;
        if name.len() + 1 + text.len() >= MAX_LINE {
            return Err(entry.bad_value("the value is longer than a line that Docker reads"));
        }
        for part in [name, "=", text, "\n"] {
            output.extend(part.as_bytes());
        }
    }
    Ok(output)
}
