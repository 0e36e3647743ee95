//! Strongroom's backend for AWS Secrets Manager, through the official SDK.
//!
//! ```no_run
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_backend_aws::{AwsBackend, AwsConfig};
//! use strongroom_core::{Backend, SecretPath, VersionSelector};
//!
//! let mut config = AwsConfig::default(); // the SDK finds region and credentials
//! config.prefix = Some("production".into());
//! let store = AwsBackend::open(config).await?;
//!
//! let path = SecretPath::parse("openai/api-key")?; // the secret `production/openai/api-key`
//! let secret = store.get(&path, &VersionSelector::Active).await?;
//! # drop(secret);
//! # Ok(())
//! # }
//! ```
//!
//! The backend has to run inside a Tokio runtime with time and I/O enabled.
//!
//! # Credentials and region
//! The SDK's default chain finds them: the environment, the shared configuration files with their
//! profiles (including SSO and `credential_process`), web identity (EKS), the container endpoint (ECS,
//! EKS) and the instance metadata service (EC2). A service that runs on AWS needs no credentials of its
//! own. The first call fetches them, and the SDK renews them before they expire. See
//! <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.
//!
//! # Secrets
//! A path is a name, below [`prefix`](AwsConfig::prefix). Names must not contain `:`, and paths must
//! not contain `=`: each replaces the other. Secrets of other names, or of other accounts, get paths in
//! [`names`](AwsConfig::names). A path that is an ARN is refused. A version is the service's `VersionId`; the active version
//! has the staging label `AWSCURRENT`. [`VersionSelector::Stage`] reads another label, such as
//! `AWSPREVIOUS`.
//!
//! | value | in the service |
//! |---|---|
//! | text, fields | `SecretString`, byte for byte; a JSON object has fields |
//! | binary | `SecretBinary` |
//! | an empty value, which the service rejects, and text that begins like this wrapper | `SecretString`: `{"strongroom_format":"text","value":"…"}`, with `binary` for empty binary |
//!
//! The service stores up to 65,536 bytes; the backend rejects larger values without a request.
//!
//! Metadata is stored in tags: our own under their names, the rest as `strongroom.kind`,
//! `strongroom.tier`, `strongroom.expires_at` (RFC 3339), `strongroom.rotation_interval`,
//! `strongroom.created_by` and `strongroom.updated_by`; the description is the service's. In a tag's value, characters that the service may reject are written as
//! `=XX` after `strongroom:`; the backend rejects a value that this makes longer than 256 characters.
//!
//! # Requests, which AWS bills
//! - The service keeps tags apart from values. The first `get` of a secret therefore makes two
//!   requests in parallel, `GetSecretValue` and `DescribeSecret`. The backend caches the metadata for
//!   [`metadata_ttl`](AwsConfig::metadata_ttl), for up to 10,000 secrets: until then a `get` makes one
//!   request, unless its answer shows that the secret has a new version. Changes of tags or expiry by
//!   another process are seen that much later; before it answers `Expired`, the backend asks the service
//!   again.
//! - `get_many` makes one request (`BatchGetSecretValue`) for 20 secrets, four at a time, and one
//!   `DescribeSecret` for each secret whose metadata is not cached, 16 at a time. If the batch is not
//!   granted, the backend reads one by one for five minutes.
//! - Without [`read_metadata`](AwsConfig::read_metadata), reads send no `DescribeSecret`: secrets have no
//!   metadata, and none expires.
//! - `put` describes the secret first, then creates it or adds a version. (If `DescribeSecret` is not
//!   granted, a put without condition and metadata writes immediately.) With
//!   [`MustBeVersion`](strongroom_core::Condition::MustBeVersion) it adds a version that is not active
//!   and then moves `AWSCURRENT`, on condition that the expected version has it. Metadata is changed
//!   after that: in between, readers see the new value with the old metadata. If only that step fails,
//!   the error names the version that was written.
//! - Each write runs in a task that goes on if its caller is dropped; `close` waits for it, for
//!   [`timeout`](AwsConfig::timeout) at most. Each write carries an id (`ClientRequestToken`), so that a
//!   repeated attempt writes no second version.
//!
//! The SDK makes up to three attempts at a request, in its standard mode, with delays of up to 0.1 s
//! and 0.2 s (or the one that the service asks for in `x-amz-retry-after`, up to 2 s). A request ends
//! within [`timeout`](AwsConfig::timeout), an attempt within
//! [`attempt_timeout`](AwsConfig::attempt_timeout), fetching credentials included. All clients of a
//! process in one region share the SDK's retry budget. Nothing else repeats requests.
//!
//! # Differences from other stores
//! - A conditional `put` that loses a race leaves a version behind that was never active. The service
//!   prunes versions without a staging label once there are more than 100 and they are 24 hours old: one
//!   secret cannot be written every few minutes for ever.
//! - `delete` schedules the deletion: the service keeps the secret for
//!   [`recovery_window_days`](AwsConfig::recovery_window_days). A `put` to a deleted secret restores it
//!   first: readers see its old value for a moment. If the write then fails, the backend deletes the
//!   secret again, unless another client has written to it meanwhile; if the backend cannot find that out
//!   or cannot delete it, it logs a warning that the secret is live.
//!   A process that is killed in between leaves the secret live, with its old value; one that is killed
//!   between value and metadata leaves the new value with the old metadata.
//! - After `destroy`, the service may take a moment to release the name; a `put` waits for that, for
//!   [`timeout`](AwsConfig::timeout) at most.
//! - `list` may not show changes of the last five minutes, because the service's own list does not. It
//!   describes each secret of [`names`](AwsConfig::names) below its prefix, and leaves out secrets whose
//!   names are no paths, with a warning.
//! - `rotate` starts the rotation that is configured for a secret, and does not wait for its end.
//! - A secret that has replicas must lose them before it can be deleted; `describe` lists them.
//! - `health` reads a secret that does not exist, below the prefix. If a policy grants reading of single
//!   secrets only, AWS denies that, and `health` answers `Degraded` with the detail `permission`.
//!
//! # Connection
//! Certificates are checked against the platform's authorities, or against those of
//! [`ca_bundle`](AwsConfig::ca_bundle) alone; nothing turns that off. https uses the proxy of `HTTPS_PROXY`
//! or `ALL_PROXY`, unless `NO_PROXY` excepts the host, as in curl; plain http uses none. An answer that is
//! larger than any of the service fails, those of sources of credentials included. The backend refuses plain http to another host for Secrets Manager, wherever the endpoint was configured,
//! unless [`allow_http`](AwsConfig::allow_http) is set. (With
//! [`with_sdk_config`](AwsBackend::with_sdk_config), the application's HTTP client makes the
//! connections.) The SDK's copies of values, and the buffers of the HTTP and TLS libraries, are not
//! wiped.
//!
//! The backend hides the SDK's own events from `tracing`'s subscribers: some of them show credentials,
//! such as an answer of AWS STS that the SDK cannot parse, or the tokens of the instance metadata
//! service.
//!
//! # A key of AWS KMS
//! With the feature `kms`, `KmsKey` wraps other keys with a key of AWS KMS: a
//! [`WrappingKey`](strongroom_core::WrappingKey).
//!
//! [`VersionSelector::Stage`]: strongroom_core::VersionSelector::Stage

#![cfg_attr(docsrs, feature(doc_cfg))]

mod annotate;
mod backend;
mod batch;
mod batch_denial;
mod client;
mod config;
mod credentials;
mod delete;
mod describe;
mod error;
mod health;
#[cfg(feature = "kms")]
mod kms;
mod list;
mod metadata;
mod metadata_cache;
mod name;
mod omitted_names;
mod put;
mod read;
mod request;
mod sdk_config;
mod settings;
mod value;
mod versions;
mod write_task;

/// The SDK's configuration, for applications that load it themselves and call
/// [`AwsBackend::with_sdk_config`]: the one type of another crate in this API.
pub use aws_config::SdkConfig;
pub use backend::AwsBackend;
pub use config::{AssumedRole, AwsConfig, StaticCredentials};
#[cfg(feature = "kms")]
pub use kms::KmsKey;
pub use settings::SETTINGS;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
