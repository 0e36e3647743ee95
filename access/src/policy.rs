//! A policy: rules of the host in Rego, which narrow what grants and tiers allow.

mod compile;
#[cfg(feature = "rego")]
mod engine;
mod input;
mod loaded;
mod trial;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use strongroom_core::FilePath;

pub(crate) use self::input::PolicyInput;
pub(crate) use self::loaded::{LoadedPolicy, PolicyCell};
pub use self::trial::{PolicyTrial, TrialDenial};

/// The most bytes of all modules of a policy together.
const MAX_BYTES: u64 = 1024 * 1024;
/// The most modules of a policy.
const MAX_MODULES: usize = 64;

/// A policy in Rego: one or several modules in the syntax of version 1, of which one has the package
/// `strongroom.access` with the set `deny`.
///
/// Each text in `deny` is a reason for which the access is denied; an empty set leaves it to grants and tiers. The input
/// of a decision is in the guide, under "Policy". It needs the cargo feature `rego`.
///
/// # Examples
/// ```
/// use strongroom_access::{AccessConfig, Policy};
///
/// let policy = Policy::from_text(
///     "production.rego",
///     r#"
///     package strongroom.access
///
///     deny contains "researchers read no production secrets" if {
///         input.principal.role == "researcher"
///         startswith(input.path, "production/")
///     }
///     "#,
/// );
/// let config = AccessConfig::in_memory().policy(policy);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    sources: Vec<Source>,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Text { name: String, text: String },
}

/// A module with its text.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(&FilePath::new(path)).finish(),
            Self::Text { name, .. } => f.debug_tuple("Text").field(name).finish(),
        }
    }
}

impl Policy {
    /// A policy of one file, which is read when the policy is loaded.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::default().file(path)
    }

    /// A policy of one module. `name` stands in problems and in the audit.
    #[must_use]
    pub fn from_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::default().text(name, text)
    }

    /// Adds a file, which is read when the policy is loaded.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.push(Source::File(path.into()));
        self
    }

    /// Adds a module. `name` stands in problems and in the audit.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.sources.push(Source::Text { name: name.into(), text: text.into() });
        self
    }

    /// The paths of its files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Text { .. } => None,
        })
    }

    /// Reads the modules. The problems show no content.
    fn read(&self) -> Result<Vec<Module>, Vec<String>> {
        let (mut modules, mut problems) = (Vec::new(), Vec::new());
        if self.sources.is_empty() || self.sources.len() > MAX_MODULES {
            problems.push(format!("use 1 to {MAX_MODULES} modules"));
        }
        for source in &self.sources {
            match source.read() {
                Ok(module) => modules.push(module),
                Err(problem) => problems.push(problem),
            }
        }
        let bytes = modules.iter().map(|module| module.text.len()).sum::<usize>();
        if u64::try_from(bytes).is_ok_and(|bytes| bytes > MAX_BYTES) {
            problems.push(format!("the modules have over {MAX_BYTES} bytes"));
        }
        let mut names: Vec<_> = modules.iter().map(|module| &module.name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [one, two] if one == two)) {
            problems.push("two modules have the same name; rename one".to_owned());
        }
        if problems.is_empty() { Ok(modules) } else { Err(problems) }
    }
}

impl Source {
    fn read(&self) -> Result<Module, String> {
        let (name, text) = match self {
            Self::Text { name, text } => (name.clone(), text.clone()),
            Self::File(path) => {
                let shown = FilePath::new(path);
                let content = shown
                    .read(MAX_BYTES)
                    .map_err(|error| format!("{shown}: {}", crate::open::describe(&error)))?;
                let text = String::from_utf8(content.to_vec())
                    .map_err(|_| format!("{shown}: it is not text"))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, text)
            }
        };
        if !crate::text::is_plain(&name) || name.is_empty() {
            return Err("the name of a module is not plain text".to_owned());
        }
        // Messages about other files would show what is in them.
        if !has_package(&text) {
            return Err(format!("{name}: it is not a module; begin it with `package`"));
        }
        Ok(Module { name, text })
    }
}

/// Whether the first line that is no comment declares a package.
fn has_package(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.starts_with("package ") || line.trim_end() == "package")
}

/// The SHA-256 of the modules, each with the lengths of its name and its text in 8 bytes before them.
fn digest(modules: &[Module]) -> String {
    let mut hasher = Sha256::new();
    for text in modules.iter().flat_map(|module| [&module.name, &module.text]) {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests;
