//! Finds the values of a redactor in one file.

use std::sync::Arc;

use super::{FindingKind, Found, Position};
use crate::Redactor;
use crate::matcher::{Matcher, Sink};
use crate::pattern::Pattern;
use crate::redactor::Current;

/// The scan of one file for known values.
pub(super) struct KnownScan {
    current: Arc<Current>,
    matcher: Matcher,
    place: Place,
}

/// Where the scan is.
struct Place {
    position: Position,
    /// Where the last run begins, and the secrets in it.
    run: Position,
    sources_in_run: Vec<u32>,
}

impl KnownScan {
    pub(super) fn new(redactor: &Redactor) -> Self {
        let start = Position::START;
        let place = Place { position: start, run: start, sources_in_run: Vec::new() };
        Self { current: redactor.current(), matcher: Matcher::default(), place }
    }

    pub(super) fn push(&mut self, chunk: &[u8], found: &mut Found<'_>) {
        let Self { current, matcher, place } = self;
        matcher.push(&current.tables, chunk, &mut FindingSink { place, current, found });
    }

    /// How many bytes are decided.
    pub(super) fn end(&self) -> u64 {
        self.place.position.offset
    }

    pub(super) fn finish(mut self, found: &mut Found<'_>) {
        let Self { current, matcher, place } = &mut self;
        matcher.finish(&current.tables, &mut FindingSink { place, current, found });
    }
}

struct FindingSink<'a, 'b> {
    place: &'a mut Place,
    current: &'a Current,
    found: &'a mut Found<'b>,
}

impl Sink for FindingSink<'_, '_> {
    fn give(&mut self, text: &[u8]) {
        self.place.position.advance(text);
    }

    fn cover(&mut self, text: &[u8], pattern: &Pattern, value: &[u8], begins_run: bool) {
        let place = &mut *self.place;
        if begins_run {
            place.run = place.position;
            place.sources_in_run.clear();
        }
        place.position.advance(text);
        self.found.add_run(place.run.offset..place.position.offset);
        // A document and its fields overlap: each secret is found once per run.
        if place.sources_in_run.contains(&pattern.source) {
            return;
        }
        place.sources_in_run.push(pattern.source);
        if let Some(path) = self.current.paths.get(pattern.source as usize) {
            let kind = FindingKind::Known { path: path.clone(), form: pattern.form };
            self.found.add_known(kind, place.run, value);
        }
    }
}
