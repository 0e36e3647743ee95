//! The anchor of the native store as a secret of another backend, which the same settings configure.

use std::fmt;
use std::result::Result as StdResult;
use std::sync::Arc;
use std::time::Duration;

use strongroom_backend_native::{AnchorStore, SecretAnchor};
use strongroom_core::{Backend, Result, SecretPath, Settings, Version, async_trait};

use crate::backends::{self, BackendConfig, BackendKind};

/// The anchor at a path of the backend of a kind. The error says what is wrong with the kind.
pub(crate) fn from_settings(
    settings: &Settings,
    kind: &str,
    path: SecretPath,
    interval: Option<Duration>,
) -> StdResult<Arc<dyn AnchorStore>, String> {
    let kind = backends::find(kind).ok_or("is no backend; set it to `hashicorp` or `aws`")?;
    let name = kind.name;
    match name {
        "native" => return Err("must be another backend than the store itself".into()),
        "env" => return Err("cannot be `env`, which writes nothing".into()),
        _ if kind.settings.is_none() => {
            return Err(format!("needs the cargo feature `{name}` of `strongroom`"));
        }
        _ => {}
    }
    if let Err(error) = BackendConfig::from_settings(kind, settings) {
        return Err(format!("needs the settings of `{name}`: {}", error.problems().join("; ")));
    }
    Ok(Arc::new(BackendAnchor {
        kind,
        settings: settings.clone(),
        name: format!("{path} in {name}"),
        path,
        interval: interval.unwrap_or_else(|| SecretAnchor::default_interval(name)),
    }))
}

/// An anchor in a backend that is opened for each call: calls are rare, and each has a runtime of its own, with which the
/// connections and the renewal of a session would end.
struct BackendAnchor {
    kind: &'static BackendKind,
    settings: Settings,
    path: SecretPath,
    name: String,
    interval: Duration,
}

impl BackendAnchor {
    async fn open(&self) -> Result<(Arc<dyn Backend>, SecretAnchor)> {
        let backend = BackendConfig::from_settings(self.kind, &self.settings)?.open().await?;
        let anchor = SecretAnchor::new(Arc::clone(&backend), self.path.clone());
        Ok((backend, anchor))
    }
}

#[async_trait]
impl AnchorStore for BackendAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    async fn read(&self) -> Result<Option<(Vec<u8>, Version)>> {
        let (backend, anchor) = self.open().await?;
        let read = anchor.read().await;
        close(&*backend).await;
        read
    }

    async fn write(&self, bytes: &[u8], over: Option<&Version>) -> Result<Option<Version>> {
        let (backend, anchor) = self.open().await?;
        let written = anchor.write(bytes, over).await;
        close(&*backend).await;
        written
    }
}

/// Ends the session of one call. Its outcome counts even if the session does not end in order.
async fn close(backend: &dyn Backend) {
    if let Err(error) = backend.close().await {
        tracing::debug!(%error, "the session that asked for the anchor did not end in order");
    }
}

impl fmt::Debug for BackendAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendAnchor")
            .field("name", &self.name)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
