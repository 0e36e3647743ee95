//! How the service is, asked with the cheapest request there is: one for a secret that does not
//! exist.

use strongroom_core::{Error, ErrorKind, Health, HealthStatus, Result};

use crate::client::Client;
use crate::refusal::{Code, Failure, Needs, answered, unreadable};

/// No path leads to a name with such a segment.
const NO_SECRET: &str = "strongroom/../health";

impl Client {
    pub(crate) async fn health(&self) -> Result<Health> {
        let name = format!("{}{NO_SECRET}", self.names.beginning(None));
        let (status, details) = match self.ask_for(&name).await {
            Ok(()) => (HealthStatus::Ready, Vec::new()),
            Err(failure) => match failure.code {
                Code::NotFound | Code::Deleted => (HealthStatus::Ready, Vec::new()),
                code => degraded(code, failure.into())?,
            },
        };
        let mut health = Health::new(status).detail("region", &self.region);
        for (name, text) in details {
            health = health.detail(name, text);
        }
        Ok(health)
    }

    /// What reads do first: their permission is the one that matters.
    async fn ask_for(&self, name: &str) -> Result<(), Failure> {
        let sdk = self.sdk()?;
        let told = if self.config.read_metadata {
            let needs = Needs { action: "DescribeSecret", secret: Some(name) };
            answered(sdk.describe_secret().secret_id(name).send(), needs).await?.name
        } else {
            let needs = Needs { action: "GetSecretValue", secret: Some(name) };
            answered(sdk.get_secret_value().secret_id(name).send(), needs).await?.name
        };
        told.map(drop).ok_or_else(|| unreadable().into())
    }
}

/// The service answers, but not everything is in order.
fn degraded(code: Code, error: Error) -> Result<(HealthStatus, Vec<(&'static str, String)>)> {
    let name = match (code, error.kind()) {
        (Code::Denied, _) => "permission",
        (_, ErrorKind::Unauthenticated) => "credentials",
        _ => return Err(error),
    };
    Ok((HealthStatus::Degraded, vec![(name, error.to_string())]))
}
