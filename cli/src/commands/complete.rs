//! `__complete`: the words that may stand where the cursor is. Lists paths, and never reads a value.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use strongroom::{Capability, SecretPath};

use super::Run;
use crate::args::{self, Globals};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Stdout;
use crate::words::{self, Expected, Position};

/// How long a shell waits for paths, and how many it gets.
const TIME: Duration = Duration::from_secs(2);
const MAX_PATHS: usize = 20_000;

/// What a shell gets where a file is expected.
const FILES: &str = ":files";

/// Complete a word for a shell
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Complete {
    /// The words after the command's name, the last of which is to be completed
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Run for Complete {
    async fn run(self, _context: &Context) -> Outcome {
        let position = words::position(&args::command(), &self.words);
        let candidates = match &position.expected {
            Expected::Nothing => Vec::new(),
            Expected::File => vec![FILES.to_owned()],
            Expected::Words(words) => words.clone(),
            Expected::Path => {
                let context = Context::new(globals(&position));
                let paths = tokio::time::timeout(TIME, paths(&context, &position.current)).await;
                context.close().await;
                paths.ok().flatten().unwrap_or_default()
            }
        };
        let mut output = String::new();
        for candidate in candidates {
            if candidate == FILES {
                output.push_str(FILES);
                output.push('\n');
            } else if candidate.starts_with(&position.current) {
                output.push_str(&position.prefix);
                output.push_str(&candidate);
                output.push('\n');
            }
        }
        Stdout::new()?.write(output.as_bytes())?;
        Ok(Exit::SUCCESS)
    }
}

/// The options of the line that is being typed.
fn globals(position: &Position) -> Globals {
    let value = |name: &str| position.values.get(name).cloned();
    Globals {
        backend: value("backend"),
        namespace: value("namespace").and_then(|text| args::parse_prefix(&text).ok()),
        config: value("config").map(PathBuf::from),
        format: None,
        quiet: true,
        no_input: true,
    }
}

/// Paths that begin with `current`, up to the next `/`.
async fn paths(context: &Context, current: &str) -> Option<Vec<String>> {
    let secrets = context.secrets().await.ok()?;
    if !secrets.backend().capabilities.has(Capability::List) {
        return None;
    }
    let folder = current.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !folder.is_empty() && SecretPath::parse(folder).is_err() {
        return None;
    }
    let mut names = secrets.list(folder);
    let mut found = BTreeSet::new();
    for _ in 0..MAX_PATHS {
        let Some(Ok(name)) = names.next().await else { break };
        let Some(rest) = name.as_str().strip_prefix(current) else { continue };
        let end = rest.find('/').map_or(rest.len(), |slash| slash + 1);
        found.insert(format!("{current}{}", rest.get(..end).unwrap_or_default()));
    }
    Some(found.into_iter().collect())
}
