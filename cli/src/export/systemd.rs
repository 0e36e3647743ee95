//! Files for `EnvironmentFile=` of systemd (`systemd.exec(5)`).

use strongroom::Result;

use super::Entry;
use strongroom_core::WipedBuffer;

/// Writes a line for each entry, with the value in double quotes. There `\` escapes `"`, `\`, `` ` `` and `$`, and
/// any other character stands for itself, line breaks too. Nothing is substituted. systemd ignores a variable whose
/// value has a code point that is no character, and in some versions one with other control characters than tabs
/// and line feeds, so those are refused.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    for entry in entries {
        let name = entry.variable()?;
        let text = entry.text_without(
            |c| (c.is_ascii_control() && c != '\n' && c != '\t') || is_noncharacter(c),
            "the value has a control character or a code point that is none, which systemd does not take",
        )?;
        output.extend(name.as_bytes());
        output.extend(b"=\"");
        for c in text.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                output.extend(b"\\");
            }
            output.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        output.extend(b"\"\n");
    }
    Ok(output)
}

/// Code points that Unicode sets aside for programs (The Unicode Standard, section 23.7).
pub(super) fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}
