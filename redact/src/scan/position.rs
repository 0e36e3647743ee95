//! Lines and columns.

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Position {
    /// The number of bytes before it.
    pub offset: u64,
    /// Its line; the first one is 1.
    pub line: u64,
    /// Its column in characters (Unicode code points); the first one is 1.
    pub column: u64,
}

impl Position {
    pub(super) const START: Self = Self { offset: 0, line: 1, column: 1 };

    /// The place after `text`.
    pub(super) fn advance(&mut self, text: &[u8]) {
        self.offset += text.len() as u64;
        let line = match text.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => {
                self.line += count(text, |byte| byte == b'\n');
                self.column = 1;
                text.get(end + 1..).unwrap_or_default()
            }
            None => text,
        };
        // Each character has one byte that does not continue another.
        self.column += count(line, |byte| byte & 0xc0 != 0x80);
    }
}

fn count(text: &[u8], is_counted: impl Fn(u8) -> bool) -> u64 {
    text.iter().filter(|&&byte| is_counted(byte)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_however_the_text_is_split() {
        let text = "a\né😀b\r\n\n x".as_bytes();
        for split in 0..=text.len() {
            let mut position = Position::START;
            position.advance(&text[..split]);
            position.advance(&text[split..]);
            assert_eq!(position, Position { offset: text.len() as u64, line: 4, column: 3 });
        }
    }
}
