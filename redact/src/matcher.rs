//! The pure core of the redactor: from a text that arrives in pieces to what may be given out.
//!
//! The text is covered by the occurrences of all patterns. Occurrences that overlap form a run; a run is replaced
//! once. The result depends on the text and the patterns alone, not on the pieces.
//!
//! | state of a start | when | what follows |
//! |---|---|---|
//! | decided, no match | no pattern matches there, with any text after it | the byte may be given out |
//! | decided, match | the longest pattern there is known | its bytes are covered |
//! | pending | a pattern, or a longer one, may match there | the text is held from here on |
//!
//! Starts are decided in their order, so there is one pending start, the first: [`Cursor::from`]. What it holds is the
//! longest suffix of the text that may become a match; one byte more if that may be a character before a form in
//! base64.

use crate::filter::Filter;
use crate::forms::Collector;
use crate::pattern::{Candidate, Examined, Match, Pattern, Patterns};
use strongroom_core::WipedBuffer;

/// How much of a long piece is searched at a time, so that it stays in the processor's cache.
const BLOCK: usize = 32 * 1024;
/// How much of a piece is appended to the text that is held, before the rest is searched where it is.
const BRIDGE: usize = 256;

/// Everything that is derived from the values.
pub(crate) struct Tables {
    pub(crate) patterns: Patterns,
    filter: Filter,
}

impl Tables {
    pub(crate) fn new(collector: Collector) -> Self {
        let patterns = Patterns::new(collector);
        let filter = Filter::new(&patterns);
        Self { patterns, filter }
    }

    /// Finds all starts from `from` on at which a pattern may match, or may begin to, in their order.
    fn find_starts(&self, text: &[u8], from: usize, starts: &mut Vec<usize>) {
        starts.clear();
        self.filter.find_starts(text, from, starts);
        starts.sort_unstable();
        starts.dedup();
    }
}

/// Where the output goes.
pub(crate) trait Sink {
    /// Text that no pattern covers.
    fn give(&mut self, text: &[u8]);
    /// An occurrence of `pattern`, a form of `value`, which covers `text` besides what others have covered. It begins a
    /// run, or overlaps with the one before.
    fn cover(&mut self, text: &[u8], pattern: &Pattern, value: &[u8], begins_run: bool);
}

/// Where the decisions about a text stand. All numbers are indices in the text that is at hand.
#[derive(Clone, Default)]
struct Cursor {
    /// The first start that is not decided.
    from: usize,
    /// The output for the text up to here is given out.
    given: usize,
    /// The end of the last run.
    covered: usize,
    /// What is known about the start `from`.
    pending: Option<Candidate>,
}

impl Cursor {
    /// The first byte that is needed further on: the one before the next start, which may be a lead.
    fn needed(&self) -> usize {
        self.from.saturating_sub(1).min(self.given)
    }

    /// The same place in a text whose first bytes were removed.
    fn without_front(self, count: usize) -> Self {
        Self {
            from: self.from.saturating_sub(count),
            given: self.given.saturating_sub(count),
            covered: self.covered.saturating_sub(count),
            pending: self.pending,
        }
    }
}

/// A text that arrives in pieces.
#[derive(Default)]
pub(crate) struct Matcher {
    /// The end of the text, from the first byte on that is still needed.
    text: WipedBuffer,
    cursor: Cursor,
    /// Memory that is used again: the starts in one block.
    starts: Vec<usize>,
}

impl Matcher {
    /// How many bytes are held.
    pub(crate) fn held_len(&self) -> usize {
        self.text.len().saturating_sub(self.cursor.given)
    }

    /// Forgets what it knows about the pending start, because the patterns have changed.
    pub(crate) fn patterns_changed(&mut self) {
        self.cursor.pending = None;
    }

    /// Takes the next piece of the text.
    pub(crate) fn push(&mut self, tables: &Tables, piece: &[u8], sink: &mut impl Sink) {
        let mut rest = piece;
        let mut step = BRIDGE;
        while !self.text.is_empty() && !rest.is_empty() {
            let held = self.text.len();
            let (bridge, after) = rest.split_at(step.min(rest.len()));
            step = BLOCK;
            self.text.extend(bridge);
            self.cursor.advance(tables, &self.text, &mut self.starts, false, sink);
            if self.cursor.needed() < held {
                rest = after;
                self.trim();
                continue;
            }
            // All that is still needed is in the piece.
            self.cursor = std::mem::take(&mut self.cursor).without_front(held);
            self.text.clear();
            return self.push_in_place(tables, rest, bridge.len(), sink);
        }
        if !rest.is_empty() {
            self.push_in_place(tables, rest, 0, sink);
        }
    }

    /// Searches a piece where it is, from a cursor whose numbers are indices in it, and keeps its end.
    fn push_in_place(
        &mut self,
        tables: &Tables,
        piece: &[u8],
        searched: usize,
        sink: &mut impl Sink,
    ) {
        let mut end = searched;
        while end < piece.len() {
            end = piece.len().min(end + BLOCK);
            let text = piece.get(..end).unwrap_or(piece);
            self.cursor.advance(tables, text, &mut self.starts, false, sink);
        }
        let needed = self.cursor.needed();
        self.text.extend(piece.get(needed..).unwrap_or_default());
        self.cursor = std::mem::take(&mut self.cursor).without_front(needed);
    }

    /// Gives out the output for everything that is held, as if the text ended here. A value of which it has given out
    /// the beginning in this way is still found: the rest of it is covered.
    pub(crate) fn flush(&mut self, tables: &Tables, sink: &mut impl Sink) {
        let from = self.cursor.from;
        let pending = self.cursor.pending.take();
        self.cursor.advance(tables, &self.text, &mut self.starts, true, sink);
        self.cursor.from = from;
        self.cursor.pending = pending;
    }

    /// Gives out the rest, and begins with a new text.
    pub(crate) fn finish(&mut self, tables: &Tables, sink: &mut impl Sink) {
        self.cursor.advance(tables, &self.text, &mut self.starts, true, sink);
        self.cursor = Cursor::default();
        self.text.clear();
    }

    fn trim(&mut self) {
        let needed = self.cursor.needed();
        // Moving the text costs its length, so it moves only once most of it is not needed.
        if needed > self.text.len() / 2 {
            self.text.remove_front(needed);
            self.cursor = std::mem::take(&mut self.cursor).without_front(needed);
        }
    }
}

impl Cursor {
    /// Decides as many starts as it can, and gives out what may be given out. If the text is at its end, it decides
    /// all.
    fn advance(
        &mut self,
        tables: &Tables,
        text: &[u8],
        starts: &mut Vec<usize>,
        is_end: bool,
        sink: &mut impl Sink,
    ) {
        let patterns = &tables.patterns;
        if let Some(pending) = self.pending.take() {
            let before = byte_before(text, self.from);
            let rest = text.get(self.from..).unwrap_or_default();
            let examined = patterns.examine_further(rest, before, &pending);
            if !self.decide(tables, text, self.from, examined, is_end, sink) {
                return;
            }
            self.from += 1;
        }
        tables.find_starts(text, self.from, starts);
        for &start in &*starts {
            let rest = text.get(start..).unwrap_or_default();
            let examined = patterns.examine(rest, byte_before(text, start));
            if !self.decide(tables, text, start, examined, is_end, sink) {
                return;
            }
        }
        self.from = text.len();
        self.give_up_to_lead(tables, text, is_end, sink);
    }

    /// Returns whether the start is decided.
    fn decide(
        &mut self,
        tables: &Tables,
        text: &[u8],
        start: usize,
        examined: Examined,
        is_end: bool,
        sink: &mut impl Sink,
    ) -> bool {
        if examined.pending.is_some() && !is_end {
            self.from = start;
            self.pending = examined.pending;
            self.give_up_to_lead(tables, text, is_end, sink);
            return false;
        }
        if let Some(found) = examined.longest {
            self.cover(tables, text, start, &found, sink);
        }
        true
    }

    fn cover(
        &mut self,
        tables: &Tables,
        text: &[u8],
        start: usize,
        found: &Match,
        sink: &mut impl Sink,
    ) {
        let first = if found.has_lead { start - 1 } else { start };
        let end = start + found.len;
        let begins_run = first >= self.covered;
        self.give(text, first, sink);
        let newly = text.get(self.given..end).unwrap_or_default();
        let value = tables.patterns.value(&found.pattern);
        sink.cover(newly, &found.pattern, value, begins_run);
        self.given = self.given.max(end);
        self.covered = self.covered.max(end);
    }

    /// Gives out the text before `from`, but for a byte that may be the lead of a match that begins at `from`.
    fn give_up_to_lead(
        &mut self,
        tables: &Tables,
        text: &[u8],
        is_end: bool,
        sink: &mut impl Sink,
    ) {
        let may_be_lead =
            byte_before(text, self.from).is_some_and(|byte| tables.patterns.may_be_lead(byte));
        let end = if may_be_lead && !is_end { self.from - 1 } else { self.from };
        self.give(text, end, sink);
    }

    fn give(&mut self, text: &[u8], end: usize, sink: &mut impl Sink) {
        if let Some(clear) = text.get(self.given..end)
            && !clear.is_empty()
        {
            sink.give(clear);
            self.given = end;
        }
    }
}

fn byte_before(text: &[u8], start: usize) -> Option<u8> {
    text.get(start.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
