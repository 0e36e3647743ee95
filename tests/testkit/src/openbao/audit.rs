//! The server's own record of its requests.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Server;

/// The file of a server's audit device.
#[derive(Debug)]
pub struct AuditLog(PathBuf);

impl Server {
    /// Enables an audit device, which records every request from now on.
    pub async fn enable_audit(&self) -> AuditLog {
        let file = self.process.directory().join("audit.log");
        // Accessors are not secret, and identify the token of an entry.
        let options = json!({ "file_path": file, "hmac_accessor": "false" });
        let device = json!({ "type": "file", "options": options });
        self.admin("PUT", "sys/audit/tests", Some(device)).await;
        AuditLog(file)
    }
}

impl AuditLog {
    /// All entries so far, oldest first: one with `type` = `request` before an operation, and one
    /// with `type` = `response` before its response is sent. Tests use `time`, `request.path`,
    /// `request.operation` (`update`, `read`, …), `error`, `auth.accessor` (of the token in the
    /// request) and `response.auth.accessor` (of the token that was issued). Values are hashed.
    #[must_use]
    pub fn entries(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).expect("the audit log can be read");
        // The server may not have completed the last line.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let entry = |line| serde_json::from_str(line).expect("an entry in JSON");
        whole.lines().map(entry).collect()
    }

    /// The entries for responses to requests for `path` that are not errors.
    #[must_use]
    pub fn successes(&self, path: &str) -> Vec<Value> {
        let is_success = |entry: &Value| {
            entry["type"] == "response"
                && entry["request"]["path"] == path
                && entry["error"].is_null()
        };
        self.entries().into_iter().filter(is_success).collect()
    }
}
