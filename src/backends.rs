//! The backends compiled in, and how settings open one.

use std::sync::Arc;

use strongroom_core::{Backend, Problems, Result, Settings};

use crate::misspelt;

/// The setting that chooses the backend.
pub(crate) const BACKEND: &str = "SECRETS_BACKEND";

/// A backend that this release knows, compiled in or not.
pub(crate) struct Kind {
    /// Its name in `SECRETS_BACKEND`, and that of its cargo feature.
    pub(crate) name: &'static str,
    /// Other names in `SECRETS_BACKEND`.
    aliases: &'static [&'static str],
    /// What the names of its own settings begin with.
    pub(crate) prefix: &'static str,
    /// Its settings; `None` if it is not compiled in.
    pub(crate) settings: Option<&'static [&'static str]>,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "env",
        aliases: &[],
        prefix: "SECRETS_ENV_",
        #[cfg(feature = "env")]
        settings: Some(strongroom_backend_env::SETTINGS),
        #[cfg(not(feature = "env"))]
        settings: None,
    },
    Kind {
        name: "hashicorp",
        aliases: &["vault", "openbao"],
        prefix: "SECRETS_VAULT_",
        #[cfg(feature = "hashicorp")]
        settings: Some(strongroom_backend_hashicorp::SETTINGS),
        #[cfg(not(feature = "hashicorp"))]
        settings: None,
    },
    Kind {
        name: "aws",
        aliases: &[],
        prefix: "SECRETS_AWS_",
        #[cfg(feature = "aws")]
        settings: Some(strongroom_backend_aws::SETTINGS),
        #[cfg(not(feature = "aws"))]
        settings: None,
    },
    Kind {
        name: "native",
        aliases: &[],
        prefix: "SECRETS_NATIVE_",
        #[cfg(feature = "native")]
        settings: Some(strongroom_backend_native::SETTINGS),
        #[cfg(not(feature = "native"))]
        settings: None,
    },
];

/// The settings of all backends that are compiled in.
pub(crate) fn settings() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter_map(|kind| kind.settings).flatten().copied()
}

/// The settings that the backend `name` reads.
pub(crate) fn settings_of(name: &str) -> &'static [&'static str] {
    kind(name).and_then(|kind| kind.settings).unwrap_or_default()
}

fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
}

/// A backend whose settings have been understood, but which has not been opened.
#[derive(Debug)]
pub(crate) enum Chosen {
    #[cfg(feature = "env")]
    Env(strongroom_backend_env::EnvConfig),
    #[cfg(feature = "hashicorp")]
    Hashicorp(Box<strongroom_backend_hashicorp::HashicorpConfig>),
    #[cfg(feature = "aws")]
    Aws(Box<strongroom_backend_aws::AwsConfig>),
    #[cfg(feature = "native")]
    Native(strongroom_backend_native::NativeConfig),
}

impl Chosen {
    /// Understands the settings of the backend `name`; `None` if a problem was noted.
    #[cfg_attr(
        not(any(feature = "aws", feature = "env", feature = "hashicorp", feature = "native")),
        expect(unused_variables, reason = "there is nothing to configure without a backend")
    )]
    pub(crate) fn from_settings(
        name: &str,
        settings: &Settings,
        problems: &mut Problems,
    ) -> Option<Self> {
        match kind(name).map_or(name, |kind| kind.name) {
            #[cfg(feature = "env")]
            "env" => Some(Self::Env(strongroom_backend_env::EnvConfig::from_settings(
                settings, problems,
            ))),
            #[cfg(feature = "hashicorp")]
            "hashicorp" => {
                strongroom_backend_hashicorp::HashicorpConfig::from_settings(settings, problems)
                    .map(|config| Self::Hashicorp(Box::new(config)))
            }
            #[cfg(feature = "aws")]
            "aws" => strongroom_backend_aws::AwsConfig::from_settings(settings, problems)
                .map(|config| Self::Aws(Box::new(config))),
            #[cfg(feature = "native")]
            "native" => strongroom_backend_native::NativeConfig::from_settings(settings, problems)
                .map(Self::Native),
            _ => {
                problems.add(not_available(name));
                None
            }
        }
    }

    #[cfg_attr(
        not(any(feature = "aws", feature = "native")),
        expect(clippy::unused_async, reason = "only some backends have to wait")
    )]
    pub(crate) async fn open(self) -> Result<Arc<dyn Backend>> {
        match self {
            #[cfg(feature = "env")]
            Self::Env(config) => Ok(Arc::new(strongroom_backend_env::EnvBackend::open(config)?)),
            #[cfg(feature = "hashicorp")]
            Self::Hashicorp(config) => {
                let open = strongroom_backend_hashicorp::HashicorpBackend::open;
                Ok(Arc::new(open(*config)?))
            }
            #[cfg(feature = "aws")]
            Self::Aws(config) => {
                Ok(Arc::new(strongroom_backend_aws::AwsBackend::open(*config).await?))
            }
            #[cfg(feature = "native")]
            Self::Native(config) => {
                Ok(Arc::new(strongroom_backend_native::NativeBackend::open(config).await?))
            }
        }
    }
}

fn not_available(name: &str) -> String {
    if let Some(Kind { name, .. }) = kind(name) {
        return format!(
            "`{BACKEND}`: the backend `{name}` is not compiled in; enable the cargo feature \
             `{name}` of `strongroom`"
        );
    }
    let names = KINDS.iter().flat_map(|kind| [&[kind.name], kind.aliases].concat());
    let names = names.map(str::to_owned);
    let meant = misspelt::nearest(&name.to_lowercase(), names)
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    format!("`{BACKEND}` names no backend that is known: use {}{meant}", accepted())
}

/// The names of all backends, as in `a`, `b` or `c`.
fn accepted() -> String {
    let quoted: Vec<_> = KINDS.iter().map(|kind| format!("`{}`", kind.name)).collect();
    match quoted.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
