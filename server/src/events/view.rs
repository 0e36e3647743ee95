//! What one listener may hear of.

use serde_json::Value;
use strongroom::access::{Actor, AuditQuery, AuditRecord, Guarded};
use strongroom_core::SecretPath;

/// The records of others that tell what becomes of a secret, and not who does what.
const OF_SECRETS: [&str; 2] = ["secret.", "rotation."];

const DENIED: &str = "vault.denied";
/// What a denial tells who was denied.
const KEPT_OF_DENIALS: [&str; 3] = ["type", "action", "denial"];

/// What one listener asks for, and may hear of.
pub(crate) struct View {
    actor: Actor,
    secrets: Guarded,
    pub(super) query: AuditQuery,
    /// Whether it listens by the right to read the audit, as it was when it began.
    reads_audit: bool,
}

impl View {
    /// What the principal may hear of its own tenant.
    pub(crate) fn new(actor: Actor, secrets: Guarded, query: AuditQuery) -> Self {
        let query = query.tenant(actor.tenant().clone());
        let reads_audit = actor.may_read_audit();
        Self { actor, secrets, query, reads_audit }
    }

    /// Whether it listens by the right to read the audit.
    pub(crate) fn reads_audit(&self) -> bool {
        self.reads_audit
    }

    /// Whether the listener may hear of anything still: neither the token nor the right by which it listens has ended.
    pub(super) fn is_living(&self) -> bool {
        self.actor.is_living() && (!self.reads_audit || self.actor.may_read_audit())
    }

    /// Whether the listener may hear of a record now, and has asked for it.
    pub(super) fn shows(&self, record: &AuditRecord) -> bool {
        self.query.matches(record)
            && (self.reads_audit
                || record.principal == self.actor.principal()
                || self.tells_of_readable(record))
    }

    /// The record as the listener may see it. Without the right to read the audit, a denial tells no more than the answer
    /// to the request did: not whether the policy denied it and why, and not the tier that the secret has.
    pub(super) fn redact(&self, record: &AuditRecord) -> Option<AuditRecord> {
        if self.reads_audit || record.event != DENIED {
            return None;
        }
        let mut redacted = record.clone();
        if let Some(details) = redacted.details.as_object_mut() {
            details.retain(|name, _| KEPT_OF_DENIALS.contains(&name.as_str()));
            if let Some(denial) = details.get_mut("denial")
                && (denial == "policy" || denial == "policy_failed")
            {
                let missing = if record.token.is_some() { "no_scope" } else { "no_grant" };
                *denial = Value::from(missing);
            }
        }
        Some(redacted)
    }

    fn tells_of_readable(&self, record: &AuditRecord) -> bool {
        let readable = |path: &str| {
            let full = self.secrets.full(&SecretPath::parse(path).ok()?).ok()?;
            self.secrets.readable(&full)
        };
        OF_SECRETS.iter().any(|prefix| record.event.starts_with(prefix))
            && record.path.as_deref().is_some_and(|path| readable(path).is_some())
    }
}
