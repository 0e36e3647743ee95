//! Checks the service with the cheapest request: one for a secret that does not exist.

use strongroom_core::{Error, ErrorKind, Health, HealthStatus, Result};

use crate::client::Client;
use crate::error::{Failure, Reason, unexpected_answer};
use crate::request::{RequiredPermission, send};

/// A name that no path maps to, because of its `..`.
const PROBE: &str = "strongroom/../health";

impl Client {
    pub(crate) async fn health(&self) -> Result<Health> {
        let name = format!("{}{PROBE}", self.names.starting_with(None));
        let (status, details) = match self.probe(&name).await {
            Ok(()) => (HealthStatus::Ready, Vec::new()),
            Err(failure) => match failure.reason {
                Reason::NotFound | Reason::Deleted => (HealthStatus::Ready, Vec::new()),
                reason => report_degraded(reason, failure.into())?,
            },
        };
        let mut health = Health::new(status).detail("region", &self.region);
        for (name, text) in details {
            health = health.detail(name, text);
        }
        Ok(health)
    }

    /// Sends the first request of a read, because the permission to read is the one that matters.
    async fn probe(&self, name: &str) -> Result<(), Failure> {
        let sdk = self.sdk()?;
        let name = if self.config.read_metadata {
            let permission = RequiredPermission { action: "DescribeSecret", secret: Some(name) };
            send(sdk.describe_secret().secret_id(name).send(), permission).await?.name
        } else {
            let permission = RequiredPermission { action: "GetSecretValue", secret: Some(name) };
            send(sdk.get_secret_value().secret_id(name).send(), permission).await?.name
        };
        name.map(drop).ok_or_else(|| unexpected_answer().into())
    }
}

/// The status of a service that answers and refuses, and the reason.
fn report_degraded(
    reason: Reason,
    error: Error,
) -> Result<(HealthStatus, Vec<(&'static str, String)>)> {
    let name = match (reason, error.kind()) {
        (Reason::Denied, _) => "permission",
        (_, ErrorKind::Unauthenticated) => "credentials",
        _ => return Err(error),
    };
    Ok((HealthStatus::Degraded, vec![(name, error.to_string())]))
}
