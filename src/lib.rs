//! One API for a service's secrets, wherever they are kept.
//!
//! ```no_run
//! # async fn run() -> strongroom::Result<()> {
//! use strongroom::SecretsManager;
//!
//! let secrets = SecretsManager::from_env().await?; // SECRETS_BACKEND picks the store
//! let key = secrets.get("openai/api-key").await?; // the same line on a laptop and in production
//! call_the_api(key.expose_text()?);
//! # Ok(())
//! # }
//! # fn call_the_api(_key: &str) {}
//! ```
//!
//! The operator decides with `SECRETS_BACKEND` where that reads from; see [`Config`] for all
//! settings. A value has no `Display`, a masked `Debug`, and is wiped when its last owner lets go;
//! reading it takes a call whose name begins with `expose`. Reads come from a cache where the store is
//! not on this machine; [`ReadPolicy`] says how, and [`SecretHandle`] is what a request handler holds.
//!
//! # Cargo features
//! - `access`: access rules in front of any store, in the module `access`: who may read what, approvals, tokens, and a
//!   tamper-evident audit. Each of the following features brings it with it:
//!   - `access-postgres`: rules and audit in PostgreSQL, which several hosts share.
//!   - `access-rego`: a policy in Rego that narrows the rules.
//!   - `access-webhooks`: events of the rules for HTTP endpoints, signed as Standard Webhooks say.
//! - `aws`: AWS Secrets Manager. `aws-kms` adds a key of AWS KMS that wraps other keys.
//! - `env` (default): environment variables and `.env` files.
//! - `hashicorp`: HashiCorp Vault and OpenBao.
//! - `keyring`: a key in the keyring of the operating system that wraps other keys, in the module `keyring`.
//! - `native` (default): the embedded encrypted store, one `SQLite` file and no server.
//! - `pkcs11`: a key on a PKCS#11 token (an HSM, a smart card) that wraps other keys, in the module `pkcs11`.
//! - `remote`: the store of a Strongroom server.
//! - `redact`: a redactor of known values in streams and a scanner for files, in the module `redact`.
//!   `redact-tracing` adds a writer for `tracing_subscriber::fmt`.
//! - `rotation`: keys that are replaced before they expire, in the module `rotation`. Each of the following
//!   features brings it with it:
//!   - `rotation-http`: an issuer of keys with an HTTP API.
//!   - `rotation-postgres`: an issuer of passwords for two PostgreSQL roles, which take turns.
//!   - `rotation-deadpool`, `rotation-sqlx` (needs Rust 1.94.1): pools of PostgreSQL connections that log in
//!     with the current key.
//!   - `rotation-reqwest`: a middleware of the crate `reqwest-middleware` that puts the current key into each
//!     request.
//!   - `rotation-tower`: a layer that does the same in a stack of `tower` services.
//!
//! Counters and latencies of reads, and counters and gauges of rotating keys, go to the recorder of the crate
//! `metrics`, if the program installs one before it opens a store.
//!
//! A store that is not listed needs only the crate `strongroom-core` and
//! [`SecretsManager::with_backend`].
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "access")]
mod act_as;
#[cfg(feature = "native")]
mod anchor_store;
mod backend_impl;
mod backends;
mod batch;
mod builder;
mod cache;
mod changes;
mod clock;
mod config;
mod config_value;
mod declared;
mod error;
mod expiry;
mod import;
mod inspect;
mod listing;
mod load;
mod manager;
mod metrics;
mod options;
mod policy;
mod read;
#[cfg(all(feature = "access", feature = "rotation"))]
mod record_rotations;
mod retry;
mod runtime;
#[cfg(all(
    test,
    feature = "access",
    feature = "aws",
    feature = "env",
    feature = "hashicorp",
    feature = "native",
    feature = "remote"
))]
mod settings_reference;
mod shared;
mod shared_future;
mod suggest;
mod sweeper;
mod sync;
#[cfg(test)]
mod tests;
mod watch;
#[cfg(feature = "native")]
mod wrapping_keys;
mod write;
mod write_guard;

pub use builder::SecretsManagerBuilder;
pub use config::Config;
pub use declared::{Declared, DeclaredState, DeclaredStatus};
pub use import::{ImportOptions, ImportOutcome, ImportReport, ImportedSecret};
pub use listing::Listing;
pub use manager::SecretsManager;
pub use options::ReadOptions;
pub use policy::ReadPolicy;
#[cfg(all(feature = "access", feature = "rotation"))]
pub use record_rotations::record_rotations;
#[cfg(feature = "access")]
pub use strongroom_access as access;
pub use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Change, ChangeFeed, Condition, Description,
    Error, ErrorKind, ExposeSecret, Health, HealthStatus, ListOptions, ListPage, MemoryBackend,
    Metadata, MetadataPatch, Operation, PageToken, PutOptions, Result, RotateOutcome, Secret,
    SecretKind, SecretPath, SecretString, SecretValue, Setting, SettingKind, SettingNames,
    Settings, SettingsSource, Tier, ValueFormat, Version, VersionInfo, VersionSelector,
    WrapContext, WrappingKey, async_trait,
};
#[cfg(feature = "redact")]
pub use strongroom_redact as redact;
#[cfg(feature = "rotation")]
pub use strongroom_rotation as rotation;
pub use watch::{Current, SecretHandle};

/// The backend for AWS Secrets Manager.
#[cfg(feature = "aws")]
pub mod aws {
    #[cfg(feature = "aws-kms")]
    pub use strongroom_backend_aws::KmsKey;
    pub use strongroom_backend_aws::{
        AssumedRole, AwsBackend, AwsConfig, SdkConfig, StaticCredentials,
    };
}

/// The backend over environment variables and `.env` files.
#[cfg(feature = "env")]
pub mod env {
    pub use strongroom_backend_env::{EnvBackend, EnvConfig, dotenv};
}

/// The backend for HashiCorp Vault and OpenBao.
#[cfg(feature = "hashicorp")]
pub mod hashicorp {
    #[cfg(feature = "hashicorp-vaultrs")]
    pub use strongroom_backend_hashicorp::VaultrsClient;
    pub use strongroom_backend_hashicorp::{
        AppRole, Auth, AwsIam, HashicorpBackend, HashicorpConfig, JwtLogin, Password, SecretId,
        TransitKey, Userpass,
    };
}

/// A key in the keyring of the operating system.
#[cfg(feature = "keyring")]
pub mod keyring {
    pub use strongroom_keyring::KeyringKey;
}

/// A key on a PKCS#11 token.
#[cfg(feature = "pkcs11")]
pub mod pkcs11 {
    pub use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};
}

/// The backend for a Strongroom server.
#[cfg(feature = "remote")]
pub mod remote {
    pub use strongroom_backend_remote::{
        ApprovalBody, Approvals, BearerToken, NewApprovalBody, RemoteBackend, RemoteConfig,
    };
}

/// The embedded encrypted store.
#[cfg(feature = "native")]
pub mod native {
    pub use strongroom_backend_native::{
        AcceptedState, AnchorStore, Damage, KekRotation, KeySource, NativeBackend, NativeConfig,
        RecoveryShares, RootKeyRotation, SecretAnchor, Slot, StoreCheck, Sweep,
    };
}
