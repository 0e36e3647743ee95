//! Building a manager from parts.

use std::sync::Arc;

#[cfg(doc)]
use strongroom_core::ErrorKind;
use strongroom_core::{Backend, Error, Problems, Result};

use crate::declared::{Declarations, Declared};
use crate::policy::ReadPolicy;
use crate::{Config, SecretsManager};

/// Builds a [`SecretsManager`] from a store, a read policy and declared secrets.
///
/// # Examples
/// ```
/// # async fn run() -> strongroom::Result<()> {
/// use std::time::Duration;
/// use strongroom::{Declared, MemoryBackend, ReadPolicy, SecretsManager};
///
/// let secrets = SecretsManager::builder()
///     .backend(MemoryBackend::new())
///     .policy(ReadPolicy::new().cache_ttl(Duration::from_secs(60)))
///     .declare(Declared::optional("openai/model").default_value("gpt-5"))
///     .build()
///     .await?;
/// assert_eq!(secrets.get("openai/model").await?.expose_text()?, "gpt-5");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SecretsManagerBuilder {
    store: Store,
    policy: Option<ReadPolicy>,
    declared: Vec<Declared>,
    check_later: bool,
}

#[derive(Clone, Debug)]
enum Store {
    Environment,
    Config(Box<Config>),
    Backend(Arc<dyn Backend>),
}

impl SecretsManager {
    /// Starts to build a manager. Unless a store is given, the environment of this process describes
    /// it.
    pub fn builder() -> SecretsManagerBuilder {
        SecretsManagerBuilder {
            store: Store::Environment,
            policy: None,
            declared: Vec::new(),
            check_later: false,
        }
    }
}

impl SecretsManagerBuilder {
    /// Uses the store that `config` describes.
    pub fn config(mut self, config: Config) -> Self {
        self.store = Store::Config(Box::new(config));
        self
    }

    /// Uses a store of any kind that is already open, such as one that is not part of Strongroom.
    pub fn backend(mut self, backend: impl Backend) -> Self {
        self.store = Store::Backend(Arc::new(backend));
        self
    }

    /// Reads the store as `policy` says, and ignores the policy of a configuration. Without both, the
    /// default applies.
    pub fn policy(mut self, policy: ReadPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Declares a secret that the service will read, besides those of a configuration.
    pub fn declare(mut self, declared: Declared) -> Self {
        self.declared.push(declared);
        self
    }

    /// Opens the store without reading the declared secrets; their defaults apply.
    /// [`SecretsManager::check_declared`] reads them. For tools that write the secrets of a service.
    pub fn check_later(mut self) -> Self {
        self.check_later = true;
        self
    }

    /// Opens the store and checks the declared secrets.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with everything that is wrong with the configuration and the policy, or
    /// with every declared secret that is missing, malformed or cannot be read; otherwise the
    /// [`Error`] of opening the store.
    pub async fn build(self) -> Result<SecretsManager> {
        let Self { store, policy, declared, check_later } = self;
        let mut problems = Problems::new();
        if let Some(policy) = &policy {
            problems.collect(policy.validate());
        }
        let (backend, default_policy, declarations, note) = match store.into_config() {
            Ok(config) => {
                let config = declared.into_iter().fold(config, Config::declare);
                let config = problems.collect(config.validate());
                problems.into_result()?;
                // Without a problem there is a configuration.
                let config = config.ok_or_else(|| Error::config(Vec::new()))?;
                let backend = config.backend.open().await?;
                (backend, config.policy, config.declarations, config.default_backend_note)
            }
            Err(backend) => {
                let declarations = Declarations::validate(declared, &mut problems);
                problems.into_result()?;
                (backend, ReadPolicy::default(), declarations, None)
            }
        };
        let secrets = SecretsManager::new(backend, policy.unwrap_or(default_policy));
        // The manager is not shared yet: no other task sets what is set here.
        if let Some(note) = note {
            let _ = secrets.shared.default_backend_note.set(note);
        }
        if !check_later {
            declarations.require(&secrets).await?;
        }
        let _ = secrets.shared.defaults.set(declarations.defaults());
        let _ = secrets.shared.declarations.set(declarations);
        Ok(secrets)
    }
}

impl Store {
    /// The configuration of a store, or a store that is already open.
    fn into_config(self) -> Result<Config, Arc<dyn Backend>> {
        match self {
            Self::Environment => Ok(Config::from_env()),
            Self::Config(config) => Ok(*config),
            Self::Backend(backend) => Err(backend),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strongroom_core::MemoryBackend;

    use super::*;
    use crate::DeclaredStatus::{Absent, Default, Malformed, Missing, Present};

    #[tokio::test]
    async fn names_all_problems_of_configuration_policy_and_declarations_at_once() {
        let config = Config::new().set("env_prefix", "1").set("colour", "red");
        let builder = SecretsManager::builder()
            .config(config)
            .policy(ReadPolicy::new().timeout(Duration::ZERO))
            .declare(Declared::required("not a path"));
        let error = builder.build().await.unwrap_err();
        let expected = if cfg!(feature = "env") { 4 } else { 3 };
        assert!(error.problems().len() >= expected, "{error}");
        assert!(error.problems()[0].contains("`ReadPolicy::timeout`"), "{error}");
    }

    #[tokio::test]
    async fn a_policy_overrides_that_of_the_configuration() {
        let policy = ReadPolicy::new().retries(7);
        let builder = SecretsManager::builder().backend(MemoryBackend::new());
        let secrets = builder.clone().policy(policy.clone()).build().await.unwrap();
        assert_eq!(secrets.shared.policy, policy);
        assert_eq!(builder.build().await.unwrap().shared.policy, ReadPolicy::default());
        #[cfg(feature = "env")]
        {
            let config = || Config::new().set("read_retries", "5");
            let builder = SecretsManager::builder().config(config());
            let secrets = builder.clone().policy(policy.clone()).build().await.unwrap();
            assert_eq!(secrets.shared.policy, policy);
            assert_eq!(builder.build().await.unwrap().shared.policy.retries, 5);
        }
    }

    #[tokio::test]
    async fn a_later_check_tells_the_state_of_each_declared_secret() {
        let secrets = SecretsManager::builder()
            .backend(MemoryBackend::new())
            .declare(Declared::required("app/key").pattern("^sk-"))
            .declare(Declared::optional("app/model").default_value("gpt-5"))
            .declare(Declared::optional("app/note"))
            .check_later()
            .build()
            .await
            .unwrap();
        assert_eq!(secrets.get("app/model").await.unwrap().expose_text().unwrap(), "gpt-5");
        // Declarations name secrets in full, in any namespace.
        let app = secrets.namespace("app").unwrap();
        let check = async || {
            let states = app.check_declared().await.unwrap();
            states.iter().map(|state| state.status).collect::<Vec<_>>()
        };
        assert_eq!(check().await, [Missing, Default, Absent]);
        secrets.put("app/key", "hunter2").await.unwrap();
        secrets.put("app/model", "gpt-6").await.unwrap();
        assert_eq!(check().await, [Malformed, Present, Absent]);
        secrets.put("app/key", "sk-1").await.unwrap();
        let states = app.check_declared().await.unwrap();
        assert!(states.iter().all(|state| state.problem.is_none()), "{states:?}");
    }

    #[tokio::test]
    async fn a_boxed_backend_is_a_backend() {
        let boxed: Box<dyn Backend> = Box::new(MemoryBackend::new());
        let builder =
            SecretsManager::builder().backend(boxed).declare(Declared::required("missing/key"));
        let error = builder.build().await.unwrap_err();
        assert!(error.problems()[0].contains("`missing/key` is missing"), "{error}");
    }
}
