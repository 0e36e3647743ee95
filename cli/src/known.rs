//! The values that output is searched for: all of the store, old and new while a secret changes.

mod follow;
mod scope;

use clap::Args;
use strongroom::{SecretPath, SecretValue, Tier};
use strongroom_redact::{RedactOptions, Redactor, Skipped, is_common};

pub(crate) use self::follow::{Changes, follow, learn};
pub(crate) use self::scope::{Known, Scope};
use crate::args::parse_prefix;
use crate::context::Context;

/// Values of fewer bytes are in ordinary text more often than in a leak.
const SHORT: usize = 8;
/// How many paths a note names.
const MAX_NAMES: usize = 10;

/// The options that leave values out.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Leave out this secret and those below it; may be given several times
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    exclude: Vec<SecretPath>,
    /// Leave out values of fewer bytes; the least is 4
    #[arg(long, value_name = "BYTES")]
    min_length: Option<usize>,
}

impl Filter {
    /// Whether all values count.
    pub(crate) fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.min_length.is_none()
    }

    /// Whether the values of this secret are left out.
    pub(crate) fn excludes(&self, path: &SecretPath) -> bool {
        self.exclude.iter().any(|prefix| path == prefix || path.below(prefix).is_some())
    }

    /// The options that mask all that is not left out.
    pub(crate) fn masking(&self) -> RedactOptions {
        let options = RedactOptions::new();
        match self.min_length {
            Some(bytes) => options.min_len(bytes),
            None => options,
        }
    }

    /// The options that find what is hardly ever ordinary text. A length that the caller gives is the only limit.
    pub(crate) fn finding(&self) -> RedactOptions {
        match self.min_length {
            Some(bytes) => RedactOptions::new().min_len(bytes),
            None => RedactOptions::new().min_len(SHORT).skip_common(true),
        }
    }
}

/// A redactor for a search, and the names of the values that it leaves out. Unless the caller says how long a value must
/// be, those are left out that are probably settings: of the tier `standard`, short, or common in ordinary text.
pub(crate) fn searched(values: Vec<Known>, filter: &Filter) -> (Redactor, Vec<String>) {
    let redactor = Redactor::with_options(filter.finding());
    let is_setting = |known: &Known| filter.min_length.is_none() && known.tier == Tier::Standard;
    let (settings, values): (Vec<_>, Vec<_>) = values.into_iter().partition(is_setting);
    let skipped = redactor.add(values.into_iter().map(|known| (known.path, known.value)));
    let settings = settings.iter().map(|known| format!("`{}`", known.path));
    (redactor, settings.chain(skipped.iter().map(name)).collect())
}

/// Says which values are not looked for.
pub(crate) fn note_left_out(context: &Context, filter: &Filter, mut left_out: Vec<String>) {
    left_out.sort_unstable();
    left_out.dedup();
    let count = left_out.len();
    if count > 0 {
        let names = enumerate(left_out);
        context.note(match filter.min_length {
            Some(_) => format!("{count} values are too short to look for: {names}"),
            None => format!(
                "{count} values are too common to look for: {names}; `--min-length 4` looks for them"
            ),
        });
    }
}

fn name(Skipped { path, is_inside, .. }: &Skipped) -> String {
    if *is_inside { format!("a part of `{path}`") } else { format!("`{path}`") }
}

/// Says which values are too short to be masked, and which ones mask ordinary text.
pub(crate) fn warn_of_masks(
    context: &Context,
    options: &RedactOptions,
    values: &[(SecretPath, SecretValue)],
    skipped: &[Skipped],
) {
    for Skipped { path, is_inside, .. } in skipped {
        let what = if *is_inside { "a part of" } else { "the value of" };
        context.note(format_args!("warning: {what} `{path}` is too short to be masked"));
    }
    let masks_text = |value: &SecretValue| {
        let bytes = value.expose_bytes();
        bytes.len() >= options.min_len && (bytes.len() < SHORT || is_common(bytes))
    };
    let common = values.iter().filter(|(_, value)| masks_text(value));
    let common: Vec<_> = common.map(|(path, _)| format!("`{path}`")).collect();
    if !common.is_empty() {
        context.note(format_args!(
            "warning: ordinary text is masked, too, since these values are short or common: {}; `--exclude PATH` \
             leaves one out, `--min-length {SHORT}` the short ones",
            enumerate(common)
        ));
    }
}

/// The first names, each once, in order.
fn enumerate(mut names: Vec<String>) -> String {
    names.sort_unstable();
    names.dedup();
    let is_long = names.len() > MAX_NAMES;
    names.truncate(MAX_NAMES);
    let names = names.join(", ");
    if is_long { format!("{names}, …") } else { names }
}
