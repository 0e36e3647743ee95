//! A slow matcher that is easy to believe, with which tests and the fuzz target compare.
//!
//! It knows the whole text, tries each literal at each start, and marks what is covered.

use strongroom_core::{SecretPath, SecretValue};

use crate::forms::Collector;
use crate::pattern::Pattern;
use crate::redactor::{KnownSecret, RedactOptions, collect};

/// The literals of a set of secrets.
pub struct Reference {
    collector: Collector,
    paths: Vec<SecretPath>,
}

/// The occurrence of a value that counts at a start.
struct Occurrence<'a> {
    first: usize,
    end: usize,
    pattern: &'a Pattern,
}

impl Reference {
    /// A reference for these secrets, each with one value and a path of its own.
    #[must_use]
    pub fn new(secrets: &[(SecretPath, SecretValue)]) -> Self {
        let known = |(path, value): &(SecretPath, SecretValue)| KnownSecret {
            path: path.clone(),
            values: vec![value.clone()],
        };
        let known: Vec<_> = secrets.iter().map(known).collect();
        let (collector, _) = collect(&known, &RedactOptions::new());
        Self { collector, paths: known.into_iter().map(|secret| secret.path).collect() }
    }

    /// The literals, in all forms.
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.collector.patterns.iter().map(|pattern| pattern.literal(&self.collector.arena))
    }

    /// The whole text, masked with the paths.
    #[must_use]
    pub fn redact(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut given, mut covered) = (0, 0);
        for start in 0..text.len() {
            let Some(found) = self.longest(text, start) else { continue };
            if found.first >= covered {
                out.extend_from_slice(text.get(given..found.first).unwrap_or_default());
                out.extend_from_slice(b"[REDACTED:");
                let path = self.paths.get(found.pattern.source as usize);
                out.extend_from_slice(path.map_or("", SecretPath::as_str).as_bytes());
                out.push(b']');
            }
            covered = covered.max(found.end);
            given = covered;
        }
        out.extend_from_slice(text.get(given..).unwrap_or_default());
        out
    }

    /// How many bytes a filter holds after it has seen this text.
    #[must_use]
    pub fn held_len(&self, text: &[u8]) -> usize {
        let is_pending = |start: &usize| {
            let rest = text.get(*start..).unwrap_or_default();
            self.collector.patterns.iter().any(|pattern| {
                let literal = pattern.literal(&self.collector.arena);
                let may_be_longer = literal.len() > rest.len() && literal.starts_with(rest);
                may_be_longer
                    || rest.starts_with(literal)
                        && pattern.tail.extent(rest.get(literal.len()..).unwrap_or_default()).1
            })
        };
        let from = (0..text.len()).find(is_pending).unwrap_or(text.len());
        let may_be_lead =
            |byte: &u8| self.collector.patterns.iter().any(|pattern| pattern.lead.matches(*byte));
        let before = from.checked_sub(1).and_then(|index| text.get(index));
        let given = if before.is_some_and(may_be_lead) { from - 1 } else { from };
        let decided = (0..from).filter_map(|start| self.longest(text, start));
        let covered = decided.map(|found| found.end).max().unwrap_or(0);
        text.len() - given.max(covered)
    }

    /// The longest occurrence that begins at a start; of several, that with the longest literal, then the first.
    fn longest(&self, text: &[u8], start: usize) -> Option<Occurrence<'_>> {
        let rest = text.get(start..)?;
        let arena = &self.collector.arena;
        let matching = self
            .collector
            .patterns
            .iter()
            .filter(|pattern| rest.starts_with(pattern.literal(arena)));
        let len = |pattern: &Pattern| {
            pattern.len + pattern.tail.extent(rest.get(pattern.len..).unwrap_or_default()).0
        };
        let has_lead = start
            .checked_sub(1)
            .and_then(|before| text.get(before))
            .is_some_and(|byte| matching.clone().any(|pattern| pattern.lead.matches(*byte)));
        // `max_by_key` takes the last of equal ones.
        let pattern = matching.rev().max_by_key(|pattern| (len(pattern), pattern.len))?;
        let first = if has_lead { start - 1 } else { start };
        Some(Occurrence { first, end: start + len(pattern), pattern })
    }
}
