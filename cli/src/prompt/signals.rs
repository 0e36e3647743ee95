//! Signals that arrive while the terminal hides what is typed.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    actions: Vec<SigId>,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = Ignored::read();
        let is_over = default_actions(&ignored)?;
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut signals = Self {
            wake,
            ending: Arc::default(),
            has_resumed: Arc::default(),
            is_over,
            actions: Vec::new(),
        };
        for signal in ENDING.into_iter().filter(|signal| !ignored.has(*signal)) {
            let signal = signal.as_raw();
            let number = usize::try_from(signal).unwrap_or_default();
            let ending = Arc::clone(&signals.ending);
            signals.actions.push(flag::register_usize(signal, ending, number)?);
            signals.actions.push(low_level::pipe::register(signal, waker.try_clone()?)?);
        }
        let resumed = Signal::CONT.as_raw();
        signals.actions.push(flag::register(resumed, Arc::clone(&signals.has_resumed))?);
        signals.actions.push(low_level::pipe::register(resumed, waker)?);
        signals.is_over.store(false, Ordering::SeqCst);
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
        let ending = Arc::clone(&self.ending);
        drop(self);
        let signal = i32::try_from(ending.load(Ordering::SeqCst)).unwrap_or_default();
        if signal != 0 {
            // It does not return for these signals.
            let _ = low_level::emulate_default_handler(signal);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// Whether signals do what they do by default, for all prompts of this process: what does it is registered once. A signal
/// whose last action is unregistered would be ignored, and one action for each prompt would end the process at the next.
fn default_actions(ignored: &Ignored) -> io::Result<Arc<AtomicBool>> {
    static IS_OVER: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);
    let mut registered = IS_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(is_over) = &*registered {
        return Ok(Arc::clone(is_over));
    }
    let is_over = Arc::new(AtomicBool::new(true));
    for signal in ENDING.into_iter().filter(|signal| !ignored.has(*signal)) {
        flag::register_conditional_default(signal.as_raw(), Arc::clone(&is_over))?;
    }
    *registered = Some(Arc::clone(&is_over));
    Ok(is_over)
}
