//! Signals that arrive while the terminal hides what is typed.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use signal_hook::{SigId, flag, low_level};

use crate::supervisor::{ENDING, Ignored};

/// What happened first.
pub(super) enum Event {
    /// There is something to read.
    Typed,
    /// The process goes on after it was stopped; a shell may have changed the terminal meanwhile.
    Resumed,
    /// A signal is to end the process.
    Ended,
}

/// The signals of this process until [`deliver`](Self::deliver).
pub(super) struct Signals {
    /// Readable once a signal has come.
    wake: UnixStream,
    /// The number of the last signal that is to end the process, or zero.
    ending: Arc<AtomicUsize>,
    has_resumed: Arc<AtomicBool>,
    /// From then on, signals do what they do by default.
    is_over: Arc<AtomicBool>,
    wakers: Vec<SigId>,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut signals = Self {
            wake,
            ending: Arc::default(),
            has_resumed: Arc::default(),
            is_over: Arc::default(),
            wakers: Vec::new(),
        };
        let ignored = Ignored::read();
        for signal in ENDING.into_iter().filter(|signal| !ignored.has(*signal)) {
            let signal = signal.as_raw();
            flag::register_conditional_default(signal, Arc::clone(&signals.is_over))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signals.ending), number)?;
            signals.wakers.push(low_level::pipe::register(signal, waker.try_clone()?)?);
        }
        let resumed = Signal::CONT.as_raw();
        flag::register(resumed, Arc::clone(&signals.has_resumed))?;
        signals.wakers.push(low_level::pipe::register(resumed, waker)?);
        Ok(signals)
    }

    /// Waits for input or a signal.
    pub(super) fn wait(&mut self, terminal: &impl AsFd) -> io::Result<Event> {
        loop {
            if self.ending.load(Ordering::SeqCst) != 0 {
                return Ok(Event::Ended);
            }
            if self.has_resumed.swap(false, Ordering::SeqCst) {
                return Ok(Event::Resumed);
            }
            let mut streams =
                [PollFd::new(&self.wake, PollFlags::IN), PollFd::new(terminal, PollFlags::IN)];
            match poll(&mut streams, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [wake, terminal] = streams;
            if !wake.revents().is_empty() {
                // It says no more than that a signal has come.
                let _ = self.wake.read(&mut [0; 64]);
            } else if !terminal.revents().is_empty() {
                return Ok(Event::Typed);
            }
        }
    }

    /// Lets signals do again what they do by default, also the one that has come.
    pub(super) fn deliver(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for waker in self.wakers {
            low_level::unregister(waker);
        }
        let signal = i32::try_from(self.ending.load(Ordering::SeqCst)).unwrap_or_default();
        if signal != 0 {
            // It does not return for these signals.
            let _ = low_level::emulate_default_handler(signal);
        }
    }
}
