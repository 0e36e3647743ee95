//! How the service is, asked with the cheapest request there is: the description of a secret that
//! does not exist.

use strongroom_core::{Error, ErrorKind, Health, HealthStatus, Result};

use crate::client::Client;
use crate::refusal::{Code, Needs, answered, unreadable};

/// A name that no path leads to.
const NO_SECRET: &str = "=strongroom=health";

impl Client {
    pub(crate) async fn health(&self) -> Result<Health> {
        let name = format!("{}{NO_SECRET}", self.names.beginning(None));
        let needs = Needs { action: "DescribeSecret", secret: Some(&name) };
        let request = self.sdk.describe_secret().secret_id(&name);
        let (status, details) = match answered(request.send(), needs).await {
            Ok(output) if output.name().is_none() => return Err(unreadable()),
            Ok(_) => (HealthStatus::Ready, Vec::new()),
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
