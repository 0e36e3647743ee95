//! Strongroom's backend for AWS Secrets Manager, through the official SDK.
//!
//! ```no_run
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_backend_aws::{AwsBackend, AwsConfig};
//! use strongroom_core::{Backend, SecretPath, VersionSelector};
//!
//! let mut config = AwsConfig::default(); // region and credentials as the SDK finds them
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
//! It has to run inside a Tokio runtime with time and I/O enabled.
//!
//! # Credentials and region
//! They are found by the SDK's default chain: the environment, the shared configuration files with
//! their profiles (SSO and `credential_process` included), web identity (EKS), the container's
//! endpoint (ECS, EKS) and the instance's metadata service (EC2). A service there needs no
//! credentials of its own. They are fetched by the first call and renewed before they end. See
//! <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.
//!
//! # Secrets
//! A path is a name, below [`prefix`](AwsConfig::prefix). Names have no `:`, paths have no `=`:
//! each stands for the other. A version is the service's `VersionId`, the active one that with the
//! label `AWSCURRENT`; [`VersionSelector::Stage`] reads another label, such as `AWSPREVIOUS`.
//!
//! | value | in the service |
//! |---|---|
//! | text, fields | `SecretString`, byte for byte; a JSON object has fields |
//! | binary | `SecretBinary` |
//! | what is empty, which the service does not take, and text that begins like this | `SecretString`: `{"strongroom_format":"text","value":"…"}`, with `binary` for empty binary |
//!
//! The service keeps 65,536 bytes; more is refused before it is asked.
//!
//! Metadata is kept in tags: our own under their names, the rest as `strongroom.kind`,
//! `strongroom.tier`, `strongroom.expires_at` (RFC 3339) and `strongroom.rotation_interval`; the
//! description is the service's. In a tag's value, what the service may not take is written as
//! `=XX` behind `strongroom:`; a value that gets longer than 256 characters by that is refused.
//!
//! # Requests, which are billed
//! - The service keeps tags apart from values. The first `get` of a secret therefore makes two
//!   requests at once, `GetSecretValue` and `DescribeSecret`. What the latter says is remembered for
//!   [`metadata_ttl`](AwsConfig::metadata_ttl): until then a `get` makes one request, unless it shows
//!   that the secret has another version meanwhile. A change of tags or expiry by another process is
//!   seen that much later; before `Expired` is answered, the service is asked again.
//! - `get_many` makes one request (`BatchGetSecretValue`) for 20 secrets, four at a time, and one
//!   `DescribeSecret` for each whose metadata is not remembered, 16 at a time. Where the batch is not
//!   granted, it reads one by one for five minutes.
//! - Without [`read_metadata`](AwsConfig::read_metadata) there is no `DescribeSecret`: reads know no
//!   metadata, and nothing expires.
//! - `put` looks first, then creates the secret or adds a version. (Where `DescribeSecret` is not
//!   granted, one without condition and metadata writes at once.) With
//!   [`MustBeVersion`](strongroom_core::Condition::MustBeVersion) it adds a version that is not active
//!   and then moves `AWSCURRENT`, on condition that the expected version has it. Metadata is changed
//!   after that: in between, readers see the new value with the old metadata. If only that fails, the
//!   error says which version was written.
//! - Changes are made by a task that goes on if its caller goes away; `close` waits for it, for
//!   [`timeout`](AwsConfig::timeout) at most. Each write carries an id of ours (`ClientRequestToken`), so that a repeated attempt writes
//!   no second version.
//!
//! Each request is tried at most three times, in the SDK's standard mode, with pauses of up to 0.1 s
//! and 0.2 s (or what the service asks for in `x-amz-retry-after`, up to 2 s), and ends within
//! [`timeout`](AwsConfig::timeout), an attempt within [`attempt_timeout`](AwsConfig::attempt_timeout),
//! fetching credentials included. All clients of a process for one region share the SDK's budget of
//! retries. Nothing else repeats requests.
//!
//! # What differs from other stores
//! - A conditional `put` that loses a race leaves a version behind that was never active. The service
//!   removes versions without a label by itself, once there are more than 100 and they are 24 hours
//!   old: one secret cannot be written every few minutes for ever.
//! - `delete` has the service keep a secret for
//!   [`recovery_window_days`](AwsConfig::recovery_window_days); then it is gone. To write to a deleted
//!   secret, it is restored first: readers see its old value for a moment. If the write then fails, it
//!   is deleted again, unless it shows that somebody has written to it meanwhile; where that cannot be
//!   seen or done, a warning says that it is live.
//!   A process that is killed in between leaves it live, with its old value; one that is killed between
//!   value and metadata leaves the new value with the old metadata.
//! - After `destroy`, the service may take a moment to free the name; a `put` waits for that, for
//!   [`timeout`](AwsConfig::timeout) at most.
//! - `list` may lack what was changed in the last five minutes, as the service says of its own list.
//! - `rotate` starts the rotation that is configured for a secret, and does not wait for its end.
//! - A secret that has replicas must lose them before it can be deleted; `describe` lists them.
//! - `health` asks for a secret that does not exist, below the prefix. Where a policy grants reading of
//!   single secrets only, that is refused, and it answers `Degraded` with the detail `permission`.
//!
//! # Connection
//! Certificates are checked against the platform's authorities; nothing turns that off. For https, the
//! proxy that `HTTPS_PROXY` or `ALL_PROXY` names is used, unless `NO_PROXY` excepts the host; plain http
//! uses none. Plain http to another host is refused for Secrets Manager, wherever the endpoint was
//! configured, unless [`allow_http`](AwsConfig::allow_http) is set. (With
//! [`with_sdk_config`](AwsBackend::with_sdk_config), connections are made as the application has set
//! them up.) The SDK's copies of values, and the buffers of the HTTP and TLS libraries, are not wiped.
//!
//! The SDK's own events are kept from `tracing`'s subscribers: some of them show credentials, such as
//! an answer of AWS STS that it cannot read, or the tokens of an instance's metadata service.
//!
//! [`VersionSelector::Stage`]: strongroom_core::VersionSelector::Stage

mod annotate;
mod backend;
mod batch;
mod change;
mod client;
mod config;
mod credentials;
mod describe;
mod health;
mod http;
mod known;
mod list;
mod metadata;
mod name;
mod put;
mod quiet;
mod read;
mod refusal;
mod remove;
mod settings;
mod value;
mod versions;

pub use aws_config::SdkConfig;
pub use backend::AwsBackend;
pub use config::{AssumedRole, AwsConfig, StaticCredentials};
pub use settings::SETTINGS;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
