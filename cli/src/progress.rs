//! How far long work has come, on standard error of a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::output::{Stderr, Stdout};

/// How often the line is drawn at most, for work in many small steps.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line that is drawn again as the work goes on, and removed at its end. There is none if standard output is the
/// terminal, where the results themselves appear.
pub(crate) struct Progress {
    is_shown: bool,
    count: usize,
    /// How much there is to do, if that is known.
    total: Option<usize>,
    drawn_at: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(context: &Context, stdout: &Stdout, total: usize) -> Self {
        let is_shown = !context.globals().quiet
            && total > 1
            && std::io::stderr().is_terminal()
            && !stdout.is_terminal();
        Self { is_shown, count: 0, total: Some(total), drawn_at: None }
    }

    /// The progress of work that prints its results at its end, and does not know how much there is to do.
    pub(crate) fn of_search(context: &Context) -> Self {
        let is_shown = !context.globals().quiet && std::io::stderr().is_terminal();
        Self { is_shown, count: 0, total: None, drawn_at: None }
    }

    /// One more is done.
    pub(crate) fn advance(&mut self) {
        self.count += 1;
        if !self.is_shown || self.drawn_at.is_some_and(|drawn| drawn.elapsed() < INTERVAL) {
            return;
        }
        self.drawn_at = Some(Instant::now());
        // If standard error cannot be written to, there is no place left to say so.
        let _ = match self.total {
            Some(total) => write!(Stderr, "\r{} of {total}", self.count),
            None => write!(Stderr, "\r{} texts searched", self.count),
        };
    }

    /// Removes the line, before another one is printed.
    pub(crate) fn clear(&mut self) {
        if self.drawn_at.take().is_some() {
            let _ = write!(Stderr, "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
