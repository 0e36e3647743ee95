//! `.env` files.

use strongroom::Result;
use strongroom_backend_env::dotenv;

use super::Entry;
use strongroom_core::WipedBuffer;

/// Writes a line for each entry, which [`dotenv::parse`] reads back exactly.
pub(super) fn write(entries: &[Entry]) -> Result<WipedBuffer> {
    let mut variables = Vec::with_capacity(entries.len());
    for entry in entries {
        // A variable cannot hold what others than this crate's own reader would have to put there.
        entry.variable_text()?;
        variables.push((entry.free_name()?, &entry.value));
    }
    let text = dotenv::write(variables)?;
    let mut output = WipedBuffer::default();
    output.extend(text.as_bytes());
    Ok(output)
}
