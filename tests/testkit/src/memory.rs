//! A scan of this process's own memory for what should have been wiped.
//!
//! Linux only: it reads `/proc/self/maps` and `/proc/self/mem`. The allocator writes its own
//! pointers over the start of a freed block, so what is searched is a fragment from the middle of
//! the planted value. The scanner must not find itself: it keeps the fragment masked by XOR,
//! compares without ever putting it together, and leaves its own buffer out. Nor must it overwrite
//! what it looks for: it allocates large blocks only, which reuse no small freed one.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// The length of a planted value, in bytes.
const VALUE: usize = 64;
/// The part of it that is searched.
const MIDDLE: Range<usize> = 20..44;
/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 18;
/// The least that a scan must have searched to count, in bytes.
const LEAST: usize = 1 << 16;
/// How much is passed over at once, in bytes.
const BLOCK: usize = 64;

/// A fragment to search for, kept masked.
pub struct Needle {
    masked: Vec<u8>,
    mask: Vec<u8>,
}

/// What a scan has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// How often the fragment was found.
    pub found: usize,
    /// How many bytes were searched.
    pub searched: usize,
}

impl Needle {
    /// A fragment given as two parts whose XOR it is. Both are at least eight bytes long.
    #[must_use]
    pub fn new(masked: Vec<u8>, mask: Vec<u8>) -> Self {
        assert!(masked.len() == mask.len() && mask.len() >= 8, "not a masked fragment");
        Self { masked, mask }
    }

    /// How often the fragment stands in the memory that this process can read and write.
    #[must_use]
    pub fn count_in_own_memory(&self) -> usize {
        let scan = self.scan().expect("this process can read its own memory");
        assert!(scan.searched > LEAST, "only {} bytes could be searched", scan.searched);
        scan.found
    }

    /// Searches the memory that this process can read and write, one scan at a time.
    ///
    /// # Errors
    /// If `/proc/self` cannot be read.
    pub fn scan(&self) -> io::Result<Scan> {
        // Another scan's buffer holds what it has just read.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
            let wanted = CHUNK.min(part.end - from);
            // Another thread may have unmapped it since the list was read.
            let read = memory.read_at(&mut buffer[..wanted], from as u64).unwrap_or_default();
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
        // Most of the memory is zero; this passes over it fast, without optimisation too.
        let near = blocks.filter(|block| haystack[block.clone()].contains(&first));
        near.flatten().filter(|at| self.matches(&haystack[*at..*at + self.mask.len()])).count()
    }

    /// Masks the memory instead of unmasking the fragment, which so never comes to exist.
    fn matches(&self, window: &[u8]) -> bool {
        window
            .iter()
            .zip(&self.mask)
            .zip(&self.masked)
            .all(|((w, mask), masked)| w ^ mask == *masked)
    }
}

/// The address ranges in the text of `/proc/self/maps` that can be read and written.
fn writable_mappings(maps: &str) -> impl Iterator<Item = Range<usize>> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        rest.starts_with("rw").then_some(address(from)?..address(to)?)
    };
    maps.lines().filter_map(parse)
}

/// What of `range` lies before and after `hole`; either may be empty.
fn without(range: Range<usize>, hole: &Range<usize>) -> [Range<usize>; 2] {
    let before = range.start..range.end.min(hole.start).max(range.start);
    let after = range.start.max(hole.end).min(range.end)..range.end;
    [before, after]
}

/// A fresh random value to plant: 64 letters and digits, kept masked until it is exposed.
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
    /// A value that no other call has given.
    #[must_use]
    pub fn new() -> Self {
        let mask = random();
        // One byte after the other is masked at once: the value itself is in no buffer.
        let letter = |byte: &u8| char::from_digit(u32::from(byte % 36), 36).map_or(0, |c| c as u8);
        let masked =
            random().iter().map(letter).zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
        Self { masked, mask }
    }

    /// The value, in a buffer of exactly its size that is wiped on drop.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        self.expose_in("", "")
    }

    /// The value between other text, in a buffer of exactly their size that is wiped on drop.
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

    /// The fragment from its middle to search for.
    #[must_use]
    pub fn needle(&self) -> Needle {
        Needle::new(self.masked[MIDDLE].to_vec(), self.mask[MIDDLE].to_vec())
    }

    /// How often the fragment stands in the memory that this process can read and write.
    #[must_use]
    pub fn count_in_own_memory(&self) -> usize {
        self.needle().count_in_own_memory()
    }
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; VALUE];
    let mut source = File::open("/dev/urandom").expect("the system has a source of randomness");
    source.read_exact(&mut bytes).expect("the source of randomness can be read");
    bytes
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroize as _;

    use super::*;

    #[test]
    fn counts_what_is_kept_and_not_itself() {
        let planted = Planted::new();
        assert_eq!(planted.count_in_own_memory(), 0);
        let kept = planted.expose();
        let second = kept.clone();
        assert_eq!(planted.count_in_own_memory(), 2);
        drop((kept, second));
        assert_eq!(planted.count_in_own_memory(), 0);
    }

    #[test]
    fn finds_what_was_freed_without_wiping() {
        let planted = Planted::new();
        // Other threads may reuse some of them before the scan.
        drop((0..100).map(|_| planted.expose().to_string()).collect::<Vec<_>>());
        assert_ne!(planted.count_in_own_memory(), 0);
    }

    #[test]
    fn finds_what_lies_across_two_chunks() {
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
    fn values_are_fresh() {
        let (one, other) = (Planted::new().expose(), Planted::new().expose());
        assert_eq!(one.len(), VALUE);
        assert_eq!(one.capacity(), VALUE);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(*one, *other);
        let quoted = Planted::new().expose_in("\"", "\"");
        assert_eq!((quoted.len(), quoted.capacity()), (VALUE + 2, VALUE + 2));
    }

    #[test]
    fn reads_the_list_of_mappings() {
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
