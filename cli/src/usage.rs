//! Errors about the command line. clap would repeat what it does not understand, which may be a value
//! that was passed by mistake; this shows names of options and commands only.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::ValueEnum as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::{self, FormatArg};
use crate::exit::Exit;
use crate::failure::Failure;

/// The largest number of edits between a misspelt command and the one that is meant.
const MAX_EDITS: usize = 2;

/// The failure for an error of clap; help and version go to standard output instead.
pub(crate) fn failure(error: &clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render().to_string();
            match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => Failure::silent(Exit::SUCCESS),
                Err(error) => Failure::output(&error),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage(format!("no command was given\n\n{}", error.render()))
        }
        _ => Failure::usage(describe(error)),
    }
}

/// Says that a command does not have the format that was asked for.
pub(crate) fn unsupported_format(supported: &[FormatArg]) -> String {
    let names: Vec<_> = supported
        .iter()
        .filter_map(|format| Some(format!("`{}`", format.to_possible_value()?.get_name())))
        .collect();
    format!("`--format`: this command has {}", names.join(", "))
}

fn describe(error: &clap::Error) -> String {
    let argument = text(error, ContextKind::InvalidArg);
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let mut message = match error.kind() {
        ErrorKind::UnknownArgument => unknown_argument(&argument, &usage),
        ErrorKind::InvalidSubcommand => unknown_command(error),
        ErrorKind::InvalidValue if text(error, ContextKind::InvalidValue).is_empty() => {
            format!("`{argument}` needs a value")
        }
        ErrorKind::InvalidValue => format!("`{argument}` does not take this value"),
        ErrorKind::ValueValidation => {
            let source = std::error::Error::source(error);
            let reason = source.map_or_else(String::new, |source| format!(": {source}"));
            format!("`{argument}` is not valid{reason}")
        }
        ErrorKind::MissingRequiredArgument => format!("missing: {argument}"),
        ErrorKind::ArgumentConflict => {
            let other = text(error, ContextKind::PriorArg);
            if other.is_empty() {
                format!("`{argument}` cannot be given here")
            } else if other == argument {
                format!("`{argument}` is given twice")
            } else {
                format!("`{argument}` cannot be given with `{other}`")
            }
        }
        ErrorKind::MissingSubcommand => "no command was given".to_owned(),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        ErrorKind::NoEquals => format!("write `{argument}` with `=` and a value"),
        _ => "the arguments are not valid".to_owned(),
    };
    let choices = text(error, ContextKind::ValidValue);
    if !choices.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(message, "; use one of {choices}");
    }
    for kind in
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
    {
        let suggestions = text(error, kind);
        // The best one is the last one.
        let shown = |name: &&str| !name.is_empty() && !name.starts_with("__");
        if let Some(best) = suggestions.rsplit(", ").find(shown) {
            let _ = write!(message, "; did you mean `{best}`?");
        }
    }
    if !usage.is_empty() {
        let _ = write!(message, "\n{usage}");
    }
    message
}

/// clap suggests a command that is similar by its own measure; this adds one that is few edits away.
fn unknown_command(error: &clap::Error) -> String {
    let message = "there is no such command".to_owned();
    if !text(error, ContextKind::SuggestedSubcommand).is_empty() {
        return message;
    }
    let given = text(error, ContextKind::InvalidSubcommand);
    let edits = |name: &String| strsim::damerau_levenshtein(name, &given);
    let shown = args::command();
    let names = shown.get_subcommands().filter(|command| !command.is_hide_set());
    match names.map(|command| command.get_name().to_owned()).min_by_key(edits) {
        Some(name) if edits(&name) <= MAX_EDITS => format!("{message}; did you mean `{name}`?"),
        _ => message,
    }
}

/// An option is named; anything else may be a value.
fn unknown_argument(argument: &str, usage: &str) -> String {
    let name = argument.split('=').next().unwrap_or_default();
    let is_option = name.len() <= 24
        && name.strip_prefix("--").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        });
    if is_option {
        format!("there is no option `{name}`")
    } else if name.starts_with('-') {
        "there is no such option; it is not shown, since it may be a value".to_owned()
    } else if usage.contains(" put ") {
        "a value is never an argument, where other users and the shell's history see it: pipe it, or use \
         `--from-file`"
            .to_owned()
    } else {
        "there is an argument too many; it is not shown, since it may be a value".to_owned()
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}
