//! Signals that reach this process, with who sent them.

use std::fs;
use std::io;
use std::sync::Arc;
use std::thread;

use rustix::process::Signal;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// The signals that a supervisor handles.
const HANDLED: [Signal; 10] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
    Signal::CHILD,
];

/// The signals that ask a program to end.
pub(crate) const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// Keeps this process alive when it is asked to end.
pub(crate) fn survive() -> io::Result<()> {
    for signal in ENDING {
        // A handler that only sets a flag replaces the default, which is to end.
        signal_hook::flag::register(signal.as_raw(), Arc::default())?;
    }
    Ok(())
}

/// A signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caught {
    pub(crate) signal: Signal,
    /// The kernel sent it because of the terminal, and no process did.
    pub(crate) from_kernel: bool,
}

/// The signals of this process from now on.
pub(crate) struct Signals(UnboundedReceiver<Caught>);

impl Signals {
    /// Handles signals from now on. A signal that was ignored when this process began, as by `nohup`, stays
    /// ignored here and by the command.
    pub(crate) fn new() -> io::Result<Self> {
        let ignored = Ignored::read();
        // A parent may have ignored the end of its children, but this process has to know of its own.
        let handled =
            HANDLED.into_iter().filter(|signal| *signal == Signal::CHILD || !ignored.has(*signal));
        let mut signals = SignalsInfo::<WithOrigin>::new(handled.map(Signal::as_raw))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for origin in signals.forever() {
                let Some(signal) = Signal::from_named_raw(origin.signal) else { continue };
                let from_kernel = matches!(origin.cause, Cause::Kernel);
                if sender.send(Caught { signal, from_kernel }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self(receiver))
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Caught {
        match self.0.recv().await {
            Some(caught) => caught,
            // The thread never ends.
            None => std::future::pending().await,
        }
    }
}

/// The signals that this process ignores, as a bit set (proc(5)).
pub(crate) struct Ignored(u64);

impl Ignored {
    pub(crate) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let bits = line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
        Self(bits.unwrap_or_default())
    }

    pub(crate) fn has(&self, signal: Signal) -> bool {
        self.0 >> (signal.as_raw() - 1) & 1 == 1
    }
}

/// A signal by its name, with or without `SIG`.
pub(crate) fn parse(text: &str) -> Result<Signal, &'static str> {
    let name = text.to_ascii_uppercase();
    Ok(match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        _ => return Err("write HUP, INT, QUIT, TERM, USR1, USR2 or WINCH"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_with_or_without_its_prefix() {
        for name in ["HUP", "SIGHUP", "sighup"] {
            assert_eq!(parse(name).unwrap(), Signal::HUP);
        }
        assert!(parse("KILL").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn the_standard_library_ignores_broken_pipes_and_this_is_seen() {
        assert!(Ignored::read().has(Signal::PIPE));
    }
}
