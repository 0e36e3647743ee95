//! Records as events of the Open Cybersecurity Schema Framework.

use serde_json::{Map, Value, json};

use crate::AuditRecord;
use crate::grant::to_millis;

/// The version of the schema.
const VERSION: &str = "1.1.0";
/// Application Activity.
const CATEGORY: u32 = 6;
/// API Activity.
const CLASS: u32 = 6003;

/// `activity_id` of the class.
#[derive(Clone, Copy)]
enum Activity {
    Create = 1,
    Read = 2,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl AuditRecord {
    /// The record as an event of [OCSF](https://schema.ocsf.io/1.1.0/classes/api_activity) 1.1.0, which later 1.x
    /// versions accept: class 6003, API Activity, for every record, since each is a call of an API by an actor on a
    /// resource. (The classes of the category IAM are about accounts and groups in a directory, and 6003 is what
    /// stores of secrets in clouds report, too.)
    ///
    /// `metadata.uid` and `metadata.sequence` are the number of the record, `metadata.event_code` its event,
    /// `api.operation` the action, `resources` the secret or the rule with the tenant as `namespace`, `status_code` the
    /// outcome or the reason of a denial. The network address of the caller is not known here: `src_endpoint`, which
    /// the class requires, names the principal as its service. `unmapped` has `details` and the reason that was given.
    #[must_use]
    pub fn to_ocsf(&self) -> Value {
        let activity = self.activity() as u32;
        let failure = self.failure();
        let (status_id, status) = if failure.is_some() { (2, "Failure") } else { (1, "Success") };
        // A denial is worth a look; nothing else is.
        let (severity_id, severity) =
            if self.event == DENIED { (2, "Low") } else { (1, "Informational") };
        let mut event = json!({
            "activity_id": activity,
            "category_uid": CATEGORY,
            "category_name": "Application Activity",
            "class_uid": CLASS,
            "class_name": "API Activity",
            "type_uid": u64::from(CLASS) * 100 + u64::from(activity),
            "severity_id": severity_id,
            "severity": severity,
            "status_id": status_id,
            "status": status,
            "time": to_millis(self.time),
            "metadata": {
                "version": VERSION,
                "product": {
                    "name": "Strongroom",
                    "vendor_name": "Strongroom",
                    "version": env!("CARGO_PKG_VERSION"),
                },
                "event_code": self.event,
                "uid": self.seq.to_string(),
                "sequence": self.seq,
                "tenant_uid": self.tenant,
                "correlation_uid": self.request_id,
            },
            "actor": { "user": {
                "uid": self.principal,
                "name": self.principal,
                "credential_uid": self.token,
            }},
            "src_endpoint": { "svc_name": self.principal },
            "api": { "operation": self.operation(), "service": { "name": "strongroom" } },
            "resources": self.resource().map(|resource| [resource]),
            "status_code": failure.or_else(|| self.detail("outcome")),
            "unmapped": { "reason": self.reason, "details": self.details },
        });
        remove_nulls(&mut event);
        event
    }

    fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name)?.as_str()
    }

    /// Why the operation failed.
    fn failure(&self) -> Option<&str> {
        let outcome = self.detail("outcome").filter(|outcome| *outcome != "allowed");
        self.detail("denial").filter(|_| self.event == DENIED).or(outcome)
    }

    /// The action on a secret, such as `secrets.read`, the scope that was denied, or the event.
    fn operation(&self) -> String {
        match self.detail("action").filter(|_| self.is_access()) {
            Some(action) if action.contains(':') => action.to_owned(),
            Some(action) => format!("secrets.{action}"),
            None => self.event.clone(),
        }
    }

    fn is_access(&self) -> bool {
        self.event == ACCESSED || self.event == DENIED
    }

    fn activity(&self) -> Activity {
        let event = self.event.as_str();
        match self.detail("action").filter(|_| self.is_access()) {
            Some("read" | "describe" | "list") => return Activity::Read,
            Some("write" | "lower_tier") => return Activity::Update,
            Some("delete" | "destroy") => return Activity::Delete,
            Some(scope) => {
                // `grants:write:…`
                return match scope.split(':').nth(1) {
                    Some("read") => Activity::Read,
                    Some("write" | "decide") => Activity::Update,
                    _ => Activity::Other,
                };
            }
            None => {}
        }
        match event {
            "grant.created" | "token.issued" | "approval.requested" => Activity::Create,
            "grant.deleted" | "token.revoked" | "audit.pruned" => Activity::Delete,
            "audit.read" => Activity::Read,
            _ if event.starts_with("approval.") => Activity::Update,
            _ => Activity::Other,
        }
    }

    /// The secret, or the rule that the event is about.
    fn resource(&self) -> Option<Value> {
        let (kind, uid) = match (&self.path, self.detail("id")) {
            (Some(path), _) => ("secret", path.as_str()),
            (None, Some(id)) => (self.event.split('.').next().unwrap_or_default(), id),
            (None, None) => return None,
        };
        Some(json!({
            "type": kind,
            "uid": uid,
            "name": uid,
            "namespace": self.tenant,
            "version": self.detail("version"),
        }))
    }
}

const ACCESSED: &str = "vault.accessed";
const DENIED: &str = "vault.denied";

/// Removes members that are absent, at any depth.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let kept = std::mem::take(members).into_iter().filter(|(_, value)| !value.is_null());
            *members = kept.collect::<Map<_, _>>();
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
