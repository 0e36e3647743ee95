//! Passes on keys from the terminal of this process to the pseudo-terminal of the command.
//!
//! A thread does, since no reactor without `unsafe` waits for a terminal. It reads only while the gate is open:
//! a process in the background that reads its terminal is suspended by the kernel.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// How many bytes are read at once.
const KEYS: usize = 4096;

/// Where keys go.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) master: Arc<OwnedFd>,
    /// It is set with each key.
    pub(crate) typed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Gate {
    is_open: bool,
    destination: Option<Destination>,
}

/// The keyboard of a terminal.
pub(crate) struct Keyboard(Arc<(Mutex<Gate>, Condvar)>);

impl Keyboard {
    /// Starts the thread. `tty` does not block.
    pub(crate) fn new(tty: File) -> io::Result<Self> {
        let gate = Arc::<(Mutex<Gate>, Condvar)>::default();
        let shared = Arc::clone(&gate);
        thread::Builder::new().name("keyboard".to_owned()).spawn(move || read(tty, &shared))?;
        Ok(Self(gate))
    }

    /// Sends keys there from now on.
    pub(crate) fn connect(&self, destination: Destination) {
        lock(&self.0.0).destination = Some(destination);
        self.0.1.notify_all();
    }

    /// Opens or shuts the gate. Once it is shut, no key is read.
    pub(crate) fn open(&self, is_open: bool) {
        lock(&self.0.0).is_open = is_open;
        self.0.1.notify_all();
    }
}

fn lock(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(mut tty: File, shared: &(Mutex<Gate>, Condvar)) {
    let (gate, changed) = shared;
    let mut keys = Zeroizing::new([0; KEYS]);
    loop {
        let is_shut = |gate: &mut Gate| !gate.is_open || gate.destination.is_none();
        drop(changed.wait_while(lock(gate), is_shut));
        wait_for(&tty, PollFlags::IN);
        let open = lock(gate);
        let Some(destination) = open.destination.clone().filter(|_| open.is_open) else { continue };
        let count = match tty.read(&mut *keys) {
            Ok(count @ 1..) => count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => continue,
                // The terminal has gone.
                _ => return,
            },
            Ok(_) => return,
        };
        drop(open);
        destination.typed.store(true, Ordering::Relaxed);
        write_all(&destination.master, keys.get(..count).unwrap_or_default());
    }
}

/// Writes keys, unless the command has ended.
fn write_all(master: &OwnedFd, mut keys: &[u8]) {
    while !keys.is_empty() {
        match rustix::io::write(master, keys) {
            Ok(count) => keys = keys.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => wait_for(master, PollFlags::OUT),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn wait_for(file: &impl std::os::fd::AsFd, flags: PollFlags) {
    // After an error, the call that follows meets it, too.
    let _ = rustix::event::poll(&mut [PollFd::new(file, flags)], None);
}
