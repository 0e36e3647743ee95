//! Unbiased choices from the random generator of the operating system.

use strongroom_core::{Error, ErrorKind, Operation, Result};
use zeroize::Zeroizing;

/// How much is asked for at once, in bytes.
const AT_ONCE: usize = 128;

/// Random numbers, wiped when they have been used.
pub(super) struct Random {
    pool: Zeroizing<Vec<u8>>,
}

impl Random {
    pub(super) fn new() -> Self {
        Self { pool: Zeroizing::new(Vec::with_capacity(AT_ONCE)) }
    }

    fn byte(&mut self) -> Result<u8> {
        if let Some(byte) = self.pool.pop() {
            return Ok(byte);
        }
        self.pool.resize(AT_ONCE, 0);
        getrandom::fill(&mut self.pool).map_err(|_| broken())?;
        self.pool.pop().ok_or_else(broken)
    }

    /// A number below `end`, each as likely as the others: numbers are drawn until one falls below
    /// the largest multiple of `end`. At most 2^16 are told apart.
    pub(super) fn below(&mut self, end: usize) -> Result<usize> {
        let end = u32::try_from(end).map_err(|_| broken())?;
        let whole = (1_u32 << 16).checked_rem(end).map(|rest| (1 << 16) - rest);
        let whole = whole.filter(|whole| *whole > 0).ok_or_else(broken)?;
        loop {
            let drawn = u32::from(u16::from_le_bytes([self.byte()?, self.byte()?]));
            if drawn < whole {
                return usize::try_from(drawn % end).map_err(|_| broken());
            }
        }
    }

    pub(super) fn choose(&mut self, from: &[u8]) -> Result<u8> {
        let index = self.below(from.len())?;
        from.get(index).copied().ok_or_else(broken)
    }

    /// Puts the bytes into any order, each as likely as the others (Fisher and Yates).
    pub(super) fn shuffle(&mut self, bytes: &mut [u8]) -> Result<()> {
        for last in (1..bytes.len()).rev() {
            let other = self.below(last + 1)?;
            bytes.swap(last, other);
        }
        Ok(())
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "report this with the platform you run on")
        .because("the random generator failed")
        .during(Operation::Rotate)
        .from_backend("password-issuer")
}
