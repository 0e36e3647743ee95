//! Pages on the alternate screen of the terminal, for what must not stay on the screen.

use super::signals::Signals;
use super::{Hidden, fail, open, read_keys, write};
use crate::failure::Failure;

/// Opens the alternate screen of the terminal, which has no history, and clears it.
const OPEN_PAGE: &str = "\x1b[?1049h\x1b[2J\x1b[H";
/// Clears the alternate screen, and goes back to the other one.
const CLOSE_PAGE: &str = "\x1b[2J\x1b[H\x1b[?1049l";

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;

/// Shows a page on a screen of its own, which keeps nothing of it, until Enter is pressed. Typed text is not shown and not
/// used. The page is gone also after Ctrl-C, and after a signal that ends the process.
pub(crate) fn show_page(page: &str) -> Result<(), Failure> {
    let mut terminal = open()?;
    let mut signals = Signals::catch().map_err(|error| fail(&error))?;
    let hidden = Hidden::new(&terminal).map_err(|error| fail(&error))?;
    let enter = |byte| match byte {
        b'\n' | b'\r' => Some(Ok(())),
        CTRL_C | CTRL_D => Some(Err(Failure::interrupted())),
        _ => None,
    };
    let result = write(&mut terminal, OPEN_PAGE)
        .and_then(|()| write(&mut terminal, page))
        .and_then(|()| read_keys(&mut terminal, &hidden, &mut signals, enter));
    let end = write(&mut terminal, CLOSE_PAGE);
    drop(hidden);
    signals.deliver();
    end.and(result)
}

/// The rows and columns of the terminal.
pub(crate) fn window() -> Result<(u16, u16), Failure> {
    let size = rustix::termios::tcgetwinsize(open()?).map_err(|error| fail(&error.into()))?;
    Ok((size.ws_row, size.ws_col))
}
