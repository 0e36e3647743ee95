//! The answers of a server.

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;
use strongroom_core::{Error, Result, Secret, SecretPath};
use strongroom_transport::{LARGE, run_blocking};
use strongroom_wire::{BatchEntry, PROBLEM_JSON, Problem, decode_batch, decode_secret};
use zeroize::Zeroizing;

use crate::addresses::Outcome;
use crate::error::{problem_error, status_error, too_large, unexpected_answer};

/// A response with any status. The body is wiped on drop.
pub(crate) struct Response {
    /// The number of the server.
    pub(crate) server: usize,
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    /// `None` for a success, and if a Strongroom server has not written the response.
    problem: Option<Problem>,
    /// `None` if it is too large.
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Response {
    pub(crate) fn new(
        server: usize,
        status: u16,
        retry_after: Option<Duration>,
        content_type: Option<&HeaderValue>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Self {
        let is_success = (200..300).contains(&status);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_problem = !is_success && media_type.eq_ignore_ascii_case(PROBLEM_JSON);
        let of_problem = body.as_ref().filter(|_| is_problem);
        let problem = of_problem.and_then(|body| Problem::parse(body));
        Self { server, status, retry_after, problem, body }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the body is over the limit, so that it was not read.
    pub(crate) fn is_too_large(&self) -> bool {
        self.body.is_none()
    }

    /// What the response means for the choice of a server.
    pub(crate) fn outcome(&self) -> Outcome {
        let closing = Problem::new(&Error::backend_closed()).r#type;
        match (self.status, &self.problem) {
            (_, Some(problem)) if problem.r#type == closing => Outcome::Closing,
            (502..=504, _) => Outcome::Unable,
            _ => Outcome::Answered,
        }
    }

    /// The error that the response means, unless it is a success.
    pub(crate) fn into_success(self) -> Result<Self> {
        if self.is_success() {
            return Ok(self);
        }
        let error = match self.problem {
            Some(problem) => problem_error(problem),
            None => status_error(self.status),
        };
        Err(match self.retry_after {
            Some(after) if error.is_temporary() && error.retry_after().is_none() => {
                error.with_retry_after(after)
            }
            _ => error,
        })
    }

    /// The JSON without a value.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let body = self.body.as_ref().ok_or_else(too_large)?;
        // The library's error may quote the body.
        serde_json::from_slice(body).map_err(|_| unexpected_answer())
    }

    /// The secret that was asked for.
    pub(crate) async fn secret(self, path: &SecretPath) -> Result<Secret> {
        let secret = self.decode(decode_secret).await?;
        if secret.path() == path { Ok(secret) } else { Err(unexpected_answer()) }
    }

    /// The answers of a batch: for each of the first paths, one at least.
    pub(crate) async fn batch(self, paths: &[SecretPath]) -> Result<Vec<BatchEntry>> {
        let entries = self.decode(decode_batch).await?;
        let is_for = |(path, entry): (&SecretPath, &BatchEntry)| {
            entry.as_ref().map_or(true, |secret| secret.path() == path)
        };
        let is_prefix = (1..=paths.len()).contains(&entries.len());
        if is_prefix && paths.iter().zip(&entries).all(is_for) {
            Ok(entries)
        } else {
            Err(unexpected_answer())
        }
    }

    /// Decodes a body with values, on a thread for blocking work if it is large.
    async fn decode<T: Send + 'static>(
        self,
        decode: impl FnOnce(Zeroizing<Vec<u8>>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let body = self.body.ok_or_else(too_large)?;
        let is_large = body.len() >= LARGE;
        // The error may quote the body.
        let work = move || decode(body).map_err(|_| unexpected_answer());
        if is_large { run_blocking(work).await } else { work() }
    }

    /// Whether the server does not accept the caller.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.status == 401
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn response(status: u16, content_type: &'static str, body: &str) -> Response {
        let content_type = HeaderValue::from_static(content_type);
        let after = Some(Duration::from_secs(7));
        Response::new(0, status, after, Some(&content_type), Some(Vec::from(body).into()))
    }

    fn problem(error: &Error) -> Response {
        let problem = Problem::new(error);
        let body = serde_json::to_string(&problem).unwrap();
        response(problem.status, "application/problem+json; charset=utf-8", &body)
    }

    fn error(response: Response) -> Error {
        response.into_success().map(drop).unwrap_err()
    }

    #[test]
    fn each_kind_of_error_of_the_server_is_that_of_its_client() {
        for kind in ErrorKind::ALL {
            let sent = Error::new(*kind, "do this").because("that has happened");
            let read = error(problem(&sent));
            if *kind == ErrorKind::Closed {
                assert_eq!(read.kind(), ErrorKind::Unavailable);
            } else {
                assert_eq!(read.to_string(), sent.to_string());
            }
        }
    }

    #[test]
    fn a_wait_is_honoured_if_a_retry_can_help() {
        let seconds = |error: Error| error.retry_after().map(|after| after.as_secs());
        assert_eq!(seconds(error(response(503, "text/html", "<html>"))), Some(7));
        assert_eq!(seconds(error(response(403, "text/html", "<html>"))), None);
        let own = Error::new(ErrorKind::RateLimited, "wait");
        assert_eq!(seconds(error(problem(&own))), Some(7));
        let exact = own.with_retry_after(Duration::from_secs(2));
        assert_eq!(seconds(error(problem(&exact))), Some(2));
    }

    #[test]
    fn only_a_problem_of_a_strongroom_server_says_more_than_the_status() {
        let foreign = r#"{"type":"about:blank","title":"hunter2","status":404,"detail":"hunter2"}"#;
        let own =
            serde_json::to_string(&Problem::new(&Error::new(ErrorKind::NotFound, "write it")));
        for response in [
            response(404, PROBLEM_JSON, foreign),
            response(404, "application/json", &own.unwrap()),
            response(404, "text/html", "<html>hunter2</html>"),
            response(404, PROBLEM_JSON, "hunter2"),
        ] {
            let error = error(response);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_server_that_cannot_serve_is_told_from_one_that_is_closing() {
        let outcome = |error| problem(&error).outcome();
        assert_eq!(outcome(Error::backend_closed()), Outcome::Closing);
        assert_eq!(outcome(Error::new(ErrorKind::Unavailable, "")), Outcome::Unable);
        assert_eq!(outcome(Error::new(ErrorKind::Timeout, "")), Outcome::Unable);
        assert_eq!(outcome(Error::new(ErrorKind::NotFound, "")), Outcome::Answered);
        assert_eq!(outcome(Error::new(ErrorKind::RateLimited, "")), Outcome::Answered);
        assert_eq!(response(502, "text/html", "<html>").outcome(), Outcome::Unable);
        assert_eq!(response(200, "application/json", "{}").outcome(), Outcome::Answered);
    }
}
