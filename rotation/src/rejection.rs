//! Which responses reject the key of their request.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

/// Which responses say that the service rejects the key of the request: 401 unless you set others.
///
/// After a rejection, [`RotatingKeyLayer`](crate::RotatingKeyLayer) and
/// [`RotatingKeyMiddleware`](crate::RotatingKeyMiddleware) check the store for a newer key, and send the
/// request once more if there is one. They do so for every method, so name only responses to
/// requests that the service **has not carried out**.
///
/// # 403
/// Some services answer 403 to a key that has been replaced. Without 403 among the rejections, requests
/// then fail until the engine notices the new key by itself, within a third of
/// [`propagation_timeout`](crate::RotationPolicy::propagation_timeout). It is not among them by default
/// because it usually says that the key is valid and lacks a permission; RFC 9110, section 15.5.4, allows
/// a request with other credentials after it, and warns that a request may be forbidden for reasons
/// unrelated to the credentials. Such a 403 costs little: after each check that finds no newer key, the
/// engine waits longer before the next one, and requests stop waiting for it.
///
/// # Examples
/// ```
/// use http::{StatusCode, header};
/// use strongroom_rotation::Rejection;
///
/// let or_forbidden = Rejection::statuses([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
///
/// // 400 with `WWW-Authenticate: Bearer error="invalid_token"`
/// let invalid_token = Rejection::when(|status, headers| {
///     let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|line| line.to_str().ok());
///     status == StatusCode::UNAUTHORIZED
///         || status == StatusCode::BAD_REQUEST
///             && challenge.is_some_and(|challenge| challenge.contains("invalid_token"))
/// });
/// # let _ = (or_forbidden, invalid_token);
/// ```
#[derive(Clone)]
pub struct Rejection(Rule);

#[derive(Clone)]
enum Rule {
    Statuses(Arc<[StatusCode]>),
    When(Arc<Predicate>),
}

type Predicate = dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync;

impl Rejection {
    /// Responses with one of these statuses. They replace the default: name 401 as well.
    #[must_use]
    pub fn statuses(statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        Self(Rule::Statuses(statuses.into_iter().collect()))
    }

    /// Responses for which this function returns `true`. It sees the status and the headers of each
    /// response to a request with the key, not the body, and must not block.
    ///
    /// If it panics, the layer and the middleware log an error and pass the response on.
    #[must_use]
    pub fn when(
        is_rejection: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Rule::When(Arc::new(is_rejection)))
    }

    pub(super) fn matches(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match &self.0 {
            Rule::Statuses(statuses) => statuses.contains(&status),
            Rule::When(is_rejection) => {
                // A bug in the function must not lose the response.
                let matched = catch_unwind(AssertUnwindSafe(|| is_rejection(status, headers)));
                matched.unwrap_or_else(|_| {
                    tracing::error!(
                        status = status.as_u16(),
                        "the function given to Rejection::when panicked; the response is passed on"
                    );
                    false
                })
            }
        }
    }
}

/// 401 alone.
impl Default for Rejection {
    fn default() -> Self {
        Self::statuses([StatusCode::UNAUTHORIZED])
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Statuses(statuses) => f.debug_tuple("Rejection").field(statuses).finish(),
            Rule::When(_) => f.write_str("Rejection(function)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    fn matches(rejection: &Rejection, status: u16, challenge: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        }
        rejection.matches(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn only_401_rejects_the_key_by_default() {
        let rejection = Rejection::default();
        for status in 200..600 {
            assert_eq!(matches(&rejection, status, None), status == 401, "{status}");
        }
    }

    #[test]
    fn the_configured_statuses_replace_the_default() {
        let rejection = Rejection::statuses([StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST]);
        for status in 200..600 {
            assert_eq!(matches(&rejection, status, None), [400, 403].contains(&status));
        }
    }

    #[test]
    fn a_function_sees_the_status_and_the_headers() {
        let rejection = Rejection::when(|status, headers| {
            status == StatusCode::BAD_REQUEST && headers.contains_key(WWW_AUTHENTICATE)
        });
        assert!(matches(&rejection, 400, Some("Bearer")));
        assert!(!matches(&rejection, 400, None));
        assert!(!matches(&rejection, 401, Some("Bearer")));
    }

    #[test]
    fn a_function_that_panics_rejects_nothing() {
        let rejection = Rejection::when(|_, _| panic!("a bug"));
        assert!(!matches(&rejection, 401, None));
    }

    #[test]
    fn debug_shows_the_statuses_and_no_function() {
        assert_eq!(format!("{:?}", Rejection::default()), "Rejection([401])");
        assert_eq!(format!("{:?}", Rejection::when(|_, _| true)), "Rejection(function)");
    }
}
