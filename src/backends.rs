//! The backends compiled in, and how settings open one.

use std::sync::Arc;

use strongroom_core::{Backend, Error, Result, Setting, Settings, setting_table};

#[cfg(feature = "native")]
use crate::{anchor_store, wrapping_keys};

setting_table! {
    /// The setting that chooses the backend.
    pub(crate) const SETTINGS = {
        BACKEND = Setting::text("SECRETS_BACKEND", "")
            .meaning("`env`, `hashicorp` (or `vault`, `openbao`), `aws`, `native` or `remote`")
            .default_value("env");
    }
}

/// A backend of this release, compiled in or not.
pub(crate) struct BackendKind {
    /// Its name in `SECRETS_BACKEND`, and that of its cargo feature.
    pub(crate) name: &'static str,
    /// Other names in `SECRETS_BACKEND`.
    pub(crate) aliases: &'static [&'static str],
    /// The prefix of the variables that only this library reads.
    pub(crate) prefix: &'static str,
    /// Its settings; `None` if it is not compiled in.
    pub(crate) settings: Option<&'static [Setting]>,
}

pub(crate) const KINDS: &[BackendKind] = &[
    BackendKind {
        name: "env",
        aliases: &[],
        prefix: "SECRETS_ENV_",
        #[cfg(feature = "env")]
        settings: Some(strongroom_backend_env::SETTINGS),
        #[cfg(not(feature = "env"))]
        settings: None,
    },
    BackendKind {
        name: "hashicorp",
        aliases: &["vault", "openbao", "bao"],
        prefix: "SECRETS_VAULT_",
        #[cfg(feature = "hashicorp")]
        settings: Some(strongroom_backend_hashicorp::SETTINGS),
        #[cfg(not(feature = "hashicorp"))]
        settings: None,
    },
    BackendKind {
        name: "aws",
        aliases: &[],
        prefix: "SECRETS_AWS_",
        #[cfg(feature = "aws")]
        settings: Some(strongroom_backend_aws::SETTINGS),
        #[cfg(not(feature = "aws"))]
        settings: None,
    },
    BackendKind {
        name: "native",
        aliases: &[],
        prefix: "SECRETS_NATIVE_",
        #[cfg(feature = "native")]
        settings: Some(strongroom_backend_native::SETTINGS),
        #[cfg(not(feature = "native"))]
        settings: None,
    },
    BackendKind {
        name: "remote",
        aliases: &[],
        prefix: "STRONGROOM_",
        #[cfg(feature = "remote")]
        settings: Some(strongroom_backend_remote::SETTINGS),
        #[cfg(not(feature = "remote"))]
        settings: None,
    },
];

/// Finds a backend by its name or an alias.
pub(crate) fn find(name: &str) -> Option<&'static BackendKind> {
    KINDS.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
}

/// The configuration of the embedded store, whose slots a key in AWS KMS, in a transit engine or on a token may open, and
/// whose anchor another backend may keep.
#[cfg(feature = "native")]
pub(crate) fn native_config(
    settings: &Settings,
) -> Result<strongroom_backend_native::NativeConfig> {
    strongroom_backend_native::NativeConfig::from_settings_with(
        settings,
        |kind, key_id| wrapping_keys::from_settings(settings, kind, key_id),
        |kind, path, interval| anchor_store::from_settings(settings, kind, path, interval),
    )
}

/// The configuration of one backend.
#[allow(
    clippy::large_enum_variant,
    reason = "which variant is the largest depends on the features"
)]
#[derive(Debug)]
pub(crate) enum BackendConfig {
    #[cfg(feature = "env")]
    Env(strongroom_backend_env::EnvConfig),
    #[cfg(feature = "hashicorp")]
    Hashicorp(Box<strongroom_backend_hashicorp::HashicorpConfig>),
    #[cfg(feature = "aws")]
    Aws(Box<strongroom_backend_aws::AwsConfig>),
    #[cfg(feature = "native")]
    Native(strongroom_backend_native::NativeConfig),
    #[cfg(feature = "remote")]
    Remote(Box<strongroom_backend_remote::RemoteConfig>),
}

impl BackendConfig {
    pub(crate) fn from_settings(kind: &BackendKind, settings: &Settings) -> Result<Self> {
        match kind.name {
            #[cfg(feature = "env")]
            "env" => strongroom_backend_env::EnvConfig::from_settings(settings).map(Self::Env),
            #[cfg(feature = "hashicorp")]
            "hashicorp" => strongroom_backend_hashicorp::HashicorpConfig::from_settings(settings)
                .map(|config| Self::Hashicorp(Box::new(config))),
            #[cfg(feature = "aws")]
            "aws" => strongroom_backend_aws::AwsConfig::from_settings(settings)
                .map(|config| Self::Aws(Box::new(config))),
            #[cfg(feature = "native")]
            "native" => native_config(settings).map(Self::Native),
            #[cfg(feature = "remote")]
            "remote" => strongroom_backend_remote::RemoteConfig::from_settings(settings)
                .map(|config| Self::Remote(Box::new(config))),
            name => Err(Error::config(vec![format!(
                "`{}`: the backend `{name}` is not compiled in; enable the cargo feature `{name}` \
                 of `strongroom`",
                settings.names(SETTINGS).name(&BACKEND)
            )])),
        }
    }

    #[cfg_attr(
        not(any(
            feature = "aws",
            feature = "env",
            feature = "hashicorp",
            feature = "native",
            feature = "remote"
        )),
        expect(clippy::unused_async, reason = "only some backends have to wait")
    )]
    pub(crate) async fn open(self) -> Result<Arc<dyn Backend>> {
        match self {
            #[cfg(feature = "env")]
            Self::Env(config) => {
                Ok(Arc::new(strongroom_backend_env::EnvBackend::open(config).await?))
            }
            #[cfg(feature = "hashicorp")]
            Self::Hashicorp(config) => {
                let open = strongroom_backend_hashicorp::HashicorpBackend::open;
                Ok(Arc::new(open(*config).await?))
            }
            #[cfg(feature = "aws")]
            Self::Aws(config) => {
                Ok(Arc::new(strongroom_backend_aws::AwsBackend::open(*config).await?))
            }
            #[cfg(feature = "native")]
            Self::Native(config) => {
                Ok(Arc::new(strongroom_backend_native::NativeBackend::open(config).await?))
            }
            #[cfg(feature = "remote")]
            Self::Remote(config) => {
                Ok(Arc::new(strongroom_backend_remote::RemoteBackend::open(*config).await?))
            }
        }
    }
}
