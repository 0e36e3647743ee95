//! Writers of secrets in the formats of shells, tools and platforms. They are pure, and their output is in buffers
//! that are wiped.
//!
//! No name and no value can break out of a format: a name is checked, and a value is escaped, or refused with an
//! error that names the secret. The tests read the output back with the readers that the formats are for.

mod docker;
mod dotenv;
mod fish;
pub(crate) mod gha;
mod json;
mod k8s;
mod powershell;
mod shell;
mod systemd;
mod yaml;

#[cfg(any(test, fuzzing))]
pub(crate) mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use strongroom::{Error, ErrorKind, Result, SecretPath, SecretValue};

use crate::variable;
use strongroom_core::WipedBuffer;

/// A secret with the name that it has in the output.
pub(crate) struct Entry {
    pub(crate) path: SecretPath,
    pub(crate) name: String,
    pub(crate) value: SecretValue,
}

/// A format that is one text.
#[derive(Clone, Debug)]
pub(crate) enum TextFormat {
    Dotenv,
    Json,
    Yaml,
    Docker,
    Shell,
    Fish,
    Powershell,
    K8s(k8s::Manifest),
    Systemd,
}

pub(crate) use self::k8s::Manifest;

/// Writes all entries. Names are checked here, except against the rules of one format.
pub(crate) fn write(format: &TextFormat, entries: &[Entry]) -> Result<WipedBuffer> {
    check_names(entries)?;
    match format {
        TextFormat::Dotenv => dotenv::write(entries),
        TextFormat::Json => json::write(entries),
        TextFormat::Yaml => yaml::write(entries),
        TextFormat::Docker => docker::write(entries),
        TextFormat::Shell => shell::write(entries),
        TextFormat::Fish => fish::write(entries),
        TextFormat::Powershell => powershell::write(entries),
        TextFormat::K8s(manifest) => k8s::write(manifest, entries),
        TextFormat::Systemd => systemd::write(entries),
    }
}

/// Refuses two secrets with one name.
fn check_names(entries: &[Entry]) -> Result<()> {
    let mut paths = BTreeMap::new();
    for Entry { path, name, .. } in entries {
        if let Some(other) = paths.insert(name.as_str(), path) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "rename one of them, or export one with `--only`",
            )
            .because(format!("`{other}` has the name `{name}`, too"))
            .at(path));
        }
    }
    Ok(())
}

impl Entry {
    /// The name, if it is that of an environment variable which a secret may have.
    fn variable(&self) -> Result<&str> {
        if !variable::is_name(&self.name) {
            return Err(self.bad_name("is not the name of a variable"));
        }
        self.free_name()
    }

    /// The name, unless it is that of a variable that programs obey.
    fn free_name(&self) -> Result<&str> {
        if variable::is_reserved(&self.name) {
            return Err(self.bad_name("is the name of a variable that programs obey"));
        }
        Ok(&self.name)
    }

    fn bad_name(&self, problem: &str) -> Error {
        Error::new(ErrorKind::InvalidInput, "rename the secret, or export others with `--only`")
            .because(format!("`{}` {problem}", self.name))
            .at(&self.path)
    }

    /// The value as text.
    fn text(&self) -> Result<&str> {
        self.value
            .expose_text()
            .map_err(|_| self.bad_value("the value is binary, which this format cannot hold"))
    }

    /// The value as text that an environment variable can hold.
    fn variable_text(&self) -> Result<&str> {
        let text = self.text()?;
        if text.contains('\0') {
            return Err(self.bad_value("the value has a NUL, which no variable can hold"));
        }
        Ok(text)
    }

    /// The value as text without characters for which `is_refused`.
    fn text_without(
        &self,
        is_refused: impl Fn(char) -> bool,
        problem: &'static str,
    ) -> Result<&str> {
        let text = self.variable_text()?;
        if text.contains(is_refused) { Err(self.bad_value(problem)) } else { Ok(text) }
    }

    fn bad_value(&self, problem: &'static str) -> Error {
        Error::new(
            ErrorKind::WrongType,
            "use another `--format`, or write it to a file with `get --output`",
        )
        .because(problem)
        .at(&self.path)
    }
}

/// Writes text between single quotes, with `escaped` for each single quote.
fn push_quoted(output: &mut WipedBuffer, text: &str, escaped: &str) {
    output.extend(b"'");
    for (index, part) in text.split('\'').enumerate() {
        if index > 0 {
            output.extend(escaped.as_bytes());
        }
        output.extend(part.as_bytes());
    }
    output.extend(b"'");
}
