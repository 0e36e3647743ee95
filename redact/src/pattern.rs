//! The literals that are looked for, and the exact comparison with a text.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::forms::{Collector, Form};
use strongroom_core::WipedBuffer;

/// A literal with the optional characters beside it.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Where the buffer holds the value of which this is a form.
    pub(crate) value: (usize, usize),
    pub(crate) lead: Lead,
    pub(crate) tail: Tail,
    /// The number of the secret.
    pub(crate) source: u32,
    pub(crate) form: Form,
}

impl Pattern {
    pub(crate) fn literal<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// A character of base64 before a literal whose low bits belong to the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    mask: u8,
    bits: u8,
}

impl Lead {
    pub(crate) const NONE: Self = Self { mask: 0, bits: 0 };

    pub(crate) fn low_bits(count: u8, bits: u8) -> Self {
        Self { mask: (1 << count) - 1, bits }
    }

    /// Whether `byte` may be this character.
    pub(crate) fn matches(self, byte: u8) -> bool {
        self.mask != 0 && sextet(byte).is_some_and(|sextet| sextet & self.mask == self.bits)
    }
}

/// A character of base64 after a literal whose high bits belong to the value, and the padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    mask: u8,
    bits: u8,
    padding: u8,
}

impl Tail {
    pub(crate) const NONE: Self = Self { mask: 0, bits: 0, padding: 0 };

    pub(crate) fn high_bits(count: u8, bits: u8, padding: u8) -> Self {
        let unknown = 6 - count;
        Self { mask: ((1 << count) - 1) << unknown, bits: bits << unknown, padding }
    }

    /// How many bytes at the beginning of `text` belong to the tail, and whether more text could add some.
    pub(crate) fn extent(self, text: &[u8]) -> (usize, bool) {
        if self.mask == 0 {
            return (0, false);
        }
        let Some((&first, rest)) = text.split_first() else { return (0, true) };
        if sextet(first).is_none_or(|sextet| sextet & self.mask != self.bits) {
            return (0, false);
        }
        let padding = usize::from(self.padding);
        let found = rest.iter().take(padding).take_while(|&&byte| byte == b'=').count();
        (1 + found, found < padding && found == rest.len())
    }
}

/// The six bits that a character of base64 stands for, in either alphabet.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// All patterns, in the order of their literals.
pub(crate) struct Patterns {
    arena: WipedBuffer,
    sorted: Vec<Pattern>,
    /// The first eight bytes of each literal, as a number that sorts as they do.
    keys: Zeroizing<Vec<u64>>,
    /// For each pattern, the last one before it whose literal is a prefix of its own (or equal).
    parents: Vec<Option<u32>>,
    /// For each byte, the number of literals that begin with a smaller one.
    smaller_first: Zeroizing<Vec<u32>>,
    /// Bytes that may be the lead of a pattern.
    lead_bytes: Zeroizing<[bool; 256]>,
}

/// A pending start with a shorter text is compared from its beginning again: that is faster than to find its range.
const REMEMBERED: usize = 64;

/// A start in a text at which a longer pattern may still match, and what is known about it.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// The patterns that begin with the first `matched` bytes of the text, and are longer.
    range: Range<usize>,
    /// It is zero if nothing is known.
    matched: usize,
    /// The longest pattern that is complete; the others are its ancestors.
    complete: Option<u32>,
}

/// What is known about one start in a text.
pub(crate) struct Examined {
    pub(crate) longest: Option<Match>,
    /// Whether more text could give a longer one.
    pub(crate) pending: Option<Candidate>,
}

/// An occurrence of a pattern.
#[derive(Clone, Copy)]
pub(crate) struct Match {
    /// The length with the tail.
    pub(crate) len: usize,
    /// Whether the byte before the start belongs to it.
    pub(crate) has_lead: bool,
    pub(crate) pattern: Pattern,
}

impl Patterns {
    pub(crate) fn new(collector: Collector) -> Self {
        let Collector { arena, patterns: mut sorted, .. } = collector;
        // A stable sort: of equal patterns the one that was added first stays.
        sorted.sort_by(|a, b| a.literal(&arena).cmp(b.literal(&arena)));
        let sorted = without_duplicates(sorted, &arena);
        let mut keys = Zeroizing::new(Vec::with_capacity(sorted.len()));
        keys.extend(sorted.iter().map(|pattern| key(pattern.literal(&arena))));
        let mut smaller_first = Zeroizing::new(Vec::with_capacity(257));
        for byte in 0..=256 {
            let count = keys.partition_point(|key| key >> 56 < byte);
            smaller_first.push(u32::try_from(count).unwrap_or(u32::MAX));
        }
        let mut lead_bytes = Zeroizing::new([false; 256]);
        for (byte, flag) in (0..=u8::MAX).zip(lead_bytes.iter_mut()) {
            *flag = sorted.iter().any(|pattern| pattern.lead.matches(byte));
        }
        let parents = parents(&sorted, &arena);
        Self { arena, sorted, keys, parents, smaller_first, lead_bytes }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.sorted.iter()
    }

    pub(crate) fn literal(&self, pattern: &Pattern) -> &[u8] {
        pattern.literal(&self.arena)
    }

    /// The value of which the literal is a form.
    pub(crate) fn value(&self, pattern: &Pattern) -> &[u8] {
        let (start, len) = pattern.value;
        self.arena.get(start..start + len).unwrap_or_default()
    }

    pub(crate) fn may_be_lead(&self, byte: u8) -> bool {
        self.lead_bytes.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Compares the text that begins at a start, after the byte `before`, with all patterns.
    pub(crate) fn examine(&self, text: &[u8], before: Option<u8>) -> Examined {
        let key = key(text);
        let with_first = self.with_first_byte(usize::from(text.first().copied().unwrap_or(0)));
        let keys = self.keys.get(with_first.clone()).unwrap_or_default();
        let first = with_first.start + keys.partition_point(|other| *other < key);
        let same = self.keys.get(first..with_first.end).unwrap_or_default();
        let same = match same.first() {
            Some(other) if *other == key => same.partition_point(|other| *other == key),
            _ => 0,
        };
        let not_greater = self.count_not_greater(text, first..first + same, 0);
        let nearest = (first + not_greater).checked_sub(1);
        let known = Candidate { range: 0..self.sorted.len(), matched: 0, complete: None };
        self.conclude(text, before, &known, first + not_greater, nearest)
    }

    /// The patterns whose literal begins with this byte.
    fn with_first_byte(&self, byte: usize) -> Range<usize> {
        let count = |byte| self.smaller_first.get(byte).map_or(0, |count| *count as usize);
        count(byte)..count(byte + 1)
    }

    /// Continues at a start, of which more text is known now.
    pub(crate) fn examine_further(
        &self,
        text: &[u8],
        before: Option<u8>,
        known: &Candidate,
    ) -> Examined {
        if known.matched == 0 {
            return self.examine(text, before);
        }
        let not_greater = self.count_not_greater(text, known.range.clone(), known.matched);
        let end = known.range.start + not_greater;
        let nearest = if not_greater > 0 { Some(end - 1) } else { None };
        self.conclude(text, before, known, end, nearest)
    }

    /// How many patterns in `range`, which share `matched` bytes with the text, are not greater than it.
    fn count_not_greater(&self, text: &[u8], range: Range<usize>, matched: usize) -> usize {
        let rest = text.get(matched..).unwrap_or_default();
        let among = self.sorted.get(range).unwrap_or_default();
        among.partition_point(|pattern| self.rest(pattern, matched) <= rest)
    }

    fn rest(&self, pattern: &Pattern, matched: usize) -> &[u8] {
        self.literal(pattern).get(matched..).unwrap_or_default()
    }

    /// The patterns from `greater` on are greater than the text; `nearest` is the one before, if it is in the range
    /// of `known`. All patterns that are prefixes of the text are `nearest` or its ancestors.
    fn conclude(
        &self,
        text: &[u8],
        before: Option<u8>,
        known: &Candidate,
        greater: usize,
        nearest: Option<usize>,
    ) -> Examined {
        let rest = text.get(known.matched..).unwrap_or_default();
        let greater_ones = self.sorted.get(greater..known.range.end).unwrap_or_default();
        let is_longer = |pattern: &Pattern| self.rest(pattern, known.matched).starts_with(rest);
        let may_be_longer = greater_ones.first().is_some_and(is_longer);
        let complete = match nearest.and_then(|nearest| self.sorted.get(nearest).zip(Some(nearest)))
        {
            Some((pattern, nearest)) => {
                let shared = common_prefix(self.rest(pattern, known.matched), rest);
                self.ancestor_within(nearest, known.matched + shared)
            }
            None => known.complete,
        };
        let (longest, tail_may_grow) = self.longest_of(complete, text, before);
        let pending = (may_be_longer || tail_may_grow).then(|| {
            if text.len() < REMEMBERED {
                return Candidate { range: 0..0, matched: 0, complete: None };
            }
            let longer = greater_ones.partition_point(is_longer);
            Candidate { range: greater..greater + longer, matched: text.len(), complete }
        });
        Examined { longest, pending }
    }

    /// The pattern, or its nearest ancestor, whose literal has at most `len` bytes.
    fn ancestor_within(&self, pattern: usize, len: usize) -> Option<u32> {
        let mut next = u32::try_from(pattern).ok();
        while let Some(index) = next {
            if self.at(index)?.len <= len {
                return next;
            }
            next = self.parent(index);
        }
        None
    }

    fn at(&self, index: u32) -> Option<&Pattern> {
        self.sorted.get(index as usize)
    }

    fn parent(&self, index: u32) -> Option<u32> {
        self.parents.get(index as usize).copied().flatten()
    }

    /// The longest match of a pattern and its ancestors, whose literals are prefixes of the text, and whether more
    /// text could add to a tail.
    fn longest_of(
        &self,
        complete: Option<u32>,
        text: &[u8],
        before: Option<u8>,
    ) -> (Option<Match>, bool) {
        let mut longest: Option<Match> = None;
        let mut has_lead = false;
        let mut may_grow = false;
        let mut next = complete;
        while let Some((index, pattern)) = next.and_then(|index| Some((index, self.at(index)?))) {
            let (tail, grows) = pattern.tail.extent(text.get(pattern.len..).unwrap_or_default());
            may_grow |= grows;
            has_lead |= before.is_some_and(|before| pattern.lead.matches(before));
            let len = pattern.len + tail;
            // Of patterns with one literal, the one that was added first comes last.
            let is_better =
                |best: &Match| len > best.len || len == best.len && pattern.len == best.pattern.len;
            if longest.as_ref().is_none_or(is_better) {
                longest = Some(Match { len, has_lead: false, pattern: *pattern });
            }
            next = self.parent(index);
        }
        (longest.map(|longest| Match { has_lead, ..longest }), may_grow)
    }
}

/// The first eight bytes as a number.
fn key(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    if b.starts_with(a) {
        return a.len();
    }
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn without_duplicates(sorted: Vec<Pattern>, arena: &[u8]) -> Vec<Pattern> {
    let mut kept: Vec<Pattern> = Vec::with_capacity(sorted.len());
    for pattern in sorted {
        let literal = pattern.literal(arena);
        let mut same_literal =
            kept.iter().rev().take_while(|other| other.literal(arena) == literal);
        if !same_literal.any(|other| other.lead == pattern.lead && other.tail == pattern.tail) {
            kept.push(pattern);
        }
    }
    kept
}

fn parents(sorted: &[Pattern], arena: &[u8]) -> Vec<Option<u32>> {
    let mut open: Vec<(u32, &[u8])> = Vec::new();
    let mut parents = Vec::with_capacity(sorted.len());
    for (index, pattern) in (0..).zip(sorted) {
        let literal = pattern.literal(arena);
        while open.last().is_some_and(|(_, prefix)| !literal.starts_with(prefix)) {
            open.pop();
        }
        parents.push(open.last().map(|(parent, _)| *parent));
        open.push((index, literal));
    }
    parents
}
