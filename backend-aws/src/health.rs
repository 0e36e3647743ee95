//! Checks the service with the cheapest request: one for a secret that does not exist.

use strongroom_core::{Error, Health, HealthStatus, Result};

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
                // The role may have it for other names.
                Reason::Denied => {
                    let error = Error::from(failure);
                    (HealthStatus::Degraded, vec![("permission", error.to_string())])
                }
                _ => return Err(failure.into()),
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
