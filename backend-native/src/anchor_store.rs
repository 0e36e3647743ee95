//! Another store that keeps the anchor of this one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_core::{
    Backend, Error, ErrorKind, PutOptions, Result, SecretPath, SecretValue, Version,
    VersionSelector, async_trait,
};
use tokio::runtime::Handle;

/// How long two updates of an anchor are apart at least.
const INTERVAL: Duration = Duration::from_secs(60);
/// The same in AWS Secrets Manager, which keeps 100 versions that are younger than 24 hours, and advises no more than
/// one update in 10 minutes; see <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.
const AWS_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// A place outside of a native store that keeps the store's anchor.
///
/// An anchor has 97 bytes and is not secret: the store signs it, and shows in it how many transactions it has had. It
/// protects as far as an attacker who can write the native store can neither write nor remove it.
///
/// The native store asks for it when it is opened, after writes at most once in an [`interval`](Self::interval), when it
/// is closed, and for `health`, `verify` and `accept_state`. Reads and writes do not wait for it. Calls are awaited on a
/// runtime of their own, for up to 10 s, and for 2 s when the store is closed.
///
/// # Errors
/// The native store passes an error on with its kind, and names the anchor in it: implementations say what
/// has failed and show no text of the service. Without the anchor, the native store does not open; one that is
/// open goes on, and warns.
#[async_trait]
pub trait AnchorStore: fmt::Debug + Send + Sync {
    /// What errors call the anchor, such as `strongroom/anchor in hashicorp`: it is not secret.
    fn name(&self) -> &str;

    /// How long two updates by one process are apart at least: 60 s unless it is implemented, and never less than 1 s. What
    /// a process has written since the last update can be rolled back unnoticed after a kill.
    fn interval(&self) -> Duration {
        INTERVAL
    }

    /// Reads the anchor, and the version that it has there. `None` if there is none.
    async fn read(&self) -> Result<Option<(Vec<u8>, Version)>>;

    /// Writes the anchor if its version is still `over`, or, without one, if there is none. Returns the new version, or
    /// `None` if it has another version: another process has written it.
    async fn write(&self, anchor: &[u8], over: Option<&Version>) -> Result<Option<Version>>;
}

/// An anchor that is a secret of another backend, as base64 text. The backend needs conditional writes
/// ([`Capability::Conditions`](strongroom_core::Capability::Conditions)), as those of AWS Secrets Manager and HashiCorp
/// Vault have.
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use strongroom_backend_native::{NativeConfig, SecretAnchor};
/// use strongroom_core::{Backend, SecretPath};
///
/// fn anchor_in(other: Arc<dyn Backend>, config: &mut NativeConfig) -> strongroom_core::Result<()> {
///     let path = SecretPath::parse("strongroom/anchor")?;
///     config.anchor_store = Some(Arc::new(SecretAnchor::new(other, path)));
///     Ok(())
/// }
/// ```
pub struct SecretAnchor {
    backend: Arc<dyn Backend>,
    path: SecretPath,
    name: String,
    interval: Duration,
    runtime: Option<Handle>,
}

impl SecretAnchor {
    /// The anchor at a path of a backend. It is written at most once a minute, and with the backend `aws` once in 15
    /// minutes.
    ///
    /// Calls of the backend run on the tokio runtime in which this is called, so that its connections and the
    /// renewal of its session stay there; outside of one, each runs on a runtime of the native store. The backend is not
    /// closed.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, path: SecretPath) -> Self {
        let kind = backend.info().kind;
        let name = format!("{path} in {kind}");
        let interval = Self::default_interval(kind);
        Self { backend, path, name, interval, runtime: Handle::try_current().ok() }
    }

    /// How long two updates by one process of an anchor in a backend of this kind are apart at least, unless
    /// [`with_interval`](Self::with_interval) sets it: 15 minutes for `aws`, 60 s for any other.
    #[must_use]
    pub fn default_interval(kind: &str) -> Duration {
        if kind == "aws" { AWS_INTERVAL } else { INTERVAL }
    }

    /// Sets how long two updates by one process are apart at least; less than 1 s counts as 1 s.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match &self.runtime {
            None => call.await,
            Some(runtime) => runtime.spawn(call).await.map_err(|_| {
                Error::new(ErrorKind::Unavailable, "keep the runtime as long as the store is open")
                    .because("the runtime of the anchor's store has ended")
            })?,
        }
    }
}

#[async_trait]
impl AnchorStore for SecretAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    async fn read(&self) -> Result<Option<(Vec<u8>, Version)>> {
        let (backend, path) = (Arc::clone(&self.backend), self.path.clone());
        let read = self.run(async move { backend.get(&path, &VersionSelector::Active).await });
        match read.await {
            Ok(secret) => {
                let text = secret.expose_bytes();
                // Another text is not an anchor, and the store says so.
                let anchor = STANDARD.decode(text).unwrap_or_else(|_| text.to_vec());
                Ok(Some((anchor, secret.version().clone())))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, anchor: &[u8], over: Option<&Version>) -> Result<Option<Version>> {
        let (backend, path) = (Arc::clone(&self.backend), self.path.clone());
        let is_new = over.is_none();
        let options = match over {
            Some(version) => PutOptions::new().must_be_version(version.clone()),
            None => PutOptions::new().must_not_exist(),
        };
        let value = SecretValue::from(STANDARD.encode(anchor));
        let written = self.run(async move { backend.put(&path, value, options).await });
        match written.await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            // It was removed since it was read.
            Err(error) if error.kind() == ErrorKind::NotFound && !is_new => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for SecretAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretAnchor")
            .field("name", &self.name)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_written_less_often_than_it_advises() {
        assert!(SecretAnchor::default_interval("aws") >= Duration::from_secs(600));
        assert_eq!(SecretAnchor::default_interval("hashicorp"), Duration::from_secs(60));
    }
}
