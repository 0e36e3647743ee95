//! Secrets that a service declares, so that a missing or malformed one is reported at startup.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex_lite::Regex;
use strongroom_core::{
    Backend, Error, ErrorKind, ExposeSecret, Problems, Result, Secret, SecretPath, SecretString,
    SecretValue,
};

use crate::SecretsManager;
use crate::config_value::ConfigValue;

/// A secret that the service will read. When the manager is opened, every declared secret is read
/// and checked, and one error names all that are missing, malformed or cannot be read.
///
/// # Examples
/// ```
/// use strongroom::{Config, Declared};
///
/// let config = Config::from_env()
///     .declare(Declared::required("openai/api-key").pattern("^sk-[A-Za-z0-9]{20,}$"))
///     .declare(Declared::optional("openai/model").default_value("gpt-5"));
/// ```
#[derive(Clone, Debug)]
pub struct Declared {
    /// `None` if the text is not a path; errors do not repeat it, since it may be a value.
    path: Option<SecretPath>,
    required: bool,
    default_value: Option<SecretString>,
    pattern: Option<String>,
}

impl Declared {
    /// A secret without which the service cannot start.
    #[must_use]
    pub fn required(path: impl AsRef<str>) -> Self {
        Self {
            path: SecretPath::parse(path.as_ref()).ok(),
            required: true,
            default_value: None,
            pattern: None,
        }
    }

    /// A secret that may be missing.
    #[must_use]
    pub fn optional(path: impl AsRef<str>) -> Self {
        Self { required: false, ..Self::required(path) }
    }

    /// The value that `get` returns, as version `default`, while the store has no such secret;
    /// `exists` is true then, but `list` and `describe` do not show it. It never replaces a secret that
    /// is expired or may not be read.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<SecretString>) -> Self {
        self.default_value = Some(value.into());
        self
    }

    /// A regular expression, in the syntax of the crate `regex-lite`, that the value must match.
    /// Anchor it with `^` and `$` to check the whole value. A default is not checked.
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// Reads an entry of `declare` in a configuration file; `None` after a problem.
    pub(crate) fn from_value(
        value: ConfigValue,
        index: usize,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entry = format!("`declare[{index}]`");
        let ConfigValue::Table(members) = value else {
            problems.add(format!("{entry} is not a table with a `path`"));
            return None;
        };
        let mut declared = Self::required("");
        for (key, value) in members {
            match (key.as_str(), value) {
                ("path", ConfigValue::Scalar(path)) => {
                    declared.path = SecretPath::parse(path.expose_secret()).ok();
                }
                ("default", ConfigValue::Scalar(value)) => declared.default_value = Some(value),
                ("pattern", ConfigValue::Scalar(pattern)) => {
                    declared.pattern = Some(pattern.expose_secret().to_owned());
                }
                ("required", ConfigValue::Scalar(flag)) => match flag.expose_secret() {
                    "true" => declared.required = true,
                    "false" => declared.required = false,
                    _ => problems.add(format!("`required` in {entry} is not true or false")),
                },
                ("path" | "default" | "pattern" | "required", _) => {
                    problems.add(format!("`{key}` in {entry} is not a plain value"));
                }
                _ => problems.add(format!(
                    "`{key}` in {entry} is not a key of it; use `path`, `required`, `default` or \
                     `pattern`"
                )),
            }
        }
        Some(declared)
    }
}

/// What the store has of a declared secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeclaredState {
    /// The path.
    pub path: SecretPath,
    /// Whether the service needs it.
    pub required: bool,
    /// What the store has.
    pub status: DeclaredStatus,
    /// What is wrong and what to do, for a person; `None` if nothing is wrong.
    pub problem: Option<String>,
}

/// Whether the store has a declared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeclaredStatus {
    /// The store has it, and it matches its pattern.
    Present,
    /// The store does not have it; its default is used.
    Default,
    /// The store does not have it, and it is optional.
    Absent,
    /// The store does not have it, and it is required.
    Missing,
    /// It does not match its pattern.
    Malformed,
    /// It cannot be read, for this reason.
    Unreadable(ErrorKind),
}

/// Declarations with valid paths and patterns.
#[derive(Debug, Default)]
pub(crate) struct Declarations(Vec<Declaration>);

#[derive(Debug)]
struct Declaration {
    path: SecretPath,
    required: bool,
    default_value: Option<SecretValue>,
    pattern: Option<Regex>,
}

impl Declarations {
    /// Checks paths and patterns.
    pub(crate) fn validate(declared: Vec<Declared>, problems: &mut Problems) -> Self {
        let mut declarations = Vec::with_capacity(declared.len());
        for (index, Declared { path, required, default_value, pattern }) in
            declared.into_iter().enumerate()
        {
            let Some(path) = path else {
                problems.add(format!(
                    "`declare[{index}]` has no valid path; use one such as `openai/api-key`"
                ));
                continue;
            };
            let pattern = pattern.map(|pattern| Regex::new(&pattern));
            if let Some(Err(_)) = pattern {
                problems.add(format!(
                    "the pattern declared for `{path}` is not a valid regular expression"
                ));
            }
            let default_value = default_value.map(SecretValue::from);
            let pattern = pattern.and_then(Result::ok);
            declarations.push(Declaration { path, required, default_value, pattern });
        }
        Self(declarations)
    }

    /// The values that `get` returns while the store has no such secret.
    pub(crate) fn defaults(&self) -> BTreeMap<SecretPath, SecretValue> {
        let with_default = |declaration: &Declaration| {
            Some((declaration.path.clone(), declaration.default_value.clone()?))
        };
        self.0.iter().filter_map(with_default).collect()
    }

    fn paths(&self) -> Vec<SecretPath> {
        self.0.iter().map(|declaration| declaration.path.clone()).collect()
    }

    /// Checks what reading every declared secret has given.
    ///
    /// # Errors
    /// An error that concerns the whole store, or is temporary.
    fn check(
        &self,
        secrets: &SecretsManager,
        reads: Vec<Result<Secret>>,
    ) -> Result<Vec<DeclaredState>> {
        let mut states = Vec::with_capacity(reads.len());
        for (declaration, result) in self.0.iter().zip(reads) {
            let (status, problem) = match result {
                Ok(secret) => declaration.check_pattern(&secret, &*secrets.shared.backend),
                Err(error) if is_about_the_store(&error) => return Err(error),
                Err(error) => declaration.check_absence(&error, secrets),
            };
            let Declaration { path, required, .. } = declaration;
            states.push(DeclaredState { path: path.clone(), required: *required, status, problem });
        }
        Ok(states)
    }

    /// Reads and checks every declared secret.
    ///
    /// # Errors
    /// `Config` with every secret that is missing, malformed or cannot be read; otherwise as
    /// [`check`](Self::check).
    pub(crate) async fn require(&self, secrets: &SecretsManager) -> Result<()> {
        let reads = secrets.get_many(&self.paths()).await;
        let mut problems = Problems::new();
        for state in self.check(secrets, reads)? {
            if let Some(problem) = state.problem {
                problems.add(problem);
            }
        }
        problems.into_result()
    }
}

impl SecretsManager {
    /// Reads every declared secret again and tells which of them the store has, without their values.
    ///
    /// # Errors
    /// An error that concerns the whole store, such as [`ErrorKind::Unauthenticated`], or a temporary one.
    pub async fn check_declared(&self) -> Result<Vec<DeclaredState>> {
        let Some(declarations) = self.shared.declarations.get() else { return Ok(Vec::new()) };
        // Declarations name secrets in full.
        let secrets = Self { shared: Arc::clone(&self.shared), namespace: None };
        let reads = secrets.read_many_fresh(&declarations.paths()).await;
        declarations.check(&secrets, reads)
    }
}

fn is_about_the_store(error: &Error) -> bool {
    error.is_temporary() || matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unauthenticated)
}

impl Declaration {
    fn check_absence(
        &self,
        error: &Error,
        secrets: &SecretsManager,
    ) -> (DeclaredStatus, Option<String>) {
        let Self { path, required, default_value, .. } = self;
        let location = secrets.shared.backend.locate(path);
        match error.kind() {
            ErrorKind::NotFound if *required && default_value.is_none() => {
                let note = secrets.shared.default_backend_note.get();
                let note = note.map_or_else(String::new, |note| format!("; {note}"));
                let problem = format!("`{path}` is missing: set {location}{note}");
                (DeclaredStatus::Missing, Some(problem))
            }
            ErrorKind::NotFound if default_value.is_some() => (DeclaredStatus::Default, None),
            ErrorKind::NotFound => (DeclaredStatus::Absent, None),
            kind => {
                let advice = error.advice();
                let problem =
                    format!("`{path}` cannot be read: {kind}; {advice}; it is {location}");
                (DeclaredStatus::Unreadable(kind), Some(problem))
            }
        }
    }

    fn check_pattern(
        &self,
        secret: &Secret,
        backend: &dyn Backend,
    ) -> (DeclaredStatus, Option<String>) {
        let matches = |pattern: &Regex| secret.expose_text().is_ok_and(|t| pattern.is_match(t));
        match &self.pattern {
            Some(pattern) if !matches(pattern) => {
                let location = backend.locate(&self.path);
                let problem = format!(
                    "`{}` does not match the pattern `{}`: correct {location}",
                    self.path,
                    pattern.as_str()
                );
                (DeclaredStatus::Malformed, Some(problem))
            }
            _ => (DeclaredStatus::Present, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::{
        BackendInfo, Capabilities, Health, HealthStatus, Metadata, VersionSelector, async_trait,
    };

    use super::*;

    /// A store that answers as the first segment of the path says.
    #[derive(Debug)]
    struct Scripted(BackendInfo);

    #[async_trait]
    impl Backend for Scripted {
        fn info(&self) -> &BackendInfo {
            &self.0
        }

        async fn get(&self, path: &SecretPath, _version: &VersionSelector) -> Result<Secret> {
            let kind = match path.segments().next() {
                Some("expired") => ErrorKind::Expired,
                Some("denied") => ErrorKind::Denied,
                Some("corrupt") => ErrorKind::Corrupt,
                Some("missing") => ErrorKind::NotFound,
                Some("down") => ErrorKind::Unavailable,
                Some("stranger") => ErrorKind::Unauthenticated,
                _ => {
                    let metadata = Metadata::default();
                    return Ok(Secret::new(path.clone(), 1.into(), metadata, "hunter2".into()));
                }
            };
            Err(Error::new(kind, "take action"))
        }

        async fn health(&self) -> Result<Health> {
            Ok(Health::new(HealthStatus::Ready))
        }
    }

    async fn check(declared: Vec<Declared>) -> Error {
        let info = BackendInfo::new("scripted", "the script", Capabilities::none());
        let secrets = SecretsManager::with_backend(Scripted(info));
        let mut problems = Problems::new();
        let declarations = Declarations::validate(declared, &mut problems);
        problems.into_result().unwrap();
        declarations.require(&secrets).await.unwrap_err()
    }

    #[tokio::test]
    async fn every_secret_that_cannot_be_read_is_named_at_once() {
        let error = check(vec![
            Declared::required("expired/a"),
            Declared::required("missing/a"),
            Declared::optional("denied/a").default_value("gpt-5"),
            Declared::optional("missing/b"),
            Declared::optional("corrupt/a"),
            Declared::required("there/a").pattern("^sk-"),
        ])
        .await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.problems(),
            [
                "`expired/a` cannot be read: expired; take action; it is `expired/a` in \
                 the script",
                "`missing/a` is missing: set `missing/a` in the script",
                "`denied/a` cannot be read: permission denied; take action; it is \
                 `denied/a` in the script",
                "`corrupt/a` cannot be read: corrupt; take action; it is `corrupt/a` in \
                 the script",
                "`there/a` does not match the pattern `^sk-`: correct `there/a` in the script",
            ]
        );
    }

    #[tokio::test]
    async fn an_error_of_the_whole_store_is_not_a_problem_of_a_secret() {
        for (path, kind) in
            [("down/a", ErrorKind::Unavailable), ("stranger/a", ErrorKind::Unauthenticated)]
        {
            let declared = vec![Declared::required("expired/a"), Declared::required(path)];
            assert_eq!(check(declared).await.kind(), kind);
        }
    }
}
