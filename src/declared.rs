//! Secrets that a service declares, so that what is missing or malformed is known at startup.

use std::collections::BTreeMap;

use regex_lite::Regex;
use strongroom_core::{
    Backend, ErrorKind, ExposeSecret, Problems, Result, Secret, SecretPath, SecretString,
    SecretValue,
};

use crate::SecretsManager;
use crate::source::Source;

/// A secret that the service will read. When the manager is opened, every declared secret is read
/// and checked, and one error names all that are missing or malformed.
///
/// # Examples
/// ```
/// use strongroom::{Config, Declared};
///
/// let config = Config::from_env()
///     .declare(Declared::required("openai/api-key").format("^sk-[A-Za-z0-9]{20,}$"))
///     .declare(Declared::optional("openai/model").default("gpt-5"));
/// ```
#[derive(Clone, Debug)]
pub struct Declared {
    /// `None` if what was given is not a path; it may have been a value.
    path: Option<SecretPath>,
    required: bool,
    default: Option<SecretString>,
    format: Option<String>,
}

impl Declared {
    /// A secret without which the service cannot start.
    #[must_use]
    pub fn required(path: impl AsRef<str>) -> Self {
        Self {
            path: SecretPath::parse(path.as_ref()).ok(),
            required: true,
            default: None,
            format: None,
        }
    }

    /// A secret that may be missing.
    #[must_use]
    pub fn optional(path: impl AsRef<str>) -> Self {
        Self { required: false, ..Self::required(path) }
    }

    /// What `get` answers, as version `default`, while the store has no such secret; `exists` is
    /// true then, but nothing is listed or described. A secret that is expired or may not be read is
    /// never replaced by it.
    #[must_use]
    pub fn default(mut self, value: impl Into<SecretString>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// A regular expression, in the syntax of the crate `regex-lite`, that the value must match.
    /// Anchor it with `^` and `$` to check the whole value. A default is not checked.
    #[must_use]
    pub fn format(mut self, pattern: impl Into<String>) -> Self {
        self.format = Some(pattern.into());
        self
    }

    /// Understands an entry of `declare` in a configuration file; `None` if a problem was noted.
    pub(crate) fn from_source(
        source: Source,
        index: usize,
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let entry = format!("`declare[{index}]`");
        let Source::Table(members) = source else {
            problems.push(format!("{entry} is not a table with a `path`"));
            return None;
        };
        let mut declared = Self::required("");
        for (key, value) in members {
            match (key.as_str(), value) {
                ("path", Source::Scalar(path)) => {
                    declared.path = SecretPath::parse(path.expose_secret()).ok();
                }
                ("default", Source::Scalar(value)) => declared.default = Some(value),
                ("format", Source::Scalar(pattern)) => {
                    declared.format = Some(pattern.expose_secret().to_owned());
                }
                ("required", Source::Scalar(flag)) => match flag.expose_secret() {
                    "true" => declared.required = true,
                    "false" => declared.required = false,
                    _ => problems.push(format!("`required` in {entry} is not true or false")),
                },
                ("path" | "default" | "format" | "required", _) => {
                    problems.push(format!("`{key}` in {entry} is not a plain value"));
                }
                _ => problems.push(format!(
                    "`{key}` in {entry} is not known; use `path`, `required`, `default`, `format`"
                )),
            }
        }
        Some(declared)
    }
}

/// Declarations whose paths and patterns have been understood.
#[derive(Debug, Default)]
pub(crate) struct Declarations(Vec<Declaration>);

#[derive(Debug)]
struct Declaration {
    path: SecretPath,
    required: bool,
    default: Option<SecretValue>,
    format: Option<Regex>,
}

impl Declarations {
    pub(crate) fn understand(declared: Vec<Declared>, problems: &mut Problems) -> Self {
        let mut declarations = Vec::with_capacity(declared.len());
        for (index, Declared { path, required, default, format }) in
            declared.into_iter().enumerate()
        {
            let Some(path) = path else {
                problems.add(format!(
                    "`declare[{index}]` has no valid path; use one such as `openai/api-key`"
                ));
                continue;
            };
            let format = format.map(|pattern| Regex::new(&pattern));
            if let Some(Err(_)) = format {
                problems.add(format!("the format declared for `{path}` is no regular expression"));
            }
            let default = default.map(SecretValue::from);
            let format = format.and_then(Result::ok);
            declarations.push(Declaration { path, required, default, format });
        }
        Self(declarations)
    }

    /// Reads and checks every declared secret, and gives the defaults.
    ///
    /// # Errors
    /// `Config` with everything that is missing or malformed; any other error of the store as it
    /// is, since it may be temporary.
    pub(crate) async fn check(
        self,
        secrets: &SecretsManager,
    ) -> Result<BTreeMap<SecretPath, SecretValue>> {
        let backend = &*secrets.shared.backend;
        let paths: Vec<_> = self.0.iter().map(|declaration| declaration.path.clone()).collect();
        let mut problems = Problems::new();
        for (declaration, result) in self.0.iter().zip(secrets.get_many(&paths).await) {
            match result {
                Ok(secret) => declaration.check_format(&secret, backend, &mut problems),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(_) if declaration.required && declaration.default.is_none() => {
                    let place = backend.locate(&declaration.path);
                    problems.add(format!("`{}` is missing: set {place}", declaration.path));
                }
                Err(_) => {}
            }
        }
        problems.into_result()?;
        let with_default =
            |declaration: Declaration| Some((declaration.path, declaration.default?));
        Ok(self.0.into_iter().filter_map(with_default).collect())
    }
}

impl Declaration {
    fn check_format(&self, secret: &Secret, backend: &dyn Backend, problems: &mut Problems) {
        let Some(format) = &self.format else { return };
        if !secret.expose_text().is_ok_and(|text| format.is_match(text)) {
            let place = backend.locate(&self.path);
            problems.add(format!(
                "`{}` does not match the format `{}`: correct {place}",
                self.path,
                format.as_str()
            ));
        }
    }
}
