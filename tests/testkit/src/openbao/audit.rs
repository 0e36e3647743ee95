//! The server's own record of what it was asked.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Server;

/// What the audit device of a server wrote.
#[derive(Debug)]
pub struct AuditLog(PathBuf);

impl Server {
    /// Records every request from now on.
    pub async fn enable_audit(&self) -> AuditLog {
        let file = self.process.directory().join("audit.log");
        // Accessors are no secrets, and say which token an entry is about.
        let options = json!({ "file_path": file, "hmac_accessor": "false" });
        let device = json!({ "type": "file", "options": options });
        self.admin("PUT", "sys/audit/tests", Some(device)).await;
        AuditLog(file)
    }
}

impl AuditLog {
    /// All entries so far, oldest first: one with `type` = `request` before an operation, and one
    /// with `type` = `response` before its answer is sent. Of use are `time`, `request.path`,
    /// `request.operation` (`update`, `read`, …), `error`, `auth.accessor` (of the token that was
    /// used) and `response.auth.accessor` (of the token that was given). Values are hashed.
    #[must_use]
    pub fn entries(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).expect("the audit log can be read");
        // The last line may still be in the making.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let entry = |line| serde_json::from_str(line).expect("an entry in JSON");
        whole.lines().map(entry).collect()
    }

    /// The entries for requests to `path`, which was answered without an error.
    #[must_use]
    pub fn answered(&self, path: &str) -> Vec<Value> {
        let is_answer = |entry: &Value| {
            entry["type"] == "response"
                && entry["request"]["path"] == path
                && entry["error"].is_null()
        };
        self.entries().into_iter().filter(is_answer).collect()
    }
}
