//! Scans this process's own memory for values that should have been wiped.
//!
//! Linux only: it reads `/proc/self/maps` and `/proc/self/mem`. The allocator writes its own pointers over
//! the start of a freed block, so the scanner searches for a fragment from the middle of the planted value.
//! The scanner must not find itself: it keeps the fragment masked by XOR, compares without unmasking it, and
//! skips its own buffer. It must not overwrite freed values either: it allocates only large blocks, which do
//! not reuse small ones.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// The length of a planted value, in bytes.
const VALUE: usize = 64;
/// The fragment to search for.
const MIDDLE: Range<usize> = 20..44;
/// The size of one read, in bytes.
const CHUNK: usize = 1 << 18;
/// The minimum that a valid scan searches, in bytes.
const MIN_SEARCHED: usize = 1 << 16;
/// The size of the blocks that the search skips, in bytes.
const BLOCK: usize = 64;

/// A masked fragment to search for.
pub struct Needle {
    masked: Vec<u8>,
    mask: Vec<u8>,
}

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The number of occurrences of the fragment.
    pub found: usize,
    /// The number of bytes searched.
    pub searched: usize,
}

impl Needle {
    /// The fragment is the XOR of both parts, which have at least eight bytes.
    #[must_use]
    pub fn new(masked: Vec<u8>, mask: Vec<u8>) -> Self {
        assert!(
            masked.len() == mask.len() && mask.len() >= 8,
            "both parts need the same length, at least eight bytes"
        );
        Self { masked, mask }
    }

    /// Counts the fragment in the memory that this process can read and write.
    #[must_use]
    pub fn count_in_own_memory(&self) -> usize {
        let scan = self.scan().expect("this process can read its own memory");
        assert!(scan.searched > MIN_SEARCHED, "searched only {} bytes", scan.searched);
        scan.found
    }

    /// Searches the memory that this process can read and write, one scan at a time.
    ///
    /// # Errors
    /// If `/proc/self` cannot be read.
    pub fn scan(&self) -> io::Result<Scan> {
        // The buffer of a concurrent scan would contain what that scan has just read.
        static SCAN: Mutex<()> = Mutex::new(());
        let _guard = SCAN.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = File::open("/proc/self/mem")?;
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let own = buffer.as_ptr().addr()..buffer.as_ptr().addr() + buffer.len();
        let mut scan = Scan { found: 0, searched: 0 };
        let mut maps = String::with_capacity(CHUNK);
        File::open("/proc/self/maps")?.read_to_string(&mut maps)?;
        for mapping in writable_mappings(&maps) {
            for part in without(mapping, &own) {
                self.scan_part(&memory, part, &mut buffer, &mut scan);
            }
        }
        Ok(scan)
    }

    fn scan_part(&self, memory: &File, part: Range<usize>, buffer: &mut [u8], scan: &mut Scan) {
        let overlap = self.mask.len() - 1;
        let mut from = part.start;
        while from < part.end {
            let size = CHUNK.min(part.end - from);
            // Another thread may have unmapped the range since.
            let read = memory.read_at(&mut buffer[..size], from as u64).unwrap_or_default();
            scan.found += self.count(&buffer[..read]);
            scan.searched += read;
            if read <= overlap || from + read >= part.end {
                break;
            }
            from += read - overlap;
        }
    }

    fn count(&self, haystack: &[u8]) -> usize {
        let first = self.masked[0] ^ self.mask[0];
        let starts = (haystack.len() + 1).saturating_sub(self.mask.len());
        let blocks = (0..starts).step_by(BLOCK).map(|from| from..starts.min(from + BLOCK));
        // Most of the memory is zero; skip it quickly, also in an unoptimized build.
        let candidates = blocks.filter(|block| haystack[block.clone()].contains(&first));
        candidates
            .flatten()
            .filter(|at| self.matches(&haystack[*at..*at + self.mask.len()]))
            .count()
    }

    /// Masks the memory instead of unmasking the fragment.
    fn matches(&self, window: &[u8]) -> bool {
        window
            .iter()
            .zip(&self.mask)
            .zip(&self.masked)
            .all(|((w, mask), masked)| w ^ mask == *masked)
    }
}

/// The readable and writable address ranges in the text of `/proc/self/maps`.
fn writable_mappings(maps: &str) -> impl Iterator<Item = Range<usize>> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        rest.starts_with("rw").then_some(address(from)?..address(to)?)
    };
    maps.lines().filter_map(parse)
}

/// The parts of `range` before and after `hole`; either may be empty.
fn without(range: Range<usize>, hole: &Range<usize>) -> [Range<usize>; 2] {
    let before = range.start..range.end.min(hole.start).max(range.start);
    let after = range.start.max(hole.end).min(range.end)..range.end;
    [before, after]
}

/// A random value to plant: 64 letters and digits, masked until it is exposed.
pub struct Planted {
    masked: Vec<u8>,
    mask: Vec<u8>,
}

impl Default for Planted {
    fn default() -> Self {
        Self::new()
    }
}

impl Planted {
    /// Creates a unique value.
    #[must_use]
    pub fn new() -> Self {
        let mask = random();
        // Masks each byte as it is drawn, so no buffer holds the value.
        let letter = |byte: &u8| char::from_digit(u32::from(byte % 36), 36).map_or(0, |c| c as u8);
        let masked =
            random().iter().map(letter).zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
        Self { masked, mask }
    }

    /// The value, in a buffer of its exact size that is wiped on drop.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        self.expose_in("", "")
    }

    /// The value between other text, in a buffer of their exact size that is wiped on drop.
    #[must_use]
    pub fn expose_in(&self, before: &str, after: &str) -> Zeroizing<String> {
        let length = before.len() + self.masked.len() + after.len();
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(before);
        for (masked, mask) in self.masked.iter().zip(&self.mask) {
            text.push(char::from(masked ^ mask));
        }
        text.push_str(after);
        text
    }

    /// The fragment to search for.
    #[must_use]
    pub fn needle(&self) -> Needle {
        Needle::new(self.masked[MIDDLE].to_vec(), self.mask[MIDDLE].to_vec())
    }

    /// Counts the fragment in the memory that this process can read and write.
    #[must_use]
    pub fn count_in_own_memory(&self) -> usize {
        self.needle().count_in_own_memory()
    }
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; VALUE];
    let mut source = File::open("/dev/urandom").expect("a source of randomness");
    source.read_exact(&mut bytes).expect("random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroize as _;

    use super::*;

    #[test]
    fn counts_live_values_and_not_itself() {
        let planted = Planted::new();
        assert_eq!(planted.count_in_own_memory(), 0);
        let kept = planted.expose();
        let second = kept.clone();
        assert_eq!(planted.count_in_own_memory(), 2);
        drop((kept, second));
        assert_eq!(planted.count_in_own_memory(), 0);
    }

    #[test]
    fn finds_values_that_were_freed_without_wiping() {
        let planted = Planted::new();
        // Other threads may reuse some blocks before the scan.
        drop((0..100).map(|_| planted.expose().to_string()).collect::<Vec<_>>());
        assert_ne!(planted.count_in_own_memory(), 0);
    }

    #[test]
    fn finds_values_across_two_chunks() {
        let planted = Planted::new();
        let value = planted.expose();
        let mut large = vec![0_u8; 4 * CHUNK];
        for at in (CHUNK / 2..3 * CHUNK).step_by(4093 + 64) {
            large[at..at + VALUE].copy_from_slice(value.as_bytes());
        }
        let copies = (CHUNK / 2..3 * CHUNK).step_by(4093 + 64).count();
        assert_eq!(planted.count_in_own_memory(), copies + 1);
        large.zeroize();
        assert_eq!(planted.count_in_own_memory(), 1);
    }

    #[test]
    fn values_are_unique() {
        let (one, other) = (Planted::new().expose(), Planted::new().expose());
        assert_eq!(one.len(), VALUE);
        assert_eq!(one.capacity(), VALUE);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(*one, *other);
        let quoted = Planted::new().expose_in("\"", "\"");
        assert_eq!((quoted.len(), quoted.capacity()), (VALUE + 2, VALUE + 2));
    }

    #[test]
    fn parses_the_list_of_mappings() {
        let maps = "1000-3000 rw-p 00000000 00:00 0 [heap]\n4000-5000 r--p 0 00:00 0 /bin/x\nodd\n";
        assert_eq!(writable_mappings(maps).collect::<Vec<_>>(), vec![0x1000..0x3000; 1]);
        assert_eq!(without(10..20, &(12..14)), [10..12, 14..20]);
        for (hole, left) in [(0..12, 8), (15..30, 5), (30..40, 10), (0..5, 10), (10..20, 0)] {
            assert_eq!(
                without(10..20, &hole).iter().map(ExactSizeIterator::len).sum::<usize>(),
                left
            );
        }
    }
}
