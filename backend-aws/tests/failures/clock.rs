//! How long a call takes at most. The clock is paused: only what waits moves it on.

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
use crate::network::{found, response, sdk};
use crate::support::{failed, passing, path};

/// What the service does with a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Never,
    /// With the value.
    After(Duration),
    Throttled,
    /// The same, with the service's wish in milliseconds.
    ThrottledFor(u32),
    Down,
    /// There is no secret, and its name is not free.
    BeingRemoved,
    /// Secrets can be read one by one alone.
    NoBatch,
}

/// A service in this process. It notes when it was asked.
#[derive(Clone, Debug)]
struct Service {
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    /// The SDK keeps one budget of retries for all clients in a region.
    region: &'static str,
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.asked.lock().unwrap().push(Instant::now());
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
                    found()
                }
                Answer::Throttled => refused("ThrottlingException", ""),
                Answer::ThrottledFor(milliseconds) => {
                    let mut refused = refused("ThrottlingException", "");
                    refused.headers_mut().insert("x-amz-retry-after", milliseconds.to_string());
                    refused
                }
                Answer::Down => response(503, &json!({ "message": CANARY })),
                Answer::BeingRemoved if is_creation => {
                    refused("InvalidRequestException", "is already scheduled for deletion.")
                }
                Answer::BeingRemoved => refused("ResourceNotFoundException", ""),
                Answer::NoBatch if is_batch => refused("AccessDeniedException", ""),
                Answer::NoBatch => found(),
            })
        })
    }
}

fn refused(code: &str, message: &str) -> HttpResponse {
    response(400, &json!({ "__type": code, "message": format!("{message} {CANARY}") }))
}

impl Service {
    /// Answers in this way, and the last way over and over.
    fn new(region: &'static str, answers: &[Answer]) -> Self {
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        Self { answers, asked: Arc::default(), region }
    }

    fn open(&self, attempt: Duration, all: Duration) -> AwsBackend {
        let mut config = AwsConfig::default();
        config.read_metadata = false;
        config.attempt_timeout = attempt;
        config.timeout = all;
        AwsBackend::with_sdk_config(&sdk(self.region, self.clone()), config).unwrap()
    }

    /// How long it was left alone between the times when it was asked.
    fn pauses(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What Tokio's clock is finer than: it wakes at the next millisecond.
const TICK: Duration = Duration::from_millis(2);

fn close_to(took: Duration, expected: Duration) {
    assert!(took >= expected && took <= expected + TICK, "{took:?} is not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_the_time_for_all_attempts() {
    let service = Service::new("silence", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(12));
    let begin = Instant::now();
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    close_to(begin.elapsed(), seconds(12));
    assert_eq!(service.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_ends_with_the_time_for_all() {
    let service = Service::new("one-attempt", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(3));
    let begin = Instant::now();
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    close_to(begin.elapsed(), seconds(3));
    assert_eq!(service.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_three_attempts() {
    let service = Service::new("three-attempts", &[Answer::Never]);
    let backend = service.open(seconds(5), seconds(60));
    let begin = Instant::now();
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    let took = begin.elapsed();
    let pauses = Duration::from_millis(100 + 200);
    assert!(took >= seconds(15) && took <= seconds(15) + pauses + 6 * TICK, "{took:?}");
    assert_eq!(service.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_just_in_time_is_taken() {
    let late = Duration::from_millis(4_990);
    let service = Service::new("in-time", &[Answer::Never, Answer::Never, Answer::After(late)]);
    let backend = service.open(seconds(5), seconds(60));
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    assert_eq!(service.asked(), 3);

    let service = Service::new("too-late", &[Answer::After(seconds(5) + TICK)]);
    let backend = service.open(seconds(5), seconds(60));
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_from_a_tenth_of_a_second() {
    for (region, answer, kind) in [
        ("throttled", Answer::Throttled, ErrorKind::RateLimited),
        ("down", Answer::Down, ErrorKind::Unavailable),
    ] {
        for _ in 0..10 {
            let service = Service::new(region, &[answer]);
            let backend = service.open(seconds(5), seconds(15));
            let begin = Instant::now();
            passing(Operation::Get, kind, value(&backend).await);
            let pauses = service.pauses();
            assert_eq!(pauses.len(), 2);
            assert!(pauses[0] <= Duration::from_millis(100) + TICK, "{pauses:?}");
            assert!(pauses[1] <= Duration::from_millis(200) + TICK, "{pauses:?}");
            assert!(begin.elapsed() <= pauses[0] + pauses[1] + TICK, "{pauses:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_service_asks_for_has_a_limit() {
    let service = Service::new("asks-for-time", &[Answer::ThrottledFor(3_600_000)]);
    let backend = service.open(seconds(5), seconds(15));
    let begin = Instant::now();
    let error = failed(Operation::Get, ErrorKind::RateLimited, value(&backend).await);
    assert_eq!(error.retry_after(), Some(seconds(3_600)));
    let pauses = service.pauses();
    assert_eq!(pauses.len(), 2);
    close_to(pauses[0], seconds(2));
    close_to(pauses[1], seconds(2));
    close_to(begin.elapsed(), pauses[0] + pauses[1]);

    let service = Service::new("asks-for-some-time", &[Answer::ThrottledFor(500)]);
    let backend = service.open(seconds(5), seconds(15));
    failed(Operation::Get, ErrorKind::RateLimited, value(&backend).await);
    close_to(service.pauses()[0], Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_the_time_for_all_attempts() {
    let service = Service::new("pauses", &[Answer::ThrottledFor(3_600_000)]);
    let backend = service.open(seconds(5), seconds(1));
    let begin = Instant::now();
    passing(Operation::Get, ErrorKind::Timeout, value(&backend).await);
    close_to(begin.elapsed(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_become_free_is_given_up() {
    for (region, all) in [("removed-soon", seconds(2)), ("removed-late", seconds(15))] {
        let service = Service::new(region, &[Answer::BeingRemoved]);
        let backend = service.open(seconds(1), all);
        let begin = Instant::now();
        let result = put(&backend, PutOptions::new()).await;
        let error = passing(Operation::Put, ErrorKind::Unavailable, result);
        assert!(error.to_string().contains("still removing the secret"), "{error}");
        let took = begin.elapsed();
        assert!(took >= all && took <= all + seconds(1), "{took:?} is not {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_right_to_read_in_batches_is_tried_for_again_after_five_minutes() {
    let service = Service::new("no-batch", &[Answer::NoBatch]);
    let backend = service.open(seconds(5), seconds(15));
    let paths = [path("a"), path("b")];
    for (later, requests) in [(0, 3), (299, 2), (1, 3), (1, 2)] {
        tokio::time::advance(seconds(later)).await;
        let before = service.asked();
        for result in backend.get_many(&paths).await {
            result.unwrap();
        }
        assert_eq!(service.asked() - before, requests, "after {later} s");
    }
}
