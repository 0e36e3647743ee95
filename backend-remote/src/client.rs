//! Sends each request to a server that answers.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::header::HeaderValue;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::{Access, Addresses, Outcome, attempt_limit};
use crate::config::Resolved;
use crate::error::{closed_during, request_error};
use crate::http::{Http, SendFailure, read_response};
use crate::request::Request;
use crate::response::Response;
use crate::settings::TIMEOUT;

/// How long a close waits for writes that are under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to begin to tell of changes: less than the 10 s after which the manager looks whether it still
/// has to follow them, and asks again.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The client of one or several servers.
pub(crate) struct Client {
    /// `None` once the client is closed.
    http: ArcSwapOption<Http>,
    addresses: Mutex<Addresses>,
    opened_at: Instant,
    /// The time limit for a call.
    timeout: Duration,
    /// The writes under way. It is closed with the client.
    writes: TaskTracker,
    /// Ends reads, once the client is closed.
    closing: CancellationToken,
    /// Ends writes that are still under way some time later.
    closed: CancellationToken,
}

/// How the attempts of a call have failed so far.
#[derive(Default)]
struct Failures {
    /// The last answer that a server cannot serve.
    answer: Option<Response>,
    /// The last failure without an answer.
    failure: Option<SendFailure>,
    /// Whether a retry could help against one of them.
    temporary: bool,
}

impl Client {
    pub(crate) fn new(resolved: Resolved) -> Result<Self> {
        let Resolved { http, timeout } = resolved;
        let addresses = Mutex::new(Addresses::new(http.addresses.len()));
        Ok(Self {
            http: ArcSwapOption::from_pointee(Http::new(http)?),
            addresses,
            opened_at: Instant::now(),
            timeout,
            writes: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Sends a request that must succeed.
    pub(crate) async fn execute(&self, request: &Request) -> Result<Response> {
        self.execute_within(self.timeout, request).await
    }

    /// Sends a request that must succeed within `limit`, or the time limit of a call if that is shorter.
    pub(crate) async fn execute_within(
        &self,
        limit: Duration,
        request: &Request,
    ) -> Result<Response> {
        let deadline = Instant::now() + limit.min(self.timeout);
        // A concurrent close waits for the write, or the write sees that the client is closed.
        let _write = (request.access == Access::Write).then(|| self.writes.token());
        let Some(http) = self.http.load_full().filter(|_| !self.closing.is_cancelled()) else {
            return Err(Error::backend_closed());
        };
        let end = match request.access {
            Access::Read => &self.closing,
            Access::Write => &self.closed,
        };
        tokio::select! {
            response = self.send(&http, request, deadline) => {
                response?.into_success().map_err(|error| explain(error, &http))
            }
            () = end.cancelled() => Err(closed_during(request.access)),
        }
    }

    /// Ends reads, waits for writes under way, for 10 s at most, and releases connections and the token.
    pub(crate) async fn close(&self) {
        self.writes.close();
        self.closing.cancel();
        // Without a runtime, there is no timer to wait with, and no write under way.
        if Handle::try_current().is_ok() {
            // What is under way after that ends below.
            let _ = timeout(DRAIN_TIMEOUT, self.writes.wait()).await;
        }
        self.closed.cancel();
        self.http.store(None);
    }

    /// Begins to listen to the changes that a server tells of: another one than those that were `tried` since the last
    /// success, unless there is none. The head of the answer is there, and its end is open.
    pub(crate) async fn listen(&self, tried: &mut Vec<usize>) -> Result<reqwest::Response> {
        let Some(http) = self.http.load_full() else { return Err(Error::backend_closed()) };
        let deadline = Instant::now() + LISTEN_TIMEOUT.min(self.timeout);
        let token = timeout_at(deadline, http.token.current());
        let token = token.await.map_err(|_| no_time())??;
        let chosen = self.choose(tried).or_else(|| {
            tried.clear();
            self.choose(tried)
        });
        let (number, _) = chosen.ok_or_else(no_time)?;
        let answer = async {
            let response = http.open(number, &Request::changes(), token.as_ref(), None).await?;
            if response.status().is_success() {
                return Ok(Ok(response));
            }
            read_response(number, response).await.map(Err)
        };
        let answer = timeout_at(deadline, answer).await;
        let outcome = match &answer {
            Ok(Ok(Ok(_))) => Outcome::Answered,
            Ok(Ok(Err(refusal))) => refusal.outcome(),
            Ok(Err(failure)) => failure.outcome(),
            Err(_) => Outcome::Lost,
        };
        self.addresses().record(number, outcome, self.opened_at.elapsed());
        match answer.map_err(|_| no_time())? {
            Ok(Ok(response)) => {
                tried.clear();
                Ok(response)
            }
            // It is none of success.
            Ok(Err(refusal)) => refusal.into_success().and_then(|_| Err(no_time())),
            Err(failure) => Err(request_error(failure, Access::Read)),
        }
    }

    /// The time limit for a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether there are several servers.
    pub(crate) fn has_several(&self) -> bool {
        self.addresses().count() > 1
    }

    /// Ends once the client is closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The address of the server that has sent a response.
    pub(crate) fn address_of(&self, response: &Response) -> Option<String> {
        let http = self.http.load_full()?;
        Some(http.address(response.server).to_owned())
    }

    /// Tries one server after the other.
    async fn send(&self, http: &Http, request: &Request, deadline: Instant) -> Result<Response> {
        let token = timeout_at(deadline, http.token.current());
        let token = token.await.map_err(|_| no_time())??;
        let (mut tried, mut failures) = (Vec::new(), Failures::default());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Some((number, untried)) = self.choose(&mut tried) else { break };
            let limit = attempt_limit(left, untried, request.access);
            let attempt = self.attempt(http, number, request, token.as_ref(), limit).await;
            let outcome = match &attempt {
                Ok(response) => response.outcome(),
                Err(failure) => failure.outcome(),
            };
            self.addresses().record(number, outcome, self.opened_at.elapsed());
            let may_go_on = outcome.allows_next(request.access);
            failures.add(attempt, request.access);
            if !may_go_on {
                break;
            }
        }
        failures.into_result(request.access, tried.len())
    }

    /// The next server, and how many are left then.
    fn choose(&self, tried: &mut Vec<usize>) -> Option<(usize, usize)> {
        let addresses = self.addresses();
        let number = addresses.next(tried, self.opened_at.elapsed())?;
        tried.push(number);
        Some((number, addresses.count() - tried.len()))
    }

    /// Sends a request to one server, and once more if the server does not accept the token and the file of the token
    /// has another one by now: the server has not acted on the request.
    async fn attempt(
        &self,
        http: &Http,
        number: usize,
        request: &Request,
        token: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Response, SendFailure> {
        let begin = Instant::now();
        let response = http.send(number, request, token, limit).await?;
        if !response.is_unauthenticated() {
            return Ok(response);
        }
        let renewed =
            timeout(limit.saturating_sub(begin.elapsed()), http.token.after_rejection(token));
        let renewed = renewed.await.ok().flatten();
        match (renewed, limit.checked_sub(begin.elapsed())) {
            (Some(token), Some(left)) => http.send(number, request, Some(&token), left).await,
            _ => Ok(response),
        }
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn add(&mut self, attempt: Result<Response, SendFailure>, access: Access) {
        match attempt {
            Ok(response) => {
                self.temporary |= response.outcome() != Outcome::Answered;
                self.answer = Some(response);
            }
            Err(failure) => {
                if failure.was_sent && access == Access::Write {
                    // Another server's answer does not say whether this one has made the change.
                    self.answer = None;
                }
                self.temporary |= request_error(failure, access).is_temporary();
                self.failure = Some(failure);
            }
        }
    }

    /// The last answer, or the error of a call without one.
    fn into_result(self, access: Access, tried: usize) -> Result<Response> {
        let Self { answer, failure, temporary } = self;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        let error = failure.map_or_else(no_time, |failure| request_error(failure, access));
        let error = error.temporary(temporary);
        if tried < 2 {
            return Err(error);
        }
        let cause = format!("{} (the last of {tried} servers)", error.cause());
        Err(error.because(cause))
    }
}

fn no_time() -> Error {
    Error::new(ErrorKind::Timeout, format!("check that the server answers, or raise `{TIMEOUT}`"))
        .because("no answer within the time allowed")
}

/// Says in an error about the caller what the caller can do.
fn explain(error: Error, http: &Http) -> Error {
    if error.kind() == ErrorKind::Unauthenticated {
        let advice = http.token.advice();
        return error.advise(advice);
    }
    error
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
