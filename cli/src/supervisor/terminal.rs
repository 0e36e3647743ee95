//! The terminal of this process, and the pseudo-terminal of the command.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios};

use super::job::Job;
use super::keyboard::{Destination, Keyboard};

/// The controlling terminal of this process. It passes on each key as it is, as long as it is taken; a drop
/// gives it back as it was.
pub(crate) struct Outer {
    /// A file of our own, so that no other process sees that it does not block.
    tty: File,
    /// The modes before it was taken.
    before: Option<Termios>,
    keyboard: Option<Keyboard>,
}

impl Outer {
    /// The controlling terminal, if this process has one.
    pub(crate) fn open() -> Option<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
        let mut options = OpenOptions::new();
        let tty = options.read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
        Some(Self { tty, before: None, keyboard: None })
    }

    /// Sends keys to this pseudo-terminal while the terminal is taken.
    pub(crate) fn connect(&mut self, pty: &Pty) -> io::Result<()> {
        let keyboard = match self.keyboard.take() {
            Some(keyboard) => keyboard,
            None => Keyboard::new(self.tty.try_clone()?)?,
        };
        keyboard.connect(pty.destination.clone());
        self.keyboard = Some(keyboard);
        Ok(())
    }

    /// The modes as they were before it was taken, or are.
    pub(crate) fn modes(&self) -> Option<Termios> {
        self.before.clone().or_else(|| rustix::termios::tcgetattr(&self.tty).ok())
    }

    /// Takes the terminal, if this process is in the foreground: a change by another process would suspend it.
    /// Otherwise, it leaves the terminal to the shell, which has set its own modes meanwhile.
    pub(crate) fn take(&mut self) {
        if !is_foreground() {
            self.open_keyboard(false);
            self.before = None;
            return;
        }
        // Also if it was taken: a shell changes the modes while this process is suspended.
        let is_taken = self.set_modes(Termios::make_raw);
        self.open_keyboard(is_taken);
    }

    /// Stops passing on keys: from here on, Ctrl-C and Ctrl-Z are signals to this process. Output still passes as
    /// it is, since the pseudo-terminal has prepared it.
    pub(crate) fn give_back_keys(&mut self) {
        self.open_keyboard(false);
        if self.before.is_some() && is_foreground() {
            self.set_modes(|modes| modes.output_modes.remove(OutputModes::OPOST));
        }
    }

    /// Changes the modes from what they were before. Returns whether it could.
    fn set_modes(&mut self, change: impl FnOnce(&mut Termios)) -> bool {
        let Some(before) = self.modes() else { return false };
        let mut modes = before.clone();
        change(&mut modes);
        let result = rustix::termios::tcsetattr(&self.tty, OptionalActions::Now, &modes);
        if result.is_ok() {
            self.before = Some(before);
        }
        result.is_ok()
    }

    /// Whether keys go to the command.
    pub(crate) fn is_taken(&self) -> bool {
        self.before.is_some()
    }

    /// Gives the terminal back as it was.
    pub(crate) fn give_back(&mut self) {
        self.open_keyboard(false);
        if let Some(before) = self.before.take()
            && is_foreground()
        {
            // There is nothing to do about a terminal that has gone.
            let _ = rustix::termios::tcsetattr(&self.tty, OptionalActions::Now, &before);
        }
    }

    fn open_keyboard(&self, is_open: bool) {
        if let Some(keyboard) = &self.keyboard {
            keyboard.open(is_open);
        }
    }
}

fn is_foreground() -> bool {
    Job::current().is_some_and(Job::is_foreground)
}

impl Drop for Outer {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The end of the command's pseudo-terminal that a terminal emulator has.
pub(crate) struct Pty {
    destination: Destination,
}

impl Pty {
    /// Opens a pseudo-terminal with the modes and the size of the outer one. Returns the end for the command,
    /// too.
    pub(crate) fn open(outer: Option<&Outer>) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&*name, flags, Mode::empty())?;
        if let Some(modes) = outer.and_then(Outer::modes) {
            rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
        }
        rustix::fs::fcntl_setfl(&master, rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let destination = Destination { master: Arc::new(master), typed: Arc::default() };
        let pty = Self { destination };
        pty.copy_size();
        Ok((pty, slave))
    }

    /// A handle for the output of the command.
    pub(crate) fn output(&self) -> io::Result<OwnedFd> {
        self.destination.master.try_clone()
    }

    /// It is set when a key was typed.
    pub(crate) fn typed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.destination.typed)
    }

    /// Gives it the size of the window. The kernel tells the programs in it.
    pub(crate) fn copy_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
            // Without it, programs have the size that they had.
            let _ = rustix::termios::tcsetwinsize(&*self.destination.master, size);
        }
    }

    /// The process group in the foreground.
    pub(crate) fn foreground(&self) -> Option<Pid> {
        rustix::termios::tcgetpgrp(&*self.destination.master).ok()
    }
}
