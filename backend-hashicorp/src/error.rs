//! Maps error responses to errors of Strongroom. Their texts are searched and then dropped: servers
//! quote requests in them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_core::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::names::decode;
use crate::response::Response;

/// The permission that a request needs. If the server denies it, the advice names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequiredPermission<'a> {
    /// The capability in the policy.
    pub(crate) capability: &'static str,
    /// The path in the policy.
    pub(crate) path: &'a str,
}

/// What the body of an error says. Its texts may quote the request, so they are wiped on drop.
pub(crate) struct ErrorBody {
    /// The errors and the warnings.
    lines: Vec<Zeroizing<String>>,
    /// How many errors there are; `None` if the body has no such list.
    errors: Option<usize>,
    has_data: bool,
}

#[derive(Deserialize)]
struct RawErrorBody<'a> {
    #[serde(borrow, default)]
    errors: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    warnings: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl ErrorBody {
    /// Parses the body of an error; `None` if a server of this kind has not written it.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let RawErrorBody { errors, warnings, data } = serde_json::from_slice(body).ok()?;
        let count = errors.as_ref().map(Vec::len);
        let lines = [errors, warnings].into_iter().flatten().flatten();
        let lines = lines.map(|line| Zeroizing::new(line.into_owned())).collect();
        Some(Self { lines, errors: count, has_data: data.is_some() })
    }
}

impl Response {
    /// Whether an error or a warning contains a text. The rest of the body is not searched: it may
    /// contain names and tags, which the server has not written.
    pub(crate) fn error_contains(&self, text: &str) -> bool {
        self.error.iter().flat_map(|error| &error.lines).any(|line| line.contains(text))
    }

    /// Whether a Vault or OpenBao server has written this error, and not a proxy.
    pub(crate) fn is_server_error(&self) -> bool {
        self.error.as_ref().is_some_and(|body| body.errors.is_some()) && !self.is_unmounted()
    }

    /// Whether the server denies the request and does not name a policy as the reason: the token may
    /// be unknown, expired, revoked or used up. Only a hint: Vault says so; OpenBao does not.
    pub(crate) fn may_mean_dead_token(&self) -> bool {
        self.status == 403
            && self.is_server_error()
            && (self.error_contains("invalid token")
                || !(self.error_contains("* permission denied")
                    || self.error_contains("preflight capability check")))
    }

    /// Whether the server has accepted the token and answered the request itself.
    pub(crate) fn accepts_token(&self) -> bool {
        self.is_success()
            || (matches!(self.status, 400 | 403 | 404)
                && self.error.as_ref().is_some_and(|body| body.errors.is_some() || body.has_data))
    }

    /// Whether the server, and not a proxy, says that the path does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        let is_not_found = |body: &ErrorBody| body.has_data || body.errors == Some(0);
        self.status == 404 && !self.is_for_kv_v2() && self.error.as_ref().is_some_and(is_not_found)
    }

    fn has_data(&self) -> bool {
        self.error.as_ref().is_some_and(|body| body.has_data)
    }

    /// Whether the server rejects the address of this host.
    pub(crate) fn rejects_address(&self) -> bool {
        self.error_contains("CIDR restrictions")
    }

    /// Whether the server has got plain HTTP where it expects TLS, as servers in Go say.
    fn expects_tls(&self) -> bool {
        self.status == 400
            && self.body().starts_with(b"Client sent an HTTP request to an HTTPS server")
    }

    /// Whether no secrets engine is mounted at the path, or the namespace does not exist.
    pub(crate) fn is_unmounted(&self) -> bool {
        self.status == 404
            && (self.error_contains("no handler for route")
                || self.error_contains("namespace not found"))
    }

    /// Whether a request for KV version 1 has reached an engine of version 2.
    pub(crate) fn is_for_kv_v2(&self) -> bool {
        self.status == 404 && self.error_contains("Invalid path for a versioned")
    }

    /// Whether the check-and-set condition of a write did not hold.
    pub(crate) fn is_cas_mismatch(&self) -> bool {
        self.status == 400 && self.error_contains("check-and-set parameter did not match")
    }

    /// Whether the mount requires a check-and-set condition.
    pub(crate) fn requires_cas(&self) -> bool {
        self.status == 400 && self.error_contains("check-and-set parameter required")
    }

    /// Whether the mount requires another check-and-set condition for metadata.
    pub(crate) fn requires_metadata_cas(&self) -> bool {
        self.status == 400 && self.error_contains("metadata check-and-set parameter")
    }

    /// Whether no later attempt can renew the token.
    pub(crate) fn forbids_renewal(&self) -> bool {
        (matches!(self.status, 400 | 403 | 404) && self.is_server_error())
            || self.error_contains("past the max TTL")
            || self.error_contains("does not exist during renewal")
    }

    /// The error that this response means for a request with this permission.
    pub(crate) fn to_error(&self, permission: RequiredPermission<'_>) -> Error {
        match self.status {
            403 if self.is_server_error() => permission_denied(permission),
            404 if self.is_not_found() && self.has_data() => deleted_version(),
            404 if self.is_not_found() => not_found(),
            404 if self.is_for_kv_v2() => mount_upgrading(),
            400 if self.is_cas_mismatch() => version_conflict(),
            413 => too_large(),
            400 if self.error_contains("exceeded maximum") || self.error_contains("too large") => {
                too_large()
            }
            400 if self.error_contains("Upgrading from non-versioned") => mount_upgrading(),
            400 | 405 if self.is_server_error() => {
                Error::new(ErrorKind::InvalidInput, "look for the reason in the server's log")
                    .because(format!("the server rejected the request with status {}", self.status))
            }
            _ => self.to_server_error(),
        }
    }

    /// The error of a server that cannot serve now, or has nothing mounted at the path.
    pub(crate) fn to_server_error(&self) -> Error {
        if self.is_unmounted() {
            return if self.error_contains("namespace not found") {
                config("the server has no such namespace", "check `VAULT_NAMESPACE`")
            } else {
                config(
                    "no secrets engine is mounted there",
                    "check `SECRETS_VAULT_MOUNT`, or enable a KV engine there",
                )
            };
        }
        let (kind, cause, advice) = match self.status {
            429 if self.error_contains("rate limit") || self.retry_after.is_some() => (
                ErrorKind::RateLimited,
                "a quota of the server is used up",
                "send fewer requests, or raise the quota",
            ),
            429 => (
                ErrorKind::RateLimited,
                "the server limits the request rate",
                "send fewer requests",
            ),
            503 if self.error_contains("sealed") => {
                (ErrorKind::Unavailable, "the server is sealed", "unseal it")
            }
            300..400 => return redirected(self.status),
            400 if self.expects_tls() => {
                return Error::new(ErrorKind::Unavailable, "begin `VAULT_ADDR` with `https`")
                    .because("the server expects TLS at this address")
                    .temporary(false);
            }
            408 | 412 | 472 | 473 | 500..600 => (
                ErrorKind::Unavailable,
                "the server cannot serve requests now",
                "try again; if it lasts, check the server's health and log",
            ),
            _ => return invalid_response(),
        };
        let error = Error::new(kind, advice).because(format!("{cause} (status {})", self.status));
        match self.retry_after {
            Some(after) => error.with_retry_after(after),
            None => error,
        }
    }
}

fn permission_denied(permission: RequiredPermission<'_>) -> Error {
    let RequiredPermission { capability, path } = permission;
    let path = decode(path);
    // In a policy, the segment `+` matches any segment.
    let path = if path.split('/').any(|segment| segment == "+") {
        "this path".to_owned()
    } else {
        format!("`{path}`")
    };
    let advice = format!("grant `{capability}` on {path} to this role or token");
    Error::new(ErrorKind::Denied, advice)
}

/// The server has the version, but not its value.
fn deleted_version() -> Error {
    Error::new(ErrorKind::NotFound, "undelete the secret, or write it again")
        .because("this version was deleted or destroyed")
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "check the path, or write the secret first")
}

pub(crate) fn version_conflict() -> Error {
    Error::new(ErrorKind::Conflict, "read the secret again and retry")
        .because("another version is active")
}

pub(crate) fn config(
    cause: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    Error::new(ErrorKind::Config, advice).because(cause)
}

pub(crate) fn unauthenticated(
    cause: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

/// Another attempt would be redirected as well, so the error is permanent.
fn redirected(status: u16) -> Error {
    let advice = "set `VAULT_ADDR` to the active node or to a load balancer that finds it, or set \
                  `SECRETS_VAULT_FOLLOW_REDIRECTS` if the nodes share a certificate";
    Error::new(ErrorKind::Unavailable, advice)
        .because(format!(
            "the server redirects (status {status}), and redirects are not followed: they would carry \
             the token to another host"
        ))
        .temporary(false)
}

pub(crate) fn invalid_response() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "check that `VAULT_ADDR` is a Vault or OpenBao server, and any proxy in front of it",
    )
    .because("the response is not one of a Vault or OpenBao server")
}

fn mount_upgrading() -> Error {
    Error::new(ErrorKind::Unavailable, "try again")
        .because("the KV engine mounted there is being upgraded to version 2")
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidInput, "split the value or store a reference")
        .because("the value is larger or has more fields than the server accepts")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response::new(status, None, Vec::from(body).into())
    }

    fn error(status: u16, body: &str) -> Error {
        let permission = RequiredPermission { capability: "read", path: "secret/data/a" };
        response(status, body).to_error(permission)
    }

    #[test]
    fn each_response_has_its_error_kind() {
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
            let error = error(status, body);
            assert_eq!(error.kind(), kind, "{status} {body}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!error.advice().is_empty());
        }
    }

    #[test]
    fn the_error_of_a_sealed_server_says_so() {
        assert!(error(503, r#"{"errors":["Vault is sealed"]}"#).to_string().contains("sealed"));
        assert!(!error(503, "").to_string().contains("sealed"));
    }

    #[test]
    fn ignores_tags_that_read_like_errors_of_the_server() {
        for tag in ["no handler for route", "Invalid path for a versioned", "namespace not found"] {
            let body = format!(
                r#"{{"data":{{"data":null,"metadata":{{"custom_metadata":{{"note":"{tag}"}}}}}}}}"#
            );
            assert_eq!(error(404, &body).kind(), ErrorKind::NotFound, "{tag}");
        }
    }

    #[test]
    fn the_advice_never_grants_a_wildcard() {
        let permission = RequiredPermission { capability: "read", path: "secret/data/a/+/b" };
        let error = response(403, r#"{"errors":[]}"#).to_error(permission);
        assert!(!error.advice().contains('+'), "{error}");
    }

    #[test]
    fn passes_on_retry_after() {
        let mut response = response(429, "");
        response.retry_after = Some(Duration::from_secs(7));
        assert_eq!(response.to_server_error().retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn tells_a_dead_token_from_a_policy_denial() {
        let policy = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(!response(403, policy).may_mean_dead_token());
        // OpenBao, and Vault.
        for dead in [
            r#"{"errors":["permission denied"]}"#,
            r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
        ] {
            assert!(response(403, dead).may_mean_dead_token(), "{dead}");
        }
        let dead = r#"{"errors":["permission denied"]}"#;
        assert!(!response(400, dead).may_mean_dead_token());
    }
}
