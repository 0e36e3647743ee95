//! The health of the server, and of the session with it.

use serde::Deserialize;
use strongroom_core::{ErrorKind, Health, HealthStatus, Result};

use crate::client::Client;
use crate::http::Request;
use crate::response::Response;

#[derive(Deserialize)]
struct HealthReport {
    #[serde(default)]
    version: String,
    #[serde(default)]
    initialized: bool,
    #[serde(default)]
    sealed: bool,
}

impl Client {
    pub(crate) async fn health(&self) -> Result<Health> {
        let request = Request::get("sys/health").without_namespace();
        let response = self.send_without_token(&request).await?;
        let (status, state) = parse_state(&response)?;
        let mut health = Health::new(status).detail("state", state);
        if let Some(report) = parse_report(&response).filter(|report| !report.version.is_empty()) {
            health = health.detail("version", report.version);
        }
        if status != HealthStatus::Unavailable
            && let Err(error) = self.session.token().await
        {
            if error.kind() == ErrorKind::Closed {
                return Err(error);
            }
            health.status = HealthStatus::Degraded;
        }
        Ok(self.session.status().add_to(health))
    }
}

fn parse_report(response: &Response) -> Option<HealthReport> {
    serde_json::from_slice(response.body()).ok()
}

/// Maps the statuses of `sys/health`; see <https://openbao.org/api-docs/system/health/>.
fn parse_state(response: &Response) -> Result<(HealthStatus, &'static str)> {
    // A proxy may also send 429 and 503, but not with a report as the body.
    let report = parse_report(response).filter(|report| report.initialized || report.sealed);
    match (response.status, report) {
        (200, Some(_)) => Ok((HealthStatus::Ready, "active")),
        (429, Some(_)) => Ok((HealthStatus::Ready, "standby")),
        (473, Some(_)) => Ok((HealthStatus::Ready, "performance standby")),
        (472, Some(_)) => Ok((HealthStatus::Unavailable, "disaster recovery secondary")),
        (501, _) => Ok((HealthStatus::Unavailable, "uninitialised")),
        (503, Some(_)) => Ok((HealthStatus::Unavailable, "sealed")),
        _ => Err(response.to_server_error()),
    }
}
