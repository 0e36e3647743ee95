//! The HTTP server in front of the keys.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::faults::{Fault, Faults};
use super::keys::{KeyStatus, Keys};
use super::{Options, Unit, work};

type HttpResponse = Response<BoxBody<Bytes, Infallible>>;

/// The state that all connections share.
pub(super) struct Shared {
    pub(super) options: Options,
    keys: Mutex<Keys>,
    faults: Mutex<Faults>,
}

/// Closes the connection without a response.
#[derive(Debug)]
struct ResponseLost;

impl fmt::Display for ResponseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response is lost on purpose")
    }
}

impl std::error::Error for ResponseLost {}

impl Shared {
    pub(super) fn new(options: Options, keys: Keys) -> Self {
        Self { options, keys: Mutex::new(keys), faults: Mutex::default() }
    }

    pub(super) fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    match shared.options.tls.clone() {
        None => requests(stream, shared).await,
        Some(tls) => {
            if let Some(stream) = tls.accept(stream).await {
                requests(stream, shared).await;
            }
        }
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| respond(Arc::clone(&shared), request));
    // A client may close its connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<HttpResponse, ResponseLost> {
    let (head, body) = request.into_parts();
    // The connection stays usable only if the request has been read.
    let _ = body.collect().await;
    let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let attempt = head.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let path = head.uri.path();
    match (&head.method, path) {
        (&Method::POST, "/api/keys/rotate") => {
            shared.keys().counts.issue_calls += 1;
            let fault = shared.faults().next_on_issue();
            with_fault(fault, || issue(&shared, bearer.as_deref(), attempt)).await
        }
        (&Method::GET, "/api/keys") if shared.options.lists_keys => {
            Ok(list(&shared, bearer.as_deref()))
        }
        (&Method::GET, "/api/whoami") => {
            Ok(authenticate(&shared, bearer.as_deref(), || empty(StatusCode::NO_CONTENT)))
        }
        (&Method::GET | &Method::POST, "/work") => Ok(work(shared, bearer)),
        (&Method::DELETE, path) if path.starts_with("/api/keys/") => {
            let key = path.strip_prefix("/api/keys/").unwrap_or_default();
            let key = percent_decode_str(key).decode_utf8_lossy();
            shared.keys().counts.revoke_calls += 1;
            let fault = shared.faults().next_on_revocation();
            with_fault(fault, || revoke(&shared, bearer.as_deref(), &key)).await
        }
        _ => Ok(empty(StatusCode::NOT_FOUND)),
    }
}

/// Performs the request by calling `act`, unless a fault prevents it.
async fn with_fault(
    fault: Option<Fault>,
    act: impl FnOnce() -> HttpResponse,
) -> Result<HttpResponse, ResponseLost> {
    match fault {
        None => Ok(act()),
        Some(Fault::Status(status)) => {
            Ok(empty(StatusCode::from_u16(status).expect("a status has three digits")))
        }
        Some(Fault::SlowDown(seconds)) => {
            let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            Ok(response)
        }
        Some(Fault::Late(wait)) => {
            tokio::time::sleep(wait).await;
            Ok(act())
        }
        Some(Fault::LoseAnswer) => {
            drop(act());
            Err(ResponseLost)
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::ActAndHang) => {
            drop(act());
            std::future::pending().await
        }
    }
}

fn authenticate(
    shared: &Shared,
    bearer: Option<&str>,
    act: impl FnOnce() -> HttpResponse,
) -> HttpResponse {
    let status = bearer.and_then(|key| shared.keys().status(key));
    if status == Some(KeyStatus::Live) { act() } else { unauthorized(shared) }
}

fn unauthorized(shared: &Shared) -> HttpResponse {
    shared.keys().counts.unauthorized += 1;
    empty(StatusCode::UNAUTHORIZED)
}

fn issue(shared: &Shared, bearer: Option<&str>, attempt: Option<&str>) -> HttpResponse {
    authenticate(shared, bearer, || {
        let attempt = attempt.filter(|_| shared.options.honours_ids);
        let mut keys = shared.keys();
        let key = keys.issue(attempt, shared.options.key_life);
        let since_epoch = |end: SystemTime| end.duration_since(UNIX_EPOCH).ok();
        let end = keys.end(&key).and_then(since_epoch);
        json(&match end {
            Some(end) => json!({ "new_key": key, "expires_at": end.as_secs() }),
            None => json!({ "new_key": key }),
        })
    })
}

fn revoke(shared: &Shared, bearer: Option<&str>, key: &str) -> HttpResponse {
    authenticate(shared, bearer, || {
        let mut keys = shared.keys();
        match keys.revoke(key) {
            None => empty(StatusCode::NOT_FOUND),
            Some(KeyStatus::Revoked) => empty(StatusCode::GONE),
            Some(KeyStatus::Live | KeyStatus::Expired) => {
                keys.counts.revoked += 1;
                empty(StatusCode::NO_CONTENT)
            }
        }
    })
}

fn list(shared: &Shared, bearer: Option<&str>) -> HttpResponse {
    authenticate(shared, bearer, || {
        let keys: Vec<_> =
            shared.keys().live().into_iter().map(|key| json!({ "key": key })).collect();
        json(&json!({ "keys": keys }))
    })
}

fn work(shared: Arc<Shared>, bearer: Option<String>) -> HttpResponse {
    let admitted = shared.keys().admit(bearer.as_deref());
    let Some(key) = bearer.filter(|_| admitted) else { return unauthorized(&shared) };
    let end = shared.keys().end(&key);
    let unit = shared.options.unit;
    let mut response = Response::new(work::body(shared, key));
    if let Some(end) = end {
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        let left = HeaderValue::from_str(&unit.write(left)).expect("digits and a letter");
        response.headers_mut().insert("x-key-expires-in", left);
    }
    response
}

impl Unit {
    fn write(self, left: Duration) -> String {
        let seconds = left.as_secs();
        let (hours, days) = (seconds / 3600, seconds / 86_400);
        match self {
            Self::Seconds => seconds.to_string(),
            Self::Days => days.to_string(),
            Self::Suffixed if days > 0 => format!("{days}d"),
            Self::Suffixed if hours > 0 => format!("{hours}h"),
            Self::Suffixed => format!("{seconds}s"),
        }
    }
}

fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = status;
    response
}

fn json(body: &Value) -> HttpResponse {
    let mut response = Response::new(Full::from(body.to_string()).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
