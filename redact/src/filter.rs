//! Finds the starts at which a pattern may match, at the speed of a copy.
//!
//! A literal of at least `stride + gram - 1` bytes contains a whole gram at one of the positions that are multiples of
//! the stride, wherever it stands in the text. So the filter looks at one gram per stride, and at no byte twice. A
//! bitmap answers for nearly all grams of a text; a table says for the others at which offsets a literal has the gram.
//!
//! Patterns belong to a class by their length: the longer the shortest pattern, the longer the stride. The bitmap and
//! the table are derived from values, and are wiped on drop.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::pattern::Patterns;

/// A class: patterns of at least so many bytes are sampled with grams of `GRAM` bytes, one per `GRAM` bytes.
const LONG: usize = 15;
const MEDIUM: usize = 7;

/// Bits of the bitmap per gram, and slots of the table per gram: one in 32 grams of another text meets a set bit.
const BITS_PER_GRAM: usize = 32;
const SLOTS_PER_GRAM: usize = 2;

pub(crate) struct Filter {
    long: Option<Grams>,
    medium: Option<Grams>,
    short: Option<Grams>,
    prefixes: Prefixes,
}

impl Filter {
    pub(crate) fn new(patterns: &Patterns) -> Self {
        let class = |lengths: Range<usize>, gram, stride| {
            let of_class = || patterns.iter().filter(|pattern| lengths.contains(&pattern.len));
            let count = of_class().count();
            if count == 0 {
                return None;
            }
            let mut grams = Grams::new(count * stride);
            for pattern in of_class() {
                let literal = patterns.literal(pattern);
                for (offset, window) in literal.windows(gram).take(stride).enumerate() {
                    grams.insert(number(window), offset);
                }
            }
            Some(grams)
        };
        Self {
            long: class(LONG..usize::MAX, 8, 8),
            medium: class(MEDIUM..LONG, 4, 4),
            short: class(0..MEDIUM, 4, 1),
            prefixes: Prefixes::new(patterns),
        }
    }

    /// The number of bytes at the end of a text in which a start may have no whole sample after it.
    fn blind_len(&self) -> usize {
        match self {
            Self { long: Some(_), .. } => LONG - 1,
            Self { medium: Some(_), .. } => MEDIUM - 1,
            Self { short: Some(_), .. } => 3,
            _ => 0,
        }
    }

    /// Adds the starts in `text`, from `from` on, at which a pattern may match. They are in no order.
    pub(crate) fn find_starts(&self, text: &[u8], from: usize, starts: &mut Vec<usize>) {
        let rest = text.get(from..).unwrap_or_default();
        if let Some(grams) = &self.long {
            let (words, _) = rest.as_chunks::<8>();
            for (index, word) in words.iter().enumerate() {
                grams.look_up(u64::from_le_bytes(*word), from, index * 8, starts);
            }
        }
        if let Some(grams) = &self.medium {
            let (words, _) = rest.as_chunks::<4>();
            for (index, word) in words.iter().enumerate() {
                grams.look_up(u64::from(u32::from_le_bytes(*word)), from, index * 4, starts);
            }
        }
        if let Some(grams) = &self.short {
            for (index, window) in rest.windows(4).enumerate() {
                grams.look_up(number(window), from, index, starts);
            }
        }
        self.prefixes.find_starts(text, self.blind_len().min(rest.len()), starts);
    }
}

/// Up to eight bytes as a number.
fn number(gram: &[u8]) -> u64 {
    gram.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A set of the first bytes of literals, one to eight of them, for the starts near the end of a text.
struct Prefixes {
    multiplier: u64,
    bitmap: Zeroizing<Vec<u64>>,
    shift: u32,
}

const MAX_PREFIX: usize = 8;
const BITS_PER_PREFIX: usize = 16;

impl Prefixes {
    fn new(patterns: &Patterns) -> Self {
        let count = patterns.iter().count() * MAX_PREFIX;
        let bits = (count * BITS_PER_PREFIX).next_power_of_two().max(64);
        let mut prefixes = Self {
            multiplier: random_multiplier(),
            bitmap: Zeroizing::new(vec![0; bits / 64]),
            shift: 64 - bits.trailing_zeros(),
        };
        for pattern in patterns.iter() {
            let literal = patterns.literal(pattern);
            for len in 1..=MAX_PREFIX.min(literal.len()) {
                let bit = prefixes.bit(number(literal.get(..len).unwrap_or_default()), len);
                if let Some(word) = prefixes.bitmap.get_mut(index(bit >> 6)) {
                    *word |= 1 << (bit & 63);
                }
            }
        }
        prefixes
    }

    fn bit(&self, prefix: u64, len: usize) -> u64 {
        // The second factor keeps apart prefixes that differ in zero bytes at their ends.
        let number = prefix ^ (len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        number.wrapping_mul(self.multiplier) >> self.shift
    }

    /// Adds the starts among the last `count` bytes, at most 16, at which the rest of the text may be the beginning of
    /// a literal.
    fn find_starts(&self, text: &[u8], count: usize, starts: &mut Vec<usize>) {
        let mut last = [0; 16];
        for (to, from) in last.iter_mut().rev().zip(text.iter().rev()) {
            *to = *from;
        }
        let last = u128::from_le_bytes(last);
        for len in (1..=count).rev() {
            #[expect(clippy::cast_possible_truncation, reason = "it is the first eight bytes")]
            let first = (last >> (8 * (16 - len))) as u64;
            let bit = self.bit(first, len.min(MAX_PREFIX));
            let word = self.bitmap.get(index(bit >> 6)).copied().unwrap_or_default();
            if word >> (bit & 63) & 1 != 0 {
                starts.push(text.len() - len);
            }
        }
    }
}

/// Random, so that no text is made to collide.
fn random_multiplier() -> u64 {
    RandomState::new().hash_one(()) | 1
}

/// A set of grams with the offsets at which literals have them.
struct Grams {
    multiplier: u64,
    bitmap: Zeroizing<Vec<u64>>,
    bitmap_shift: u32,
    /// 56 bits of a gram's hash, and one bit for each offset; zero is a free slot.
    slots: Zeroizing<Vec<u64>>,
    slot_shift: u32,
}

const OFFSETS: u64 = 0xff;

impl Grams {
    fn new(capacity: usize) -> Self {
        let bits = (capacity * BITS_PER_GRAM).next_power_of_two().max(64 * 64);
        let slots = (capacity * SLOTS_PER_GRAM).next_power_of_two().max(64);
        Self {
            multiplier: random_multiplier(),
            bitmap: Zeroizing::new(vec![0; bits / 64]),
            bitmap_shift: 64 - bits.trailing_zeros(),
            slots: Zeroizing::new(vec![0; slots]),
            slot_shift: 64 - slots.trailing_zeros(),
        }
    }

    fn hash(&self, gram: u64) -> u64 {
        gram.wrapping_mul(self.multiplier)
    }

    fn insert(&mut self, gram: u64, offset: usize) {
        let hash = self.hash(gram);
        let bit = hash >> self.bitmap_shift;
        if let Some(word) = self.bitmap.get_mut(index(bit >> 6)) {
            *word |= 1 << (bit & 63);
        }
        let mut slot = index(hash >> self.slot_shift);
        let mask = self.slots.len() - 1;
        while let Some(entry) = self.slots.get_mut(slot & mask) {
            if *entry == 0 || *entry & !OFFSETS == hash & !OFFSETS {
                *entry |= hash & !OFFSETS | 1 << offset;
                return;
            }
            slot += 1;
        }
    }

    /// Adds the starts of patterns that have `gram`, which stands at `from + at`, and do not begin before `from`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the loop over a text consists of little else")]
    fn look_up(&self, gram: u64, from: usize, at: usize, starts: &mut Vec<usize>) {
        let hash = self.hash(gram);
        let bit = hash >> self.bitmap_shift;
        let word = self.bitmap.get(index(bit >> 6)).copied().unwrap_or_default();
        if word >> (bit & 63) & 1 != 0 {
            self.add_starts(hash, from, at, starts);
        }
    }

    #[cold]
    fn add_starts(&self, hash: u64, from: usize, at: usize, starts: &mut Vec<usize>) {
        let mut slot = index(hash >> self.slot_shift);
        let mask = self.slots.len() - 1;
        while let Some(&entry) = self.slots.get(slot & mask)
            && entry != 0
        {
            if entry & !OFFSETS == hash & !OFFSETS {
                let offsets = (0..8).filter(|offset| entry >> offset & 1 != 0);
                starts.extend(offsets.filter_map(|offset| Some(from + at.checked_sub(offset)?)));
                return;
            }
            slot += 1;
        }
    }
}

/// A hash's upper bits as an index.
fn index(bits: u64) -> usize {
    usize::try_from(bits).unwrap_or(usize::MAX)
}
