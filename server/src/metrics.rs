//! Numbers for operators, in the text format of Prometheus. No label names a path, a principal or a tenant.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::Method;
use http::header::CONTENT_TYPE;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use strongroom_core::{Error, Result};
use tokio::time::interval;

use crate::answer::seal;

/// The upper bounds of the buckets of times, in seconds.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// How often the recorder is tidied, which bounds what it remembers between two readings.
const UPKEEP: Duration = Duration::from_secs(5);
/// [The text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Records the metrics of this process, for a server with [`ServerConfig::metrics`](crate::ServerConfig::metrics). Call it
/// before the store is opened: a store that was opened before has no metrics. Calling it again changes nothing.
///
/// # Errors
/// [`Config`](strongroom_core::ErrorKind::Config) if the program has installed another recorder.
pub fn install_metrics() -> Result<()> {
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let unusable = || {
        Error::config(vec![
            "the program records its metrics elsewhere; leave `ServerConfig::metrics` out"
                .to_owned(),
        ])
    };
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(|_| unusable())?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| unusable())?;
    // Only one recorder is ever installed.
    RECORDER.get_or_init(|| handle);
    gauge!("strongroom_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(())
}

/// Whether the metrics are recorded.
pub(crate) fn is_installed() -> bool {
    RECORDER.get().is_some()
}

/// The handlers of the listener for operators.
pub(crate) fn router() -> Router {
    let render = async || {
        let text = RECORDER.get().map(PrometheusHandle::render).unwrap_or_default();
        seal(([(CONTENT_TYPE, TEXT)], text).into_response())
    };
    Router::new().route("/metrics", get(render))
}

/// Tidies the recorder for as long as it is polled.
pub(crate) async fn upkeep() {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(recorder) = RECORDER.get() {
            recorder.run_upkeep();
        }
    }
}

/// Counts and times a request.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    if !is_installed() {
        return next.run(request).await;
    }
    let route: Arc<str> = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| Arc::from("none"), |route| Arc::from(route.as_str()));
    let method = method_name(request.method());
    let start = Instant::now();
    let _in_progress = InProgress::begin("strongroom_http_requests_in_progress");
    let response = next.run(request).await;
    histogram!("strongroom_http_request_seconds", "route" => Arc::clone(&route))
        .record(start.elapsed());
    let status = response.status().as_u16().to_string();
    counter!("strongroom_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

/// A client may send any method: each stands for one series at most.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// Counts in a gauge until it is dropped.
pub(crate) struct InProgress(&'static str);

impl InProgress {
    pub(crate) fn begin(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}

/// Why a request is not answered although the store could.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    /// The server answers as many requests as it can.
    Room,
    /// The principal has too many requests under way.
    Principal,
    /// The principal sends too many requests per second.
    Rate,
}

pub(crate) fn count_refused(refused: Refused) {
    let reason = match refused {
        Refused::Room => "server_busy",
        Refused::Principal => "principal_busy",
        Refused::Rate => "rate",
    };
    counter!("strongroom_http_requests_refused_total", "reason" => reason).increment(1);
}

/// Counts a TLS handshake that has failed or took too long.
pub(crate) fn count_failed_handshake() {
    counter!("strongroom_tls_handshake_failures_total").increment(1);
}
