//! Commands for PowerShell, to be read with `… | Out-String | Invoke-Expression`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom::Result;
use zeroize::Zeroizing;

use super::{Entry, push_quoted};
use strongroom_core::WipedBuffer;

/// Writes an assignment for each entry.
///
/// Printable ASCII stands between single quotes, where a doubled quote is the only escape. Anything else is decoded
/// from base64: PowerShell takes typographic quotes for quotes, decodes the output of a program in a code page, and
/// changes line breaks.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        output.extend(b"$env:");
        output.extend(entry.variable()?.as_bytes());
        output.extend(b" = ");
        let text = entry.variable_text()?;
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            push_quoted(&mut output, text, "''");
        } else {
            output.extend(b"[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('");
            output.extend(Zeroizing::new(STANDARD.encode(text)).as_bytes());
            output.extend(b"'))");
        }
        output.extend(b"\n");
    }
    Ok(output)
}
