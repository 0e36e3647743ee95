//! The longest time of a call. The clock is paused: it advances only when every task waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use serde_json::json;
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, Operation, PutOptions};
use strongroom_testkit::canary::CANARY;
use tokio::time::Instant;

use crate::fake::{FIRST, put, value};
use crate::network::{response, sdk, value_response};
use crate::support::{expect_failure, path, transient};

/// The answer of the service to a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Never,
    /// With the value, after a delay.
    After(Duration),
    Throttled,
    /// Throttled, with the delay that the service asks for, in milliseconds.
    ThrottledFor(u32),
    Down,
    /// The secret is destroyed, and its name not yet released.
    BeingRemoved,
    /// The identity may not read in batches.
    NoBatch,
}

/// A service in this process. It records the time of every request.
#[derive(Clone, Debug)]
struct Service {
    answers: Arc<Mutex<Vec<Answer>>>,
    requests: Arc<Mutex<Vec<Instant>>>,
    /// Unique, because the SDK has one retry budget for all clients in a region.
    region: &'static str,
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.lock().unwrap().push(Instant::now());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let is_creation = target.ends_with("CreateSecret");
        let is_batch = target.ends_with("BatchGetSecretValue");
        HttpConnectorFuture::new(async move {
            Ok(match answer {
                Answer::Never => std::future::pending().await,
                Answer::After(time) => {
                    tokio::time::sleep(time).await;
                    value_response()
                }
                Answer::Throttled => error_reply("ThrottlingException", ""),
                Answer::ThrottledFor(milliseconds) => {
                    let mut refused = error_reply("ThrottlingException", "");
                    refused.headers_mut().insert("x-amz-retry-after", milliseconds.to_string());
                    refused
                }
                Answer::Down => response(503, &json!({ "message": CANARY })),
                Answer::BeingRemoved if is_creation => {
                    error_reply("InvalidRequestException", "is already scheduled for deletion.")
                }
                Answer::BeingRemoved => error_reply("ResourceNotFoundException", ""),
                Answer::NoBatch if is_batch => error_reply("AccessDeniedException", ""),
                Answer::NoBatch => value_response(),
            })
        })
    }
}

fn error_reply(code: &str, message: &str) -> HttpResponse {
    response(400, &json!({ "__type": code, "message": format!("{message} {CANARY}") }))
}

impl Service {
    /// Gives these answers in order, and repeats the last one.
    fn new(region: &'static str, answers: &[Answer]) -> Self {
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        Self { answers, requests: Arc::default(), region }
    }

    fn open(&self, attempt: Duration, total: Duration) -> AwsBackend {
        let mut config = AwsConfig::default();
        config.read_metadata = false;
        config.attempt_timeout = attempt;
        config.timeout = total;
        AwsBackend::with_sdk_config(&sdk(self.region, self.clone()), config).unwrap()
    }

    /// The delays between requests.
    fn delays(&self) -> Vec<Duration> {
        let requests = self.requests.lock().unwrap();
        requests.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect()
    }

    fn request_count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Tokio's timers round up to the next millisecond.
const TICK: Duration = Duration::from_millis(2);

fn assert_close(took: Duration, expected: Duration) {
    assert!(took >= expected && took <= expected + TICK, "{took:?} is not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn times_out_after_the_total_timeout() {
    let service = Service::new("silence", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(12));
    let begin = Instant::now();
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    assert_close(begin.elapsed(), seconds(12));
    assert_eq!(service.request_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_a_single_attempt() {
    let service = Service::new("one-attempt", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(3));
    let begin = Instant::now();
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    assert_close(begin.elapsed(), seconds(3));
    assert_eq!(service.request_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_three_attempts_without_an_answer() {
    let service = Service::new("three-attempts", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(60));
    let begin = Instant::now();
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    let took = begin.elapsed();
    let delays = Duration::from_millis(100 + 200);
    assert!(took >= seconds(15) && took <= seconds(15) + delays + 6 * TICK, "{took:?}");
    assert_eq!(service.request_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn accepts_an_answer_just_before_the_attempt_timeout() {
    let late = Duration::from_millis(4_990);
    let service = Service::new("in-time", &[Answer::Never, Answer::Never, Answer::After(late)]);
    let backend = service.open(seconds(5), seconds(60));
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(service.request_count(), 3);

    let service = Service::new("too-late", &[Answer::After(seconds(5) + TICK)]);
    let backend = service.open(seconds(5), seconds(60));
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
}

#[tokio::test(start_paused = true)]
async fn delays_between_attempts_start_below_100_ms_and_double() {
    for (region, answer, kind) in [
        ("throttled", Answer::Throttled, ErrorKind::RateLimited),
        ("down", Answer::Down, ErrorKind::Unavailable),
    ] {
        for _ in 0..10 {
            let service = Service::new(region, &[answer]);
            let backend = service.open(seconds(5), seconds(15));
            let begin = Instant::now();
            transient(Operation::Get, kind, value(&backend).await);
            let delays = service.delays();
            assert_eq!(delays.len(), 2);
            assert!(delays[0] <= Duration::from_millis(100) + TICK, "{delays:?}");
            assert!(delays[1] <= Duration::from_millis(200) + TICK, "{delays:?}");
            assert!(begin.elapsed() <= delays[0] + delays[1] + TICK, "{delays:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limits_the_delay_that_the_service_asks_for() {
    let service = Service::new("asks-for-time", &[Answer::ThrottledFor(3_600_000)]);
    let backend = service.open(seconds(5), seconds(15));
    let begin = Instant::now();
    let error = expect_failure(Operation::Get, ErrorKind::RateLimited, value(&backend).await);
    assert_eq!(error.retry_after(), Some(seconds(3_600)));
    let delays = service.delays();
    assert_eq!(delays.len(), 2);
    assert_close(delays[0], seconds(2));
    assert_close(delays[1], seconds(2));
    assert_close(begin.elapsed(), delays[0] + delays[1]);

    let service = Service::new("asks-for-some-time", &[Answer::ThrottledFor(500)]);
    let backend = service.open(seconds(5), seconds(15));
    expect_failure(Operation::Get, ErrorKind::RateLimited, value(&backend).await);
    assert_close(service.delays()[0], Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_a_delay() {
    let service = Service::new("pauses", &[Answer::ThrottledFor(3_600_000)]);
    let backend = service.open(seconds(5), seconds(1));
    let begin = Instant::now();
    transient(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    assert_close(begin.elapsed(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn gives_up_on_a_name_that_is_not_released() {
    for (region, total) in [("removed-soon", seconds(2)), ("removed-late", seconds(15))] {
        let service = Service::new(region, &[Answer::BeingRemoved]);
        let backend = service.open(seconds(1), total);
        let begin = Instant::now();
        let result = put(&backend, PutOptions::new()).await;
        let error = transient(Operation::Put, ErrorKind::Unavailable, result);
        assert!(error.to_string().contains("still removing the destroyed secret"), "{error}");
        let took = begin.elapsed();
        assert!(took >= total && took <= total + seconds(1), "{took:?} is not {total:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_a_denied_batch_after_five_minutes() {
    let service = Service::new("no-batch", &[Answer::NoBatch]);
    let backend = service.open(seconds(5), seconds(15));
    let paths = [path("a"), path("b")];
    for (later, requests) in [(0, 3), (299, 2), (1, 3), (1, 2)] {
        tokio::time::advance(seconds(later)).await;
        let before = service.request_count();
        for result in backend.get_many(&paths).await {
            result.unwrap();
        }
        assert_eq!(service.request_count() - before, requests, "after {later} s");
    }
}
