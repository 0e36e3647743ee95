//! What operators may know about the token.

use std::time::SystemTime;

use strongroom_core::{Error, Health};
use tokio::time::Instant;

use crate::lease::Lease;

/// The state of the session, without the token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// When the token ends; `None` if there is none, or it has no end.
    pub(crate) valid_until: Option<SystemTime>,
    pub(crate) logins: u64,
    pub(crate) renewals: u64,
    /// The last failure to log in or to renew, if nothing has succeeded since.
    pub(crate) last_error: Option<Error>,
}

impl Status {
    pub(super) fn note_login(&mut self, lease: &Lease) {
        self.logins += 1;
        self.note_lease(lease);
        tracing::info!(valid_until = self.valid_until_text(), "logged in");
    }

    pub(super) fn note_renewal(&mut self, lease: &Lease) {
        self.renewals += 1;
        self.note_lease(lease);
    }

    pub(super) fn note_failure(&mut self, error: &Error) {
        self.last_error = Some(error.clone());
    }

    fn note_lease(&mut self, lease: &Lease) {
        self.last_error = None;
        let left = lease.ends().map(|ends| ends.saturating_duration_since(Instant::now()));
        self.valid_until = left.and_then(|left| SystemTime::now().checked_add(left));
    }

    fn valid_until_text(&self) -> Option<String> {
        self.valid_until.map(|time| humantime::format_rfc3339_seconds(time).to_string())
    }

    /// Adds the state to a report.
    pub(crate) fn describe(&self, health: Health) -> Health {
        let mut health = health
            .detail("token_logins", self.logins.to_string())
            .detail("token_renewals", self.renewals.to_string());
        if let Some(until) = self.valid_until_text() {
            health = health.detail("token_valid_until", until);
        }
        match &self.last_error {
            Some(error) => health.detail("token_last_error", error.to_string()),
            None => health,
        }
    }
}
