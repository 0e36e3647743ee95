//! Finds texts that have the shape of a key in one file.

use std::sync::LazyLock;

use super::rule::{Outcome, Rule};
use super::rules::RULES;
use super::{FindingKind, Found, Position};
use strongroom_core::WipedBuffer;

/// The scan of one file for key shapes.
pub(super) struct ShapeScan {
    /// The end of the text, from the first start that is not decided.
    text: WipedBuffer,
    /// The place of its first byte.
    position: Position,
}

impl Default for ShapeScan {
    fn default() -> Self {
        Self { text: WipedBuffer::default(), position: Position::START }
    }
}

impl ShapeScan {
    pub(super) fn push(&mut self, chunk: &[u8], found: &mut Found<'_>) {
        self.text.extend(chunk);
        let decided = self.search(false, found);
        self.text.remove_front(decided);
    }

    /// How many bytes are decided.
    pub(super) fn end(&self) -> u64 {
        self.position.offset
    }

    pub(super) fn finish(mut self, found: &mut Found<'_>) {
        self.search(true, found);
    }

    /// Decides as many starts as it can; all, if the text is at its end. Returns the number of bytes before the first
    /// start that is not decided, to which it moves the position.
    fn search(&mut self, is_end: bool, found: &mut Found<'_>) -> usize {
        let mut at = 0;
        let mut counted = 0;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            at += bytes_before_start(rest);
            let rest = self.text.get(at..).unwrap_or_default();
            let outcome = match_rules(rest, is_end);
            if rest.is_empty() || matches!(outcome, Some((_, Outcome::NeedsMore))) {
                break;
            }
            let Some((rule, Outcome::Match(len))) = outcome else {
                at += 1;
                continue;
            };
            self.position.advance(self.text.get(counted..at).unwrap_or_default());
            counted = at;
            let key = rest.get(..len).unwrap_or_default();
            found.add_shape(FindingKind::Shape { rule }, self.position, key);
            at += len;
        }
        self.position.advance(self.text.get(counted..at).unwrap_or_default());
        at
    }
}

/// The pairs of bytes with which keys begin, one bit each.
static PAIRS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut pairs = vec![0; 1 << 10];
    for beginning in RULES.iter().flat_map(Rule::beginnings) {
        if let [first, second, ..] = beginning.as_bytes() {
            let pair = u16::from_be_bytes([*first, *second]);
            if let Some(word) = pairs.get_mut(usize::from(pair >> 6)) {
                *word |= 1 << (pair & 63);
            }
        }
    }
    pairs
});

/// The number of bytes before the next one at which a key may begin. The last byte may be one.
fn bytes_before_start(text: &[u8]) -> usize {
    let pairs = &**PAIRS;
    let begins = |pair: &[u8]| {
        let [first, second] = pair else { return false };
        let pair = u16::from_be_bytes([*first, *second]);
        pairs.get(usize::from(pair >> 6)).is_some_and(|word| word >> (pair & 63) & 1 != 0)
    };
    text.windows(2).position(begins).unwrap_or_else(|| text.len().saturating_sub(1))
}

/// The first rule that matches at the beginning of `text`, or may do so with more of it.
fn match_rules(text: &[u8], is_end: bool) -> Option<(&'static Rule, Outcome)> {
    let outcomes = RULES.iter().map(|rule| (rule, rule.match_at(text, is_end)));
    outcomes.into_iter().find(|(_, outcome)| *outcome != Outcome::No)
}
