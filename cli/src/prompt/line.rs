//! A line that is typed without being shown: what each byte does.
//!
//! | byte | step |
//! |---|---|
//! | Enter | the line is done; an empty one is refused, unless the caller allows it |
//! | Backspace, Ctrl-H | removes the last character |
//! | Ctrl-U | removes all |
//! | Ctrl-C; Ctrl-D on an empty line | interrupts |
//! | another control character, such as that of an arrow key | refused: it would become part of the value |
//! | any other byte | appended |

use zeroize::{Zeroize as _, Zeroizing};

/// The longest line, in bytes. The buffer never grows, so that it leaves no copy behind.
const MAX: usize = 16 * 1024;

/// What follows from a byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
    Interrupt,
    Refuse(&'static str),
}

/// The bytes typed so far.
pub(super) struct Line {
    typed: Zeroizing<Vec<u8>>,
    may_be_empty: bool,
}

impl Line {
    pub(super) fn new(may_be_empty: bool) -> Self {
        Self { typed: Zeroizing::new(Vec::with_capacity(MAX)), may_be_empty }
    }

    pub(super) fn feed(&mut self, byte: u8) -> Step {
        match byte {
            b'\n' | b'\r' if self.typed.is_empty() && !self.may_be_empty => {
                return Step::Refuse("no value was entered");
            }
            b'\n' | b'\r' => return Step::Done,
            0x03 => return Step::Interrupt,
            0x04 if self.typed.is_empty() => return Step::Interrupt,
            0x08 | 0x7f => self.erase(),
            0x15 => {
                self.typed.zeroize();
            }
            0x00..=0x1f => return Step::Refuse("the line has a control character"),
            _ if self.typed.len() == MAX => return Step::Refuse("the line is longer than 16 KiB"),
            byte => self.typed.push(byte),
        }
        Step::More
    }

    /// Removes the last character, which may have several bytes in UTF-8.
    fn erase(&mut self) {
        while let Some(last) = self.typed.last_mut() {
            let is_continuation = *last & 0b1100_0000 == 0b1000_0000;
            *last = 0;
            self.typed.pop();
            if !is_continuation {
                break;
            }
        }
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Result<Vec<u8>, Step> {
        let mut line = Line::new(false);
        for byte in bytes {
            match line.feed(*byte) {
                Step::More => {}
                Step::Done => return Ok(line.into_bytes().to_vec()),
                step => return Err(step),
            }
        }
        Err(Step::More)
    }

    #[test]
    fn a_line_ends_with_enter() {
        assert_eq!(typed(b"hunter2\rrest").unwrap(), b"hunter2");
        assert_eq!(typed("pässwörd\n".as_bytes()).unwrap(), "pässwörd".as_bytes());
        assert_eq!(typed(b"unfinished"), Err(Step::More));
    }

    #[test]
    fn backspace_removes_a_whole_character() {
        assert_eq!(typed("aö\x7fb\n".as_bytes()).unwrap(), b"ab");
        assert_eq!(typed(b"\x7f\x7fa\n").unwrap(), b"a");
        assert_eq!(typed(b"wrong\x15right\n").unwrap(), b"right");
    }

    #[test]
    fn ctrl_c_and_an_end_of_the_input_interrupt() {
        assert_eq!(typed(b"abc\x03"), Err(Step::Interrupt));
        assert_eq!(typed(b"\x04"), Err(Step::Interrupt));
    }

    #[test]
    fn control_characters_do_not_become_part_of_a_value() {
        for keys in [&b"abc\x1b[D\n"[..], b"\x1a", b"a\x04"] {
            assert!(matches!(typed(keys), Err(Step::Refuse(_))), "{keys:?}");
        }
    }

    #[test]
    fn a_line_has_a_value_and_a_limit() {
        assert!(matches!(typed(b"\n"), Err(Step::Refuse(_))));
        assert_eq!(Line::new(true).feed(b'\n'), Step::Done);
        let mut long = vec![b'a'; MAX];
        long.push(b'\n');
        assert_eq!(typed(&long).unwrap().len(), MAX);
        long.insert(0, b'a');
        assert!(matches!(typed(&long), Err(Step::Refuse(_))));
    }
}
