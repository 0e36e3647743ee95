//! Warnings of the library, on standard error.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use strongroom_core::EscapedText;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::output::Stderr;

/// Prints warnings from now on, unless the command is to be quiet.
pub(crate) fn init(quiet: bool) {
    if !quiet {
        // The process has no other subscriber.
        let _ = tracing::subscriber::set_global_default(Warnings);
    }
}

/// Prints events of Strongroom that are warnings or errors.
struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("strongroom")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::WARN)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        // A failure to write to standard error cannot be reported.
        let _ = writeln!(Stderr, "warning: {}{fields}", EscapedText::clause(&message));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            let value = format!("{value:?}");
            write!(self.fields, " {}={}", field.name(), EscapedText::clause(&value))
        };
    }
}
