//! The health of the server, and of the session with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use strongroom_core::{Error, ErrorKind, Health, HealthStatus, Result, Rfc3339};

use crate::client::Client;
use crate::http::Request;
use crate::response::Response;

/// From this difference on, a login may fail because of the clocks.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct HealthReport {
    #[serde(default)]
    version: String,
    #[serde(default)]
    initialized: bool,
    #[serde(default)]
    sealed: bool,
    /// The clock of the server, in seconds since 1970.
    #[serde(default)]
    server_time_utc: u64,
}

impl Client {
    pub(crate) async fn health(&self) -> Result<Health> {
        let request = Request::get("sys/health").without_namespace();
        let response = self.send_without_token(&request).await?;
        let (status, state) = parse_state(&response)?;
        let mut health = Health::new(status).detail("state", state);
        let report = parse_report(&response);
        let mut server_time = None;
        if let Some(report) = report.filter(|report| !report.version.is_empty()) {
            if let Some(time) = report.time() {
                server_time = Some(time);
                health = health.detail("server_time", Rfc3339::seconds(time).to_string());
            }
            health = health.detail("version", report.version);
        }
        if status != HealthStatus::Unavailable {
            // Without a token, no request succeeds.
            if let Err(error) = self.session.token().await {
                return Err(explain_by_clock(error, server_time, SystemTime::now()));
            }
            if let Err(error) = self.kv_version().await {
                if error.is_temporary() || error.kind() == ErrorKind::Unauthenticated {
                    return Err(error);
                }
                health.status = HealthStatus::Degraded;
                health = health.detail("mount", error.to_string());
            }
        }
        Ok(self.session.status().add_to(health))
    }
}

impl HealthReport {
    /// The time of the server; a proxy gives none.
    fn time(&self) -> Option<SystemTime> {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(self.server_time_utc));
        time.filter(|_| self.server_time_utc > 0)
    }
}

/// Adds to a rejected login that the clocks differ, which is a common reason: tokens and signatures of another
/// time are not valid.
fn explain_by_clock(error: Error, server: Option<SystemTime>, now: SystemTime) -> Error {
    let difference = server.map(|server| match now.duration_since(server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    });
    match difference {
        Some((by, side))
            if by > MAX_CLOCK_DIFFERENCE && error.kind() == ErrorKind::Unauthenticated =>
        {
            let (cause, seconds) = (error.cause().to_owned(), by.as_secs());
            error
                .because(format!("{cause}; this machine's clock is {seconds}s {side} the server's"))
        }
        _ => error,
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
