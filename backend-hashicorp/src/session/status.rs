//! The state of a session that `health` reports.

use std::time::SystemTime;

use strongroom_core::{Error, Health, Rfc3339};

use crate::clock;
use crate::lease::Lease;
use crate::token::Grant;

/// The state of a session, without the token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// When the token expires; `None` if there is none, or if it never expires.
    pub(super) valid_until: Option<SystemTime>,
    pub(super) logins: u64,
    pub(super) renewals: u64,
    /// The names of the token's policies.
    policies: Vec<String>,
    /// The last failed login or renewal; cleared by the next success.
    pub(super) last_error: Option<Error>,
}

impl Status {
    pub(super) fn record_login(&mut self, grant: &Grant) {
        self.logins += 1;
        self.policies.clone_from(&grant.policies);
        self.record_lease(&grant.lease);
        tracing::info!(valid_until = self.format_valid_until(), "logged in");
    }

    pub(super) fn record_renewal(&mut self, lease: &Lease) {
        self.renewals += 1;
        self.record_lease(lease);
    }

    pub(super) fn record_failure(&mut self, error: &Error) {
        self.last_error = Some(error.clone());
    }

    fn record_lease(&mut self, lease: &Lease) {
        self.last_error = None;
        let expires_at = lease.expires_at();
        let remaining = expires_at.map(|at| at.saturating_duration_since(clock::now()));
        self.valid_until = remaining.and_then(|left| SystemTime::now().checked_add(left));
    }

    fn format_valid_until(&self) -> Option<String> {
        self.valid_until.map(|time| Rfc3339::seconds(time).to_string())
    }

    /// Adds the state to a report.
    pub(crate) fn add_to(&self, health: Health) -> Health {
        let mut health = health
            .detail("token_logins", self.logins.to_string())
            .detail("token_renewals", self.renewals.to_string());
        if !self.policies.is_empty() {
            health = health.detail("token_policies", self.policies.join(", "));
        }
        if let Some(until) = self.format_valid_until() {
            health = health.detail("token_valid_until", until);
        }
        match &self.last_error {
            Some(error) => health.detail("token_last_error", error.to_string()),
            None => health,
        }
    }
}
