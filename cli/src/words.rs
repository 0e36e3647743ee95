//! What may stand at the end of a command line that is being typed. Knows the command line, and no store.

use std::collections::BTreeMap;

use clap::{Arg, Command, ValueHint};

/// The arguments that are paths of secrets, by the names of their fields.
const PATHS: [&str; 7] =
    ["path", "paths", "prefix", "exclude", "namespace", "from_namespace", "to_namespace"];
/// The stores, for `--backend`.
const BACKENDS: [&str; 5] = ["aws", "env", "hashicorp", "native", "remote"];

/// The place of the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) expected: Expected,
    /// The part of the last word that is to be completed.
    pub(crate) current: String,
    /// The part before it, such as `--format=`.
    pub(crate) prefix: String,
    /// The values of options that stand before it.
    pub(crate) values: BTreeMap<String, String>,
}

/// What may stand there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    Words(Vec<String>),
    Path,
    File,
}

/// Finds out what may stand in place of the last word.
pub(crate) fn position(root: &Command, words: &[String]) -> Position {
    let (current, before) = match words.split_last() {
        Some((current, before)) => (current.as_str(), before),
        None => ("", words),
    };
    let mut line =
        Line { command: root, positionals: 0, values: BTreeMap::new(), open: None, ended: false };
    for word in before {
        line.read(word);
    }
    line.complete(current)
}

/// What the words before the cursor have set.
struct Line<'a> {
    command: &'a Command,
    positionals: usize,
    values: BTreeMap<String, String>,
    /// The option whose value comes next.
    open: Option<&'a Arg>,
    /// Whether `--` has ended the options.
    ended: bool,
}

impl<'a> Line<'a> {
    fn read(&mut self, word: &str) {
        if let Some(option) = self.open.take() {
            self.values.insert(option.get_id().to_string(), word.to_owned());
        } else if word == "--" && !self.ended {
            self.ended = true;
        } else if let Some((option, value)) = self.option(word) {
            match value {
                Some(value) => {
                    self.values.insert(option.get_id().to_string(), value.to_owned());
                }
                None => self.open = Some(option).filter(|option| takes_value(option)),
            }
        } else if self.ended || !word.starts_with('-') {
            match self.command.find_subcommand(word) {
                Some(command) if !self.ended => self.command = command,
                _ => self.positionals += 1,
            }
        }
    }

    /// The option that a word names, and the value after its `=`.
    fn option<'w>(&self, word: &'w str) -> Option<(&'a Arg, Option<&'w str>)> {
        if self.ended || !word.starts_with('-') {
            return None;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let is_named = |argument: &&Arg| match name.strip_prefix("--") {
            Some(long) => argument.get_long() == Some(long),
            None => argument.get_short().is_some_and(|short| name.ends_with(short)),
        };
        self.command.get_arguments().find(is_named).map(|option| (option, value))
    }

    fn complete(self, current: &str) -> Position {
        let (expected, current, prefix) = if let Some(option) = self.open {
            (value_of(option), current, "")
        } else if let Some((option, Some(value))) = self.option(current) {
            let prefix = current.strip_suffix(value).unwrap_or_default();
            (value_of(option), value, prefix)
        } else if current.starts_with('-') && !self.ended {
            (Expected::Words(options(self.command)), current, "")
        } else if self.command.has_subcommands() && !self.ended {
            (Expected::Words(commands(self.command)), current, "")
        } else {
            (self.positional(), current, "")
        };
        let (current, prefix) = (current.to_owned(), prefix.to_owned());
        Position { expected, current, prefix, values: self.values }
    }

    /// The last positional argument may stand several times.
    fn positional(&self) -> Expected {
        let mut arguments = self.command.get_positionals();
        let argument = arguments.by_ref().nth(self.positionals).or_else(|| {
            let last = self.command.get_positionals().last();
            last.filter(|last| last.get_num_args().is_some_and(|count| count.max_values() > 1))
        });
        argument.map_or(Expected::Nothing, value_of)
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn value_of(argument: &Arg) -> Expected {
    let choices = argument.get_possible_values();
    let id = argument.get_id().as_str();
    match argument.get_value_hint() {
        _ if !choices.is_empty() => {
            Expected::Words(choices.iter().map(|choice| choice.get_name().to_owned()).collect())
        }
        _ if PATHS.contains(&id) => Expected::Path,
        _ if id == "backend" => Expected::Words(BACKENDS.map(str::to_owned).to_vec()),
        ValueHint::Unknown | ValueHint::Other => Expected::Nothing,
        _ => Expected::File,
    }
}

fn options(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

fn commands(command: &Command) -> Vec<String> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Position {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        position(&crate::args::command(), &words)
    }

    fn words(line: &str) -> Vec<String> {
        match at(line) {
            Position { expected: Expected::Words(words), current, .. } => {
                words.into_iter().filter(|word| word.starts_with(&current)).collect()
            }
            position => panic!("{position:?}"),
        }
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(words("ver"), ["versions"]);
        assert!(!words("").iter().any(|word| word.starts_with('_')));
    }

    #[test]
    fn an_argument_that_is_a_path_completes_to_paths() {
        for line in
            ["get open", "delete a b", "list pro", "get x --namespace st", "ls ", "set --raw op"]
        {
            assert_eq!(at(line).expected, Expected::Path, "{line}");
        }
        assert_eq!(at("rollback a 3").expected, Expected::Nothing);
    }

    #[test]
    fn an_option_and_its_value_complete() {
        assert_eq!(words("get --fi"), ["--field"]);
        assert_eq!(words("put a --tier c"), ["critical"]);
        assert_eq!(words("list --format=j"), ["json"]);
        assert_eq!(at("list --format=j").prefix, "--format=");
        assert_eq!(words("--backend n"), ["native"]);
        assert_eq!(at("put a --from-file x").expected, Expected::File);
        assert_eq!(at("put a -f x").expected, Expected::File);
        assert_eq!(at("get a --field x").expected, Expected::Nothing);
    }

    #[test]
    fn the_store_is_that_of_the_line() {
        let position = at("--backend native get --namespace=staging --config a.toml x");
        let value = |name: &str| position.values.get(name).map(String::as_str);
        assert_eq!(value("backend"), Some("native"));
        assert_eq!(value("namespace"), Some("staging"));
        assert_eq!(value("config"), Some("a.toml"));
        assert_eq!(position.expected, Expected::Path);
    }
}
