//! What a backend of Strongroom implements: the vocabulary that every store shares.
//!
//! Applications depend on the `strongroom` facade, which re-exports what they need. A backend
//! depends on this crate alone, implements [`Backend`], and is handed to
//! `SecretsManager::with_backend`.
//!
//! - [`SecretPath`]: the path of a secret.
//! - [`SecretValue`]: its bytes, masked in every format and wiped when the last owner is dropped.
//! - [`Secret`]: a value with its [`Version`] and [`Metadata`].
//! - [`Error`]: one error type with an [`ErrorKind`] that means the same on every store.
//! - [`SpiffeId`]: the name of a workload, by the SPIFFE standard.
//! - [`Backend`]: the trait itself, with [`Capabilities`] declared as data.
//! - [`ChangeFeed`]: what a store tells of changes that other processes make.
//! - [`MemoryBackend`]: the reference backend; it does everything the contract describes.
//! - [`Settings`]: named settings from which a backend builds its configuration, as the table of its
//!   [`Setting`]s describes them.
//! - [`WrappingKey`]: a key in a KMS that wraps the keys of a store.

mod backend;
mod capability;
mod changes;
mod clock;
mod error;
mod escape;
mod fork;
mod json;
mod memory;
mod metadata;
mod options;
mod patch;
mod path;
mod secret;
mod settings;
mod spiffe_id;
mod timestamp;
mod value;
mod wiped_buffer;
mod wrapping_key;

pub use async_trait::async_trait;
pub use backend::{Backend, BackendInfo, Health, HealthStatus};
pub use capability::{Capabilities, Capability};
pub use changes::{Change, ChangeFeed};
pub use clock::time_suspended;
pub use error::{Error, ErrorKind, Operation, Result};
pub use escape::EscapedText;
pub use fork::ForkGuard;
pub use memory::MemoryBackend;
pub use metadata::{Metadata, SecretKind, Tier};
pub use options::{Condition, ListOptions, ListPage, PageToken, PutOptions};
pub use patch::MetadataPatch;
pub use path::SecretPath;
pub use secrecy::{ExposeSecret, SecretString};
pub use secret::{
    Description, RotateOutcome, Secret, Version, VersionInfo, VersionSelector, WeakSecret,
};
pub use settings::{
    FilePath, Problems, Setting, SettingKind, SettingNames, Settings, SettingsSource,
};
pub use spiffe_id::SpiffeId;
pub use timestamp::Rfc3339;
pub use value::{SecretValue, ValueFormat};
pub use wiped_buffer::WipedBuffer;
pub use wrapping_key::{WrapContext, WrappingKey, check_wrappable};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
