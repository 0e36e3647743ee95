//! The findings of one file.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Finding, FindingKind, Position, ScanReport, Scanner};

/// The findings of one file.
///
/// A known value that has the shape of a key is one finding. The two searches advance on their own, so a shape
/// waits until it is known whether a value covers it, and a run of values until no shape can begin in it.
pub(super) struct Found<'a> {
    scanner: &'a Scanner,
    file: &'a str,
    report: ScanReport,
    known: usize,
    shapes: usize,
    /// The shapes that wait, in the order of their positions.
    waiting: VecDeque<Finding>,
    /// Where values are, in the order of their positions.
    runs: VecDeque<Range<u64>>,
}

impl<'a> Found<'a> {
    pub(super) fn new(scanner: &'a Scanner, file: &'a str) -> Self {
        Self {
            scanner,
            file,
            report: ScanReport::default(),
            known: 0,
            shapes: 0,
            waiting: VecDeque::new(),
            runs: VecDeque::new(),
        }
    }

    /// Adds a known value, unless it is ignored.
    pub(super) fn add_known(&mut self, kind: FindingKind, position: Position, secret: &[u8]) {
        if let Some(finding) = self.finding(kind, position, secret) {
            // Only values of the store count, so that texts which look like keys cannot hide one.
            self.known += 1;
            self.report(finding, self.known);
        }
    }

    /// Adds a shape, unless it is ignored.
    pub(super) fn add_shape(&mut self, kind: FindingKind, position: Position, secret: &[u8]) {
        let finding = self.finding(kind, position, secret);
        self.waiting.extend(finding);
    }

    /// Notes where values are: a new run, or more of the last one.
    pub(super) fn add_run(&mut self, run: Range<u64>) {
        match self.runs.back_mut() {
            Some(last) if last.start == run.start => last.end = run.end,
            _ => self.runs.push_back(run),
        }
    }

    /// Decides about the shapes before `known_to`, up to which values were searched for, and forgets the runs
    /// that no later shape can begin in. Shapes were searched for up to `shapes_to`.
    pub(super) fn settle(&mut self, known_to: u64, shapes_to: u64) {
        let is_decided = |next: &Finding| next.position.offset < known_to;
        while self.waiting.front().is_some_and(is_decided) {
            let Some(finding) = self.waiting.pop_front() else { break };
            let offset = finding.position.offset;
            self.forget_runs_before(offset);
            if self.runs.front().is_none_or(|run| offset < run.start) {
                self.shapes += 1;
                self.report(finding, self.shapes);
            }
        }
        let next = self.waiting.front().map_or(shapes_to, |next| next.position.offset);
        self.forget_runs_before(next);
    }

    fn forget_runs_before(&mut self, offset: u64) {
        while self.runs.front().is_some_and(|run| run.end <= offset) {
            self.runs.pop_front();
        }
    }

    /// The report, once everything is settled.
    pub(super) fn finish(mut self) -> ScanReport {
        self.report.findings.sort_by_key(|finding| finding.position.offset);
        self.report
    }

    fn finding(&mut self, kind: FindingKind, position: Position, secret: &[u8]) -> Option<Finding> {
        let Self { scanner, file, report, .. } = self;
        let fingerprint = scanner.ignore.key().fingerprint(&kind, file, secret);
        if scanner.ignore.contains(&fingerprint) {
            report.ignored += 1;
            return None;
        }
        Some(Finding { fingerprint, kind, file: (*file).to_owned(), position })
    }

    /// Reports a finding, which is the `number`th of its kind.
    fn report(&mut self, finding: Finding, number: usize) {
        if number > Scanner::MAX_FINDINGS {
            self.report.left_out += 1;
        } else {
            self.report.findings.push(finding);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.runs.len()
    }
}
