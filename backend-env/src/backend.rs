//! The backend itself.

use std::collections::BTreeSet;
use std::env;
use std::sync::{Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Error, ErrorKind, FilePath, Health, HealthStatus, Metadata,
    Operation, Problems, Result, Secret, SecretPath, SecretValue, Version, VersionSelector,
};
use tracing::warn;

use crate::EnvConfig;
use crate::dotenv_variables::DotenvVariables;
use crate::variable::Naming;

const KIND: &str = "env";
/// The version of every secret.
const ONLY_VERSION: u64 = 1;

/// Environment variables, and those of a `.env` file, as a read-only store.
///
/// The crate's documentation says which variable a path reads and which values it can have. `Debug`
/// shows no values.
///
/// # Examples
/// ```
/// use strongroom_backend_env::{EnvBackend, EnvConfig};
/// use strongroom_core::{Backend, ErrorKind, SecretPath, VersionSelector};
///
/// # async fn run() -> strongroom_core::Result<()> {
/// let backend = EnvBackend::open(EnvConfig::default()).await?;
/// let path = SecretPath::parse("doc-example/openai/api-key")?;
/// let error = backend.get(&path, &VersionSelector::Active).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.advice(), "set the variable `DOC_EXAMPLE_OPENAI_API_KEY`");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Debug)]
pub struct EnvBackend {
    info: BackendInfo,
    naming: Naming,
    /// The `.env` file, as messages name it.
    file: Option<String>,
    /// The variables of the file; empty without a file, `None` once closed.
    variables: RwLock<Option<DotenvVariables>>,
    /// The empty variables that a warning has named.
    reported_empty: Mutex<BTreeSet<String>>,
}

impl EnvBackend {
    /// Checks the configuration and reads the `.env` file, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with every problem: a prefix that no variable can begin with; a file
    /// that is missing, unreadable, larger than 1 MiB, not UTF-8 or malformed, or a pipe that is empty
    /// or does not end within 30 s.
    pub async fn open(config: EnvConfig) -> Result<Self> {
        let mut problems = Problems::new();
        config.check(&mut problems);
        let EnvConfig { prefix, fallback, file, names } = config;
        let variables = match &file {
            Some(file) => DotenvVariables::read(file, &mut problems).await,
            None => DotenvVariables::default(),
        };
        problems
            .into_result()
            .map_err(|error| names.rename(error).during(Operation::Open).from_backend(KIND))?;
        let naming = Naming::new(prefix.as_deref(), fallback);
        let file = file.map(|file| FilePath::new(&file).to_string());
        let instance = instance(&naming, file.as_deref());
        let mut info = BackendInfo::new(KIND, instance, Capabilities::none());
        // `a/b`, `a-b` and `A/b` all name the variable `A_B`.
        info.distinct_paths = false;
        info.alternatives = "the backend `hashicorp`, `aws` or `native`".into();
        info.rotation_alternatives =
            Some("the backend `aws`, or `hashicorp` for passwords of database roles".into());
        let variables = RwLock::new(Some(variables));
        Ok(Self { info, naming, file, variables, reported_empty: Mutex::default() })
    }

    fn read(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.with_file(|file| {
            if *version != VersionSelector::Active {
                return Err(self
                    .info
                    .unsupported(Operation::Get)
                    .because("environment variables have no versions"));
            }
            let full = self.naming.full(path);
            let fallback = self.naming.fallback(path);
            let value = [Some(&full), fallback.as_ref()]
                .into_iter()
                .flatten()
                .find_map(|name| self.lookup(name, file))
                .ok_or_else(|| self.not_found(&full, fallback.as_deref()))?;
            Ok(Secret::new(path.clone(), Version::from(ONLY_VERSION), Metadata::default(), value))
        })
    }

    /// The value of a variable. The environment comes first, also with an empty value.
    fn lookup(&self, name: &str, file: &DotenvVariables) -> Option<SecretValue> {
        let in_environment = in_environment(name);
        let is_from_file = in_environment.is_none();
        let value = in_environment.or_else(|| file.get(name))?;
        if value.is_empty() {
            let hides_file = !is_from_file && file.get(name).is_some_and(|value| !value.is_empty());
            self.report_empty(name, hides_file);
        }
        Some(value)
    }

    /// Warns once that a variable is empty: often it was meant to be set, or not to be there.
    fn report_empty(&self, name: &str, hides_file: bool) {
        let mut reported = self.reported_empty.lock().unwrap_or_else(PoisonError::into_inner);
        if !reported.insert(name.to_owned()) {
            return;
        }
        if let Some(file) = self.file.as_deref().filter(|_| hides_file) {
            warn!(
                variable = name,
                "the variable is empty in the environment, which hides its value in `{}`; unset it, or \
                 set it to the value",
                file
            );
        } else {
            warn!(
                variable = name,
                "the variable is set but empty, so the secret is empty; set it to the value, or unset it"
            );
        }
    }

    fn not_found(&self, full: &str, fallback: Option<&str>) -> Error {
        let location = self
            .file
            .as_deref()
            .map(|file| format!(" in the environment or in `{file}`"))
            .unwrap_or_default();
        Error::new(ErrorKind::NotFound, format!("set {}{location}", variables(full, fallback)))
    }

    /// Calls `act` with the variables of the file, unless this backend is closed.
    fn with_file<T>(&self, act: impl FnOnce(&DotenvVariables) -> Result<T>) -> Result<T> {
        match &*self.variables.read().unwrap_or_else(PoisonError::into_inner) {
            Some(variables) => act(variables),
            None => Err(Error::backend_closed()),
        }
    }
}

#[async_trait]
impl Backend for EnvBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn locate(&self, path: &SecretPath) -> String {
        variables(&self.naming.full(path), self.naming.fallback(path).as_deref())
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.read(path, version)
            .map_err(|error| error.during(Operation::Get).at(path).from_backend(KIND))
    }

    async fn health(&self) -> Result<Health> {
        self.with_file(|variables| {
            let health = Health::new(HealthStatus::Ready);
            Ok(match &self.file {
                None => health.detail("file", "none"),
                Some(file) => health
                    .detail("file", file.clone())
                    .detail("file_variables", variables.len().to_string()),
            })
        })
        .map_err(|error| error.during(Operation::Health).from_backend(KIND))
    }

    async fn close(&self) -> Result<()> {
        self.variables.write().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

fn variables(full: &str, fallback: Option<&str>) -> String {
    let fallback = fallback.map(|name| format!(" or `{name}`")).unwrap_or_default();
    format!("the variable `{full}`{fallback}")
}

fn instance(naming: &Naming, file: Option<&str>) -> String {
    let file = file.map(|file| format!(" and of `{file}`")).unwrap_or_default();
    let prefix = naming.prefix();
    let prefix = prefix.map(|prefix| format!(" that begin with `{prefix}`")).unwrap_or_default();
    format!("the variables of this process{file}{prefix}")
}

/// A variable of this process. The value is moved, not copied.
fn in_environment(name: &str) -> Option<SecretValue> {
    Some(match env::var_os(name)?.into_string() {
        Ok(text) => SecretValue::from(text),
        Err(bytes) => SecretValue::binary(bytes.into_encoded_bytes()),
    })
}
