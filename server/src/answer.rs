//! Answers: JSON, secrets, and problems.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Version};
use strongroom_wire::{PROBLEM_JSON, Problem, entity_tag};
use zeroize::Zeroizing;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a handler answers.
pub(crate) type Answer<T = Response> = Result<T, Refusal>;

/// Why a request is not answered as it asks.
#[derive(Debug)]
pub(crate) struct Refusal {
    error: Error,
    /// Another status than that of the kind of error.
    status: Option<StatusCode>,
}

impl Refusal {
    /// A request that cannot be understood.
    pub(crate) fn invalid(cause: &'static str, advice: &'static str) -> Self {
        Error::new(ErrorKind::InvalidInput, advice).because(cause).into()
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut problem = Problem::new(&self.error);
        if let Some(status) = self.status {
            problem.status = status.as_u16();
        }
        let status = StatusCode::from_u16(problem.status);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.error.kind() == ErrorKind::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"strongroom\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = self.error.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        // A problem has a JSON form.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), headers, body).into_response()
    }
}

/// Whole seconds, rounded up: a client that waits so long does not come too early.
fn seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// A document without a value.
pub(crate) fn json(body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body)
        .map_err(|_| Error::new(ErrorKind::Internal, "report this").because("no JSON form"))?;
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}

/// A document that may hold values: its memory is wiped after it was sent.
pub(crate) fn wiped(body: Zeroizing<Vec<u8>>) -> Response {
    let body = Body::from(Bytes::from_owner(body));
    ([(CONTENT_TYPE, JSON)], body).into_response()
}

/// Nothing but a status that says that it was done.
pub(crate) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Adds the version as entity tag.
pub(crate) fn tagged(mut response: Response, version: &Version) -> Response {
    // It is ASCII without control characters.
    if let Ok(tag) = HeaderValue::try_from(entity_tag(version)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// What each response says: no cache between keeps it, and no browser guesses what it is.
pub(crate) fn seal(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_a_client_needs() {
        let limited = Error::new(ErrorKind::RateLimited, "wait")
            .with_retry_after(Duration::from_millis(1_001));
        let response = Refusal::from(limited).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let unknown = Error::new(ErrorKind::Unauthenticated, "log in");
        let response = Refusal::from(unknown).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        let large = Refusal::invalid("it is too large", "send less");
        let response = large.with_status(StatusCode::PAYLOAD_TOO_LARGE).into_response();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
