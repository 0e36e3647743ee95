//! Unbiased choices from the random generator of the operating system.

use strongroom_core::{Error, ErrorKind, Operation, Result};
use zeroize::Zeroizing;

/// How many bytes are drawn from the operating system at a time.
const POOL_SIZE: usize = 128;

/// Random numbers. The pool is wiped when it is dropped.
pub(super) struct Random {
    pool: Zeroizing<Vec<u8>>,
}

impl Random {
    pub(super) fn new() -> Self {
        Self { pool: Zeroizing::new(Vec::with_capacity(POOL_SIZE)) }
    }

    fn byte(&mut self) -> Result<u8> {
        if let Some(byte) = self.pool.pop() {
            return Ok(byte);
        }
        self.pool.resize(POOL_SIZE, 0);
        getrandom::fill(&mut self.pool).map_err(|_| generator_error())?;
        self.pool.pop().ok_or_else(generator_error)
    }

    /// A uniform number below `end`, which is at most 2^16. It draws numbers until one falls below the
    /// largest multiple of `end` (rejection sampling).
    pub(super) fn below(&mut self, end: usize) -> Result<usize> {
        let end = u32::try_from(end).map_err(|_| generator_error())?;
        let limit = (1_u32 << 16).checked_rem(end).map(|rest| (1 << 16) - rest);
        let limit = limit.filter(|limit| *limit > 0).ok_or_else(generator_error)?;
        loop {
            let drawn = u32::from(u16::from_le_bytes([self.byte()?, self.byte()?]));
            if drawn < limit {
                return usize::try_from(drawn % end).map_err(|_| generator_error());
            }
        }
    }

    pub(super) fn choose(&mut self, from: &[u8]) -> Result<u8> {
        let index = self.below(from.len())?;
        from.get(index).copied().ok_or_else(generator_error)
    }

    /// Shuffles the bytes into a uniform order (Fisher and Yates).
    pub(super) fn shuffle(&mut self, bytes: &mut [u8]) -> Result<()> {
        for last in (1..bytes.len()).rev() {
            let other = self.below(last + 1)?;
            bytes.swap(last, other);
        }
        Ok(())
    }
}

fn generator_error() -> Error {
    Error::new(ErrorKind::Internal, "report this with the platform you run on")
        .because("the random generator failed")
        .during(Operation::Rotate)
        .from_backend("password-issuer")
}
