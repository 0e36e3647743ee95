//! Answers that are no success, as errors of our own. Their texts are searched and dropped: servers
//! quote requests in them.

use strongroom_core::{Error, ErrorKind};

use crate::answer::{Remarks, unreadable};
use crate::http::Response;

/// What a request needs, for the advice when it is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// The capability in the policy.
    pub(crate) capability: &'static str,
    /// The path in the policy.
    pub(crate) path: &'a str,
}

impl Response {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether an error or a warning contains a text. Nothing else is searched: what a secret is
    /// called or tagged is not the server's word.
    fn says(&self, text: &str) -> bool {
        let Some(remarks) = self.remarks() else { return false };
        let lines = [remarks.errors, remarks.warnings].into_iter().flatten().flatten();
        lines.into_iter().any(|line| line.contains(text))
    }

    /// Whether it is a refusal that does not say that a policy is the reason: the token may be
    /// unknown, expired, revoked or used up. A hint only. Vault says so; OpenBao says nothing.
    pub(crate) fn is_unexplained_refusal(&self) -> bool {
        self.status == 403
            && self.is_own_refusal()
            && (self.says("invalid token")
                || !(self.says("* permission denied") || self.says("preflight capability check")))
    }

    /// Whether it says that nothing is there, in the words of the server and not of something
    /// between here and there.
    pub(crate) fn is_absent(&self) -> bool {
        let is_absent = |remarks: Remarks<'_>| {
            remarks.data.is_some() || remarks.errors.is_some_and(|errors| errors.is_empty())
        };
        self.status == 404 && !self.is_for_version_two() && self.remarks().is_some_and(is_absent)
    }

    /// Whether it says that the path leads to no engine or no namespace.
    pub(crate) fn is_unmounted(&self) -> bool {
        self.status == 404
            && (self.says("no handler for route") || self.says("namespace not found"))
    }

    /// Whether it says that a request in the form of version 1 of the KV engine met version 2.
    pub(crate) fn is_for_version_two(&self) -> bool {
        self.status == 404 && self.says("Invalid path for a versioned")
    }

    /// Whether it is in the form in which the server refuses, and not from something between here
    /// and there.
    pub(crate) fn is_own_refusal(&self) -> bool {
        self.remarks().is_some_and(|remarks| remarks.errors.is_some()) && !self.is_unmounted()
    }

    /// Whether the server has answered the request itself, having taken the token.
    pub(crate) fn is_about_the_request(&self) -> bool {
        self.is_success()
            || (matches!(self.status, 400 | 403 | 404)
                && self.remarks().is_some_and(|said| said.errors.is_some() || said.data.is_some()))
    }

    /// Whether a conditional write was refused because its condition did not hold.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == 400 && self.says("check-and-set parameter did not match")
    }

    /// Whether a write was refused because the mount wants a condition.
    pub(crate) fn wants_condition(&self) -> bool {
        self.status == 400 && self.says("check-and-set parameter required")
    }

    /// Whether a change of metadata was refused because the mount wants another condition.
    pub(crate) fn wants_metadata_condition(&self) -> bool {
        self.status == 400 && self.says("metadata check-and-set parameter")
    }

    /// Whether asking again cannot renew a token.
    pub(crate) fn ends_renewal(&self) -> bool {
        (matches!(self.status, 400 | 403 | 404) && self.is_own_refusal())
            || self.says("past the max TTL")
            || self.says("does not exist during renewal")
    }

    /// The error that this answer stands for.
    pub(crate) fn refusal(&self, needs: Needs<'_>) -> Error {
        let Needs { capability, path } = needs;
        match self.status {
            403 if self.is_own_refusal() => {
                // In a policy, a segment `+` stands for any.
                let place = if path.split('/').any(|segment| segment == "+") {
                    "this path".to_owned()
                } else {
                    format!("`{path}`")
                };
                let advice = format!("grant `{capability}` on {place} to this role or token");
                Error::new(ErrorKind::Denied, advice)
            }
            404 if self.is_absent() => not_found(),
            404 if self.is_for_version_two() => upgraded(),
            400 if self.is_conflict() => {
                Error::new(ErrorKind::Conflict, "read the secret again and decide anew")
                    .because("another version is active")
            }
            413 => too_large(),
            400 if self.says("exceeded maximum") || self.says("too large") => too_large(),
            400 if self.says("Upgrading from non-versioned") => upgraded(),
            400 | 405 if self.is_own_refusal() => {
                Error::new(ErrorKind::InvalidInput, "look for the reason in its log")
                    .because(format!("the server refused the request with status {}", self.status))
            }
            _ => self.passing(),
        }
    }

    /// The error of a server that cannot serve now, or not there.
    pub(crate) fn passing(&self) -> Error {
        if self.is_unmounted() {
            return if self.says("namespace not found") {
                config("the server has no such namespace", "check `VAULT_NAMESPACE`")
            } else {
                config(
                    "nothing is mounted there",
                    "check `SECRETS_VAULT_MOUNT`, or enable a KV engine there",
                )
            };
        }
        let (kind, cause, advice) = match self.status {
            429 if self.says("rate limit") || self.retry_after.is_some() => (
                ErrorKind::RateLimited,
                "a quota of the server is used up",
                "ask less often, or raise the quota",
            ),
            429 => (ErrorKind::RateLimited, "the server asks to slow down", "ask less often"),
            503 if self.says("sealed") => {
                (ErrorKind::Unavailable, "the server is sealed", "unseal it")
            }
            300..400 => (
                ErrorKind::Unavailable,
                "the server redirects, and redirects are not followed: they would carry the token \
                 to another host",
                "set `VAULT_ADDR` to the active node or to a load balancer that finds it",
            ),
            408 | 412 | 472 | 473 | 500..600 => (
                ErrorKind::Unavailable,
                "the server cannot serve now",
                "try again; if it lasts, look at the server's health and log",
            ),
            _ => return unreadable(),
        };
        let error = Error::new(kind, advice).because(format!("{cause} (status {})", self.status));
        match self.retry_after {
            Some(after) => error.with_retry_after(after),
            None => error,
        }
    }
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or write the secret first")
}

pub(crate) fn config(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Config, advice).because(cause)
}

fn upgraded() -> Error {
    Error::new(ErrorKind::Unavailable, "try again")
        .because("the KV engine mounted there is being upgraded to version 2")
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidInput, "split the value or store a reference")
        .because("the value is larger or has more members than the server accepts")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response { status, retry_after: None, body: Vec::from(body).into() }
    }

    fn refused(status: u16, body: &str) -> Error {
        response(status, body).refusal(Needs { capability: "read", path: "secret/data/a" })
    }

    #[test]
    fn each_answer_has_its_kind() {
        for (status, body, kind) in [
            (403, r#"{"errors":["permission denied"]}"#, ErrorKind::Denied),
            (404, r#"{"errors":[]}"#, ErrorKind::NotFound),
            (404, r#"{"data":{"data":null,"metadata":{}}}"#, ErrorKind::NotFound),
            (404, r#"{"errors":["no handler for route \"x\"."]}"#, ErrorKind::Config),
            (404, r#"{"errors":["namespace not found"]}"#, ErrorKind::Config),
            (404, "<html>not here</html>", ErrorKind::Unavailable),
            (403, "<html>not you</html>", ErrorKind::Unavailable),
            (400, "<html>not this</html>", ErrorKind::Unavailable),
            (400, r#"{"errors":["check-and-set parameter did not match"]}"#, ErrorKind::Conflict),
            (400, r#"{"errors":["hunter2 is not valid"]}"#, ErrorKind::InvalidInput),
            (413, "", ErrorKind::InvalidInput),
            (429, r#"{"errors":["rate limit quota exceeded"]}"#, ErrorKind::RateLimited),
            (500, r#"{"errors":["local node not active"]}"#, ErrorKind::Unavailable),
            (502, "<html>bad gateway hunter2</html>", ErrorKind::Unavailable),
            (503, r#"{"errors":["Vault is sealed"]}"#, ErrorKind::Unavailable),
            (307, "", ErrorKind::Unavailable),
            (418, "hunter2", ErrorKind::Unavailable),
        ] {
            let error = refused(status, body);
            assert_eq!(error.kind(), kind, "{status} {body}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!error.advice().is_empty());
        }
    }

    #[test]
    fn a_seal_is_told_from_other_troubles() {
        assert!(refused(503, r#"{"errors":["Vault is sealed"]}"#).to_string().contains("sealed"));
        assert!(!refused(503, "").to_string().contains("sealed"));
    }

    #[test]
    fn what_a_secret_is_called_or_tagged_is_not_taken_for_the_servers_word() {
        for tag in ["no handler for route", "Invalid path for a versioned", "namespace not found"] {
            let body = format!(
                r#"{{"data":{{"data":null,"metadata":{{"custom_metadata":{{"note":"{tag}"}}}}}}}}"#
            );
            assert_eq!(refused(404, &body).kind(), ErrorKind::NotFound, "{tag}");
        }
    }

    #[test]
    fn advice_grants_no_more_than_the_path() {
        let needs = Needs { capability: "read", path: "secret/data/a/+/b" };
        let error = response(403, r#"{"errors":[]}"#).refusal(needs);
        assert!(!error.advice().contains('+'), "{error}");
    }

    #[test]
    fn the_wish_to_wait_is_passed_on() {
        let mut answer = response(429, "");
        answer.retry_after = Some(Duration::from_secs(7));
        assert_eq!(answer.passing().retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_policy_explains_itself_and_a_dead_token_does_not() {
        let policy = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(!response(403, policy).is_unexplained_refusal());
        // OpenBao, and Vault.
        for dead in [
            r#"{"errors":["permission denied"]}"#,
            r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
        ] {
            assert!(response(403, dead).is_unexplained_refusal(), "{dead}");
        }
        let dead = r#"{"errors":["permission denied"]}"#;
        assert!(!response(400, dead).is_unexplained_refusal());
    }
}
