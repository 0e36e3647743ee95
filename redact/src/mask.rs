//! What replaces a value.

use strongroom_core::SecretPath;

use crate::matcher::Sink;
use crate::pattern::Pattern;

/// What replaces a value. Occurrences that overlap are replaced once, under the path of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mask {
    /// `[REDACTED:openai/api-key]`: the path of the secret.
    #[default]
    Path,
    /// A fixed text.
    Text(String),
    /// This character for each character of the value. It keeps line breaks, and with them the layout of a
    /// full-screen program, and tells the length of the value.
    Fill(char),
}

/// Writes text with the masks in it.
pub(crate) struct MaskSink<'a, W> {
    mask: &'a Mask,
    paths: &'a [SecretPath],
    write: W,
    has_masked: &'a mut bool,
}

impl<'a, W: FnMut(&[u8])> MaskSink<'a, W> {
    pub(crate) fn new(
        mask: &'a Mask,
        paths: &'a [SecretPath],
        write: W,
        has_masked: &'a mut bool,
    ) -> Self {
        Self { mask, paths, write, has_masked }
    }

    fn fill(&mut self, character: char, text: &[u8]) {
        let mut encoded = [0; 4];
        let encoded = character.encode_utf8(&mut encoded).as_bytes();
        for byte in text {
            match byte {
                b'\n' | b'\r' => (self.write)(&[*byte]),
                // The bytes of UTF-8 after the first one of a character.
                0x80..=0xbf => {}
                _ => (self.write)(encoded),
            }
        }
    }
}

impl<W: FnMut(&[u8])> Sink for MaskSink<'_, W> {
    fn give(&mut self, text: &[u8]) {
        (self.write)(text);
    }

    fn cover(&mut self, text: &[u8], pattern: &Pattern, _value: &[u8], begins_run: bool) {
        *self.has_masked = true;
        match self.mask {
            Mask::Fill(character) => self.fill(*character, text),
            Mask::Text(mask) if begins_run => (self.write)(mask.as_bytes()),
            Mask::Path if begins_run => {
                (self.write)(b"[REDACTED");
                if let Some(path) = self.paths.get(pattern.source as usize) {
                    (self.write)(b":");
                    (self.write)(path.as_str().as_bytes());
                }
                (self.write)(b"]");
            }
            Mask::Text(_) | Mask::Path => {}
        }
    }
}
