//! The methods and paths of an issuer.

use std::fmt;

use http::Method;
use strongroom_core::Problems;

/// Stands for the key in a path.
pub(crate) const KEY: &str = "{key}";

/// The methods and paths of the calls to an issuer.
///
/// Paths begin with a slash, are appended to the base URL, and may have a query.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpEndpoints {
    /// The method that gets a new key; default `POST`.
    pub issue_method: Method,
    /// The path that gives a new key; default `/api/keys/rotate`.
    pub issue_path: String,
    /// The method that revokes a key; default `DELETE`.
    pub revoke_method: Method,
    /// The path of a key, with `{key}` where the key stands, percent-encoded; default
    /// `/api/keys/{key}`. Anything that logs the paths of requests logs the key that it has just revoked.
    /// Check it with care: an issuer answers 404 both for a path that it does not have and for a key that
    /// it does not have.
    pub revoke_path: String,
    /// A path that only a working key can read. Default: none, and a new key counts as working.
    pub verify_path: Option<String>,
    /// A path that lists all keys of this client in full, on one page. Default: none, and keys that an
    /// interrupted attempt left behind cannot be found.
    pub list_path: Option<String>,
}

impl Default for HttpEndpoints {
    fn default() -> Self {
        Self {
            issue_method: Method::POST,
            issue_path: "/api/keys/rotate".into(),
            revoke_method: Method::DELETE,
            revoke_path: format!("/api/keys/{KEY}"),
            verify_path: None,
            list_path: None,
        }
    }
}

impl HttpEndpoints {
    pub(super) fn check(&self, problems: &mut Problems) {
        let paths = [
            ("issue_path", Some(&self.issue_path)),
            ("revoke_path", Some(&self.revoke_path)),
            ("verify_path", self.verify_path.as_ref()),
            ("list_path", self.list_path.as_ref()),
        ];
        for (name, path) in paths {
            let Some(path) = path else { continue };
            let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || !visible || path.contains('#') || path.contains("/../") {
                problems.add(format!("`endpoints.{name}` is not a path such as `/api/keys`"));
            }
            if path.matches(KEY).count() != usize::from(name == "revoke_path") {
                problems.add(format!(
                    "`endpoints.{name}`: `{KEY}` stands for a key, exactly once in `revoke_path` and \
                     nowhere else"
                ));
            }
        }
    }
}

/// Hides queries, which may hold a password.
impl fmt::Debug for HttpEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &str| match path.split_once('?') {
            Some((path, _)) => format!("{path}?[REDACTED]"),
            None => path.to_owned(),
        };
        f.debug_struct("HttpEndpoints")
            .field("issue_method", &self.issue_method)
            .field("issue_path", &path(&self.issue_path))
            .field("revoke_method", &self.revoke_method)
            .field("revoke_path", &path(&self.revoke_path))
            .field("verify_path", &self.verify_path.as_deref().map(path))
            .field("list_path", &self.list_path.as_deref().map(path))
            .finish()
    }
}
