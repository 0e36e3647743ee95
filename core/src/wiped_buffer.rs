//! A growing buffer that leaves no copy of a secret behind.

use std::fmt;
use std::io;
use std::ops::Deref;

use zeroize::{Zeroize as _, Zeroizing};

/// A growing buffer of bytes that is wiped on drop, and also wherever it was before it grew: a `Vec` frees its
/// old memory as it is.
#[derive(Clone, Default)]
pub struct WipedBuffer(Zeroizing<Vec<u8>>);

impl WipedBuffer {
    /// The least number of bytes that are reserved.
    const MIN_CAPACITY: usize = 64;

    /// An empty buffer with room for this many bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let capacity = needed.max(self.0.capacity() * 2).max(Self::MIN_CAPACITY);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Removes the last bytes, so that `length` are left. Their memory is wiped with that of the buffer.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Removes the first bytes, and wipes what was behind the new end.
    pub fn remove_front(&mut self, count: usize) {
        let count = count.min(self.0.len());
        let left = self.0.len() - count;
        self.0.copy_within(count.., 0);
        if let Some(rest) = self.0.get_mut(left..) {
            rest.zeroize();
        }
        self.0.truncate(left);
    }

    /// Wipes the content and keeps the memory.
    pub fn clear(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }

    /// The bytes, which may have room for more behind them.
    #[must_use]
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl Deref for WipedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for WipedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for WipedBuffer {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(Vec::from(bytes)))
    }
}

impl io::Write for WipedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for WipedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WipedBuffer([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_pushed_while_it_grows_and_shrinks() {
        let mut buffer = WipedBuffer::default();
        for round in 0..300_u32 {
            buffer.push(u8::try_from(round % 251).unwrap());
        }
        buffer.remove_front(290);
        assert_eq!(&*buffer, [39, 40, 41, 42, 43, 44, 45, 46, 47, 48]);
        buffer.truncate(2);
        buffer.extend(b"ab");
        assert_eq!(&*buffer, [39, 40, b'a', b'b']);
        assert_eq!(format!("{buffer:?}"), "WipedBuffer([REDACTED])");
        assert_eq!(*buffer.clone().into_inner(), [39, 40, b'a', b'b']);
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
