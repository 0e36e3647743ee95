//! Hashed references to secrets.

use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::AuditRecord;
use crate::log::keys;

/// The members of details whose texts name neither a tenant nor a secret. Those that are not known, also those of
/// later releases, are hashed.
const PLAIN: &[&str] = &[
    "approval",
    "created_with",
    "denial",
    "exact",
    "grant",
    "id",
    "notice",
    "outcome",
    "rule",
    "sha256",
    "stage",
    "state",
    "step",
    "tier",
    "token",
    "type",
    "usage",
    "version",
];

/// The members of details that name principals.
const PRINCIPALS: &[&str] =
    &["approved_by", "bound_to", "by", "created_by", "excluded", "requester", "subject"];

/// The separators of the segments of a principal's text.
const SEPARATORS: [char; 2] = ['/', ':'];

/// Hashes references under a key.
pub(crate) struct References(Hmac<Sha256>);

impl References {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(keys::hmac(key))
    }

    pub(crate) fn tenant(&self, tenant: &str) -> String {
        self.hash(&["tenant", tenant])
    }

    /// The tenant is part of it: that two tenants have a secret at the same path stays hidden.
    pub(crate) fn path(&self, tenant: Option<&str>, path: &str) -> String {
        self.hash(&["path", tenant.unwrap_or_default(), path])
    }

    fn text(&self, text: &str) -> String {
        self.hash(&["text", text])
    }

    /// `HMAC-SHA-256(key, parts)`, each part after its length in 8 bytes.
    fn hash(&self, parts: &[&str]) -> String {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// The record without a reference in the clear.
    pub(crate) fn hash_record(&self, record: &AuditRecord) -> AuditRecord {
        let tenant = record.tenant.as_deref();
        let mut details = record.details.clone();
        self.hash_details("details", &mut details, tenant);
        AuditRecord {
            tenant: tenant.map(|tenant| self.tenant(tenant)),
            principal: self.principal(&record.principal, tenant),
            path: record.path.as_deref().map(|path| self.path(tenant, path)),
            reason: record.reason.as_deref().map(|reason| self.text(reason)),
            details,
            ..record.clone()
        }
    }

    /// The principal, with its tenant hashed where a whole segment is the tenant.
    fn principal(&self, principal: &str, tenant: Option<&str>) -> String {
        let Some(tenant) = tenant else { return principal.to_owned() };
        let segments = principal.split_inclusive(SEPARATORS).map(|segment| {
            let name = segment.trim_end_matches(SEPARATORS);
            if name == tenant {
                segment.replacen(name, &self.tenant(name), 1)
            } else {
                segment.into()
            }
        });
        segments.collect()
    }

    /// Hashes the member `name` of details, and what is in it.
    fn hash_details(&self, name: &str, value: &mut Value, tenant: Option<&str>) {
        match value {
            Value::Object(members) => {
                // Rules that are carried belong to several tenants.
                let own = members.get("tenant").and_then(Value::as_str).map(str::to_owned);
                let tenant = own.as_deref().or(tenant);
                for (name, value) in members.iter_mut() {
                    self.hash_details(name, value, tenant);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.hash_details(name, item, tenant);
                }
            }
            Value::String(text) => match name {
                "tenant" => *text = self.tenant(text),
                "path" => *text = self.path(tenant, text),
                "action" | "scopes" => *text = self.scope(text),
                name if PRINCIPALS.contains(&name) => *text = self.principal(text, tenant),
                name if PLAIN.contains(&name) => {}
                _ => *text = self.text(text),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A scope with its pattern hashed; an action on a secret stays as it is.
    fn scope(&self, action: &str) -> String {
        let mut parts = action.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(resource), Some(access), Some(pattern)) => {
                format!("{resource}:{access}:{}", self.text(pattern))
            }
            _ => action.to_owned(),
        }
    }
}
