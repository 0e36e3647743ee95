//! One JSON object with a member for each secret.

use std::io::Write as _;

use strongroom::{Error, ErrorKind, Result, ValueFormat};

use super::Entry;
use strongroom_core::WipedBuffer;

/// Writes the object. The value of a secret with fields is an object, too; any other is text.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    output.extend(b"{");
    for (index, entry) in entries.iter().enumerate() {
        output.extend(if index == 0 { b"\n  " } else { b",\n  " });
        push_text(&mut output, &entry.name)?;
        output.extend(b": ");
        // A change of nothing is the same object without white space, or says that it is none.
        let fields = match entry.value.format() {
            ValueFormat::Fields => entry.value.with_fields(&[]).ok(),
            _ => None,
        };
        match &fields {
            Some(fields) => output.extend(fields.expose_bytes()),
            None => push_text(&mut output, entry.text()?)?,
        }
    }
    output.extend(if entries.is_empty() { b"}\n" } else { b"\n}\n" });
    Ok(output)
}

fn push_text(output: &mut WipedBuffer, text: &str) -> Result<()> {
    // It writes into the buffer piece by piece, and keeps nothing.
    serde_json::to_writer(&mut *output, text)
        .and_then(|()| output.flush().map_err(serde_json::Error::io))
        .map_err(|_| Error::new(ErrorKind::Internal, "report this"))
}
