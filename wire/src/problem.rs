//! Errors as problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// What the name of the kind follows in the type of a problem.
const TYPE: &str = "urn:strongroom:problem:";

/// An error in JSON. It names no path: the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:strongroom:problem:` and the kind, such as `not_found`.
    pub r#type: String,
    /// The kind as a phrase.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Each problem of a request that has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Whether a retry of the same request can help.
    #[serde(default)]
    pub temporary: bool,
    /// After how many milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The id of the caller's request for approval that waits for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl Problem {
    /// The problem of an error.
    #[must_use]
    pub fn new(error: &Error) -> Self {
        let kind = error.kind();
        Self {
            r#type: format!("{TYPE}{}", kind.as_str()),
            title: kind.phrase().to_owned(),
            status: status_of(kind),
            detail: error.cause().to_owned(),
            advice: error.advice().to_owned(),
            problems: error.problems().to_vec(),
            temporary: error.is_temporary(),
            retry_after_ms: error
                .retry_after()
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            approval: error.approval().map(str::to_owned),
        }
    }

    /// The problem in the body of a response; `None` if a Strongroom server has not written it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let problem: Self = serde_json::from_slice(body).ok()?;
        problem.r#type.starts_with(TYPE).then_some(problem)
    }

    /// The error that the problem stands for. One of another server, and of a kind of a later release, gets the kind of
    /// its status.
    #[must_use]
    pub fn into_error(self) -> Error {
        let name = self.r#type.strip_prefix(TYPE);
        let kind = name.and_then(ErrorKind::from_name).unwrap_or_else(|| kind_of(self.status));
        let error = if kind == ErrorKind::Config && !self.problems.is_empty() {
            Error::config(self.problems)
        } else {
            Error::new(kind, self.advice).because(self.detail)
        };
        let error = match self.approval.filter(|id| is_id(id)) {
            Some(id) => error.with_approval(id),
            None => error,
        };
        match self.retry_after_ms {
            Some(after) => error.with_retry_after(Duration::from_millis(after)),
            None => error,
        }
        .temporary(self.temporary)
    }

    /// The kind of error of a response without a problem, such as that of a proxy.
    #[must_use]
    pub fn kind_of_status(status: u16) -> ErrorKind {
        kind_of(status)
    }
}

/// Whether a text can be an id: it becomes part of a URL.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The status for a kind of error.
const fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidInput => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::Denied | ErrorKind::ApprovalRequired => 403,
        ErrorKind::NotFound | ErrorKind::FieldNotFound => 404,
        ErrorKind::Expired => 410,
        ErrorKind::Conflict => 412,
        ErrorKind::WrongType => 422,
        ErrorKind::RateLimited => 429,
        ErrorKind::Unsupported => 501,
        ErrorKind::Unavailable | ErrorKind::Closed => 503,
        ErrorKind::Timeout => 504,
        // `Corrupt`, `Config`, `Internal`, and kinds of a later release.
        _ => 500,
    }
}

/// The kind for a status.
const fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 | 407 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        410 => ErrorKind::Expired,
        408 | 504 => ErrorKind::Timeout,
        422 => ErrorKind::WrongType,
        429 => ErrorKind::RateLimited,
        400..=499 => ErrorKind::InvalidInput,
        501 => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_survives_json() {
        for kind in ErrorKind::ALL {
            let mut error = Error::new(*kind, "do this").because("that has happened");
            if *kind == ErrorKind::Config {
                error = Error::config(vec!["one".into(), "two".into()]);
            }
            if *kind == ErrorKind::RateLimited {
                error = error.with_retry_after(Duration::from_millis(1_500));
            }
            if *kind == ErrorKind::ApprovalRequired {
                error = error.with_approval("0a");
            }
            for temporary in [error.is_temporary(), !error.is_temporary()] {
                let error = error.clone().temporary(temporary);
                let text = serde_json::to_string(&Problem::new(&error)).unwrap();
                let read = Problem::parse(text.as_bytes()).unwrap().into_error();
                assert_eq!(read.to_string(), error.to_string(), "{text}");
                assert_eq!(read.kind(), *kind);
                assert_eq!(read.is_temporary(), temporary, "{text}");
                assert_eq!(read.retry_after(), error.retry_after());
                assert_eq!(read.approval(), error.approval());
            }
        }
    }

    #[test]
    fn a_status_alone_gives_a_kind() {
        let problem = |status| Problem {
            r#type: "about:blank".into(),
            title: String::new(),
            status,
            detail: String::new(),
            advice: String::new(),
            problems: Vec::new(),
            temporary: false,
            retry_after_ms: None,
            approval: None,
        };
        let foreign = serde_json::to_vec(&problem(404)).unwrap();
        assert_eq!(Problem::parse(&foreign), None);
        assert_eq!(Problem::parse(b"<html>not here</html>"), None);
        for (status, kind) in [
            (413, ErrorKind::InvalidInput),
            (401, ErrorKind::Unauthenticated),
            (410, ErrorKind::Expired),
            (502, ErrorKind::Unavailable),
        ] {
            assert_eq!(problem(status).into_error().kind(), kind);
        }
        let odd = Problem { approval: Some("../a".into()), ..problem(403) };
        assert_eq!(odd.into_error().approval(), None);
        let later = Problem { r#type: format!("{TYPE}teapot"), ..problem(404) };
        assert_eq!(later.into_error().kind(), ErrorKind::NotFound);
    }
}
