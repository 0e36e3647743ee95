//! Which secrets the child gets: the declared ones, or those that the options name.

use std::collections::BTreeMap;
use std::fmt;

use clap::Args;
use strongroom::{
    Capability, DeclaredStatus, Error, ReadOptions, Secret, SecretPath, SecretValue, SecretsManager,
};
use strongroom_redact::RedactOptions;

use crate::agent;
use crate::args::{parse_path, parse_prefix};
use crate::context::Context;
use crate::failure::Failure;
use crate::listing;
use crate::variable;

/// The options that select secrets.
#[derive(Args, Default)]
#[command(next_help_heading = "Secrets")]
pub(crate) struct Selection {
    /// These secrets, in place of the declared ones
    #[arg(long = "only", value_name = "PATH", value_delimiter = ',', value_parser = parse_path)]
    paths: Vec<SecretPath>,
    /// All secrets below this prefix, in place of the declared ones
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    prefix: Vec<SecretPath>,
    /// A secret or a field of it under a name of your choice
    #[arg(long, value_name = "NAME=PATH[#FIELD]", value_parser = parse_assignment)]
    env: Vec<Assignment>,
    /// A secret or a field of it as a file, whose path the variable NAME holds
    #[arg(long, value_name = "NAME=PATH[#FIELD]", value_parser = parse_assignment)]
    file: Vec<Assignment>,
    /// The declared secrets as well as those that other options select
    #[arg(long)]
    declared: bool,
    /// Also a declared secret that is optional must be there
    #[arg(long)]
    strict: bool,
}

/// How a secret reaches the child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The value of this variable.
    Variable(String),
    /// A file, whose path is the value of this variable.
    File(String),
}

impl Target {
    /// The name of the variable.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Variable(name) | Self::File(name) => name,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    path: SecretPath,
    field: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "`{}#{field}`", self.path),
            None => write!(f, "`{}`", self.path),
        }
    }
}

/// A value on its way to the child.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) target: Target,
    pub(crate) source: Source,
    pub(crate) value: SecretValue,
}

impl Binding {
    /// The path of the secret.
    pub(crate) fn path(&self) -> &SecretPath {
        &self.source.path
    }

    /// What this secret has where the value came from.
    pub(crate) fn read(&self, secret: &Secret) -> Result<SecretValue, Error> {
        self.source.read(secret)
    }

    /// Checks that a value can be masked in output, which nothing of an empty one reaches.
    pub(crate) fn check_mask(&self, value: &SecretValue) -> Result<(), Failure> {
        let is_short = !value.is_empty() && value.len() < RedactOptions::new().min_len;
        if is_short { Err(agent::refuse_short(&self.source)) } else { Ok(()) }
    }

    /// Checks that a value can be what it is to be.
    pub(crate) fn check(&self, value: &SecretValue) -> Result<(), Failure> {
        let Self { target: Target::Variable(name), source, .. } = self else { return Ok(()) };
        let bytes = value.expose_bytes();
        if bytes.contains(&0) {
            return Err(Failure::usage(format!(
                "the value of {source} has a NUL byte, so that it cannot be the variable `{name}`; use `--file`"
            )));
        }
        if name.len() + bytes.len() + 2 > MAX_VARIABLE {
            return Err(Failure::usage(format!(
                "the value of {source} is larger than 128 KiB, so that it cannot be the variable `{name}`; use \
                 `--file`"
            )));
        }
        Ok(())
    }
}

/// The largest variable that Linux passes to a program, with its name, `=` and the end: 32 pages of 4 KiB
/// (`MAX_ARG_STRLEN`, execve(2)).
const MAX_VARIABLE: usize = 32 * 4096;

impl Source {
    fn read(&self, secret: &Secret) -> Result<SecretValue, Error> {
        match &self.field {
            Some(field) => secret.field(field),
            None => Ok(secret.value().clone()),
        }
    }
}

#[derive(Clone, Debug)]
struct Assignment {
    name: String,
    source: Source,
}

/// Errors do not repeat the text, which may be a value.
fn parse_assignment(text: &str) -> Result<Assignment, String> {
    let (name, source) = text.split_once('=').ok_or("write it as `NAME=PATH`")?;
    if !variable::is_name(name) {
        return Err("the name has letters, digits and `_`, and begins with no digit".to_owned());
    }
    let (path, field) = match source.split_once('#') {
        Some((_, "")) => {
            return Err("the field is empty; remove `#` for the whole value".to_owned());
        }
        Some((path, field)) => (path, Some(field.to_owned())),
        None => (source, None),
    };
    let path = parse_path(path).map_err(|error| error.cause().to_string())?;
    Ok(Assignment { name: name.to_owned(), source: Source { path, field } })
}

impl Selection {
    /// Whether a secret is to be a file.
    pub(crate) fn has_files(&self) -> bool {
        !self.file.is_empty()
    }

    /// Reads the secrets. A missing one is an error, also if others are there.
    pub(crate) async fn read(&self, context: &Context) -> Result<Vec<Binding>, Failure> {
        let secrets = context.secrets().await?;
        let targets = self.targets(context, secrets).await?;
        let mut paths: Vec<_> = targets.values().map(|source| source.path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        let reads = secrets.get_many_with(&paths, ReadOptions::new().never_stale()).await;
        let mut found = BTreeMap::new();
        let mut errors = Vec::new();
        for (path, result) in paths.into_iter().zip(reads) {
            match result {
                Ok(secret) => drop(found.insert(path, secret)),
                Err(error) => errors.push(error),
            }
        }
        let mut bindings = Vec::with_capacity(targets.len());
        for (target, source) in targets {
            let Some(secret) = found.get(&source.path) else { continue };
            match source.read(secret) {
                Ok(value) => bindings.push(Binding { target, source, value }),
                Err(error) => errors.push(error),
            }
        }
        failure(errors).map_or(Ok(()), Err)?;
        bindings.iter().try_for_each(|binding| binding.check(&binding.value))?;
        Ok(bindings)
    }

    /// Where each variable gets its value from.
    async fn targets(
        &self,
        context: &Context,
        secrets: &SecretsManager,
    ) -> Result<BTreeMap<Target, Source>, Failure> {
        let mut targets = Targets::default();
        let is_selected = !self.paths.is_empty()
            || !self.prefix.is_empty()
            || !self.env.is_empty()
            || !self.file.is_empty();
        if self.declared || !is_selected {
            for path in self.declared(context, secrets).await? {
                targets.add_path(&path, path.clone())?;
            }
        }
        for path in &self.paths {
            targets.add_path(path, path.clone())?;
        }
        for prefix in &self.prefix {
            let namespace = context.globals().namespace.as_ref();
            let advice = "name each one with `--only`";
            for path in listing::below(secrets, namespace, Some(prefix), advice).await? {
                let below = path.below(prefix).and_then(|below| SecretPath::parse(below).ok());
                targets.add_path(below.as_ref().unwrap_or(&path), path.clone())?;
            }
        }
        for Assignment { name, source } in &self.env {
            targets.add(Target::Variable(name.clone()), source.clone())?;
        }
        for Assignment { name, source } in &self.file {
            targets.add(Target::File(name.clone()), source.clone())?;
        }
        Ok(targets.0)
    }

    /// The declared secrets that the store has, as paths in the namespace.
    async fn declared(
        &self,
        context: &Context,
        secrets: &SecretsManager,
    ) -> Result<Vec<SecretPath>, Failure> {
        let namespace = context.globals().namespace.as_ref();
        let mut paths = Vec::new();
        let mut problems = Vec::new();
        for state in secrets.check_declared().await? {
            // Declarations name secrets in full.
            let path = match namespace {
                None => state.path.clone(),
                Some(namespace) => match state.path.below(namespace).map(SecretPath::parse) {
                    Some(path) => path?,
                    None => continue,
                },
            };
            match (state.problem, state.status) {
                (Some(problem), _) => problems.push(problem),
                (None, DeclaredStatus::Absent) if self.strict => {
                    problems
                        .push(format!("`{}` is missing, and `--strict` requires it", state.path));
                }
                (None, DeclaredStatus::Absent) => {}
                (None, _) => paths.push(path),
            }
        }
        if !problems.is_empty() {
            return Err(Failure::from(Error::config(problems)));
        }
        if paths.is_empty() {
            let below = namespace.map_or_else(String::new, |path| format!(" below `{path}`"));
            let prefix = if secrets.backend().capabilities.has(Capability::List) {
                ", with `--prefix PREFIX`"
            } else {
                ""
            };
            return Err(Failure::usage(format!(
                "no secrets are declared{below}: name them with `--only PATH`{prefix} or with \
                 `--env NAME=PATH`, or declare them in a file that `--config` names"
            )));
        }
        Ok(paths)
    }
}

#[derive(Default)]
struct Targets(BTreeMap<Target, Source>);

impl Targets {
    /// Adds a secret under the name that `path` gives. A path alone never sets a variable that programs obey: it
    /// would let those who may create secrets decide what runs.
    fn add_path(&mut self, path: &SecretPath, source: SecretPath) -> Result<(), Failure> {
        let name = variable::from_path(path.as_str());
        if variable::is_reserved(&name) {
            return Err(Failure::usage(format!(
                "the secret `{source}` would set `{name}`, which changes how programs run; if that is what you mean, \
                 name it with `--env {name}={source}`"
            )));
        }
        self.add(Target::Variable(name), Source { path: source, field: None })
    }

    /// Adds a source. Two sources for one variable are an error: neither is the right one.
    fn add(&mut self, target: Target, source: Source) -> Result<(), Failure> {
        let name = target.name();
        let other = [Target::Variable(name.to_owned()), Target::File(name.to_owned())]
            .into_iter()
            .find_map(|other| Some((self.0.get(&other)?.clone(), other)));
        match other {
            Some((first, same)) if first != source || same != target => {
                Err(Failure::usage(format!(
                    "{first} and {source} are both for the variable `{name}`: give one of them another \
                     name with `--env NAME=PATH`"
                )))
            }
            _ => {
                self.0.insert(target, source);
                Ok(())
            }
        }
    }
}

/// One failure for all errors.
fn failure(mut errors: Vec<Error>) -> Option<Failure> {
    match errors.len() {
        0 => None,
        1 => errors.pop().map(Failure::from),
        count => {
            let lines: Vec<_> = errors.iter().map(|error| format!("\n  - {error}")).collect();
            let message = format!("{count} secrets cannot be read:{}", lines.concat());
            errors.pop().map(|error| Failure::from(error).with_message(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_has_a_name_a_path_and_perhaps_a_field() {
        let parsed = parse_assignment("DB_PASSWORD=db/main#password").unwrap();
        assert_eq!(parsed.name, "DB_PASSWORD");
        assert_eq!(parsed.source.to_string(), "`db/main#password`");
        assert_eq!(parse_assignment("A=b").unwrap().source.field, None);
        for text in ["", "A", "=a", "A=", "1A=b", "A-B=c", "A=b#", "A=/b", "A=#b"] {
            assert!(parse_assignment(text).is_err(), "{text}");
        }
        let error = parse_assignment("sk-0123456789").unwrap_err();
        assert!(!error.contains("0123"), "{error}");
    }

    #[test]
    fn two_secrets_for_one_variable_are_refused_and_one_secret_twice_is_not() {
        let path = |text: &str| SecretPath::parse(text).unwrap();
        let mut targets = Targets::default();
        targets.add_path(&path("db/host"), path("db/host")).unwrap();
        targets.add_path(&path("db/host"), path("db/host")).unwrap();
        let failure = targets.add_path(&path("db-host"), path("db-host")).unwrap_err();
        assert!(failure.message().contains("`db/host` and `db-host`"), "{}", failure.message());
        let source = Source { path: path("db/host"), field: None };
        assert!(targets.add(Target::File("DB_HOST".to_owned()), source).is_err());
    }
}
