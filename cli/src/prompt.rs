//! Questions to the person at the terminal. They go to `/dev/tty`, so that standard input and output stay
//! free for data.

mod line;
#[cfg(feature = "native")]
mod page;
mod signals;

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use self::line::{Line, Step};
#[cfg(feature = "native")]
pub(crate) use self::page::{show_page, window};
use self::signals::{Event, Signals};
use crate::failure::Failure;

/// Asks for a value, without showing what is typed. A signal that ends the process, such as SIGTERM, finds the
/// terminal as it was before.
pub(crate) fn read_secret(
    question: impl Display,
    allow_empty: bool,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut terminal = open()?;
    let mut signals = Signals::catch().map_err(|error| fail(&error))?;
    let hidden = Hidden::new(&terminal).map_err(|error| fail(&error))?;
    let result = write(&mut terminal, format_args!("{question}: "))
        .and_then(|()| read_line(&mut terminal, allow_empty, &hidden, &mut signals));
    drop(hidden);
    let end = write(&mut terminal, "\n");
    signals.deliver();
    end.and(result)
}

/// Asks a question that `y` or `yes` agrees to.
pub(crate) fn confirm(question: impl Display) -> Result<bool, Failure> {
    let mut terminal = open()?;
    write(&mut terminal, format_args!("{question} [y/N] "))?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // A whole line: what is left of it would be a command for the shell. The terminal limits its length.
    loop {
        match terminal.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => answer.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(&error)),
        }
    }
    let answer = answer.trim_ascii().to_ascii_lowercase();
    Ok(matches!(answer.as_slice(), b"y" | b"yes"))
}

fn read_line(
    terminal: &mut File,
    allow_empty: bool,
    hidden: &Hidden,
    signals: &mut Signals,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut line = Line::new(allow_empty);
    let end = read_keys(terminal, hidden, signals, |byte| match line.feed(byte) {
        Step::More => None,
        Step::Done => Some(Ok(())),
        Step::Interrupt => Some(Err(Failure::interrupted())),
        Step::Refuse(reason) => {
            Some(Err(Failure::usage(format!("{reason}; pipe the value, or use `--from-file`"))))
        }
    });
    end.map(|()| line.into_bytes())
}

/// Reads keys until one is the last.
fn read_keys(
    terminal: &mut File,
    hidden: &Hidden,
    signals: &mut Signals,
    mut feed: impl FnMut(u8) -> Option<Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut byte = Zeroizing::new([0]);
    loop {
        match signals.wait(terminal).map_err(|error| fail(&error))? {
            Event::Typed => {}
            Event::Ended => return Err(Failure::interrupted()),
            Event::Resumed => {
                hidden.hide().map_err(|error| fail(&error))?;
                continue;
            }
        }
        match terminal.read(&mut *byte) {
            Ok(0) => return Err(Failure::interrupted()),
            Ok(_) => {
                if let Some(end) = feed(byte.first().copied().unwrap_or_default()) {
                    return end;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(&error)),
        }
    }
}

fn open() -> Result<File, Failure> {
    OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|error| fail(&error))
}

fn write(terminal: &mut File, text: impl Display) -> Result<(), Failure> {
    write!(terminal, "{text}").map_err(|error| fail(&error))
}

fn fail(error: &io::Error) -> Failure {
    Failure::io("ask at the terminal", error)
}

/// A terminal that shows nothing of what is typed and passes on each byte, also Ctrl-C, until this is
/// dropped. Bytes that have been typed but not read are discarded then: the rest of a text of several lines
/// must not reach the shell.
struct Hidden {
    /// A handle of its own, so that the caller can go on writing.
    terminal: File,
    before: Termios,
    during: Termios,
}

impl Hidden {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut during = before.clone();
        let shown = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        during.local_modes.remove(shown);
        during.special_codes[SpecialCodeIndex::VMIN] = 1;
        during.special_codes[SpecialCodeIndex::VTIME] = 0;
        let hidden = Self { terminal, before, during };
        hidden.hide()?;
        Ok(hidden)
    }

    fn hide(&self) -> io::Result<()> {
        Ok(rustix::termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.during)?)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that has gone.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
