//! What the tests of this backend share: how one is opened, and a look at every error.

use std::error::Error as _;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::Once;
use std::time::Duration;

use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::{Error, ErrorKind, Operation, Result, SecretPath};
use strongroom_testkit::canary::{self, CANARY};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Ends the process if a crate, at any level, logs what nobody may see.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(|| Watch)
            .init();
    });
}

struct Watch;

impl Write for Watch {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(finding) = canary::find(event) {
            strongroom_testkit::report(finding);
            std::process::exit(101);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A configuration for a server on this machine, with times that a busy machine keeps.
pub(crate) fn config(endpoint: &str, region: &str) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some(region.to_owned());
    config.endpoint_url = Some(endpoint.to_owned());
    config.credentials = Some(StaticCredentials::new("test", CANARY.into()));
    config.connect_timeout = Duration::from_secs(5);
    config.attempt_timeout = Duration::from_secs(10);
    config.timeout = Duration::from_secs(20);
    config
}

pub(crate) async fn open(config: AwsConfig) -> AwsBackend {
    watch();
    Box::pin(AwsBackend::open(config)).await.unwrap()
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// A failure that somebody has to do something about, and that says so.
pub(crate) fn lasting<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = failed(operation, kind, result);
    assert!(!error.is_temporary(), "{error}");
    assert_eq!(error.retry_delay(), None, "{error}");
    error
}

/// A failure that may be gone a moment later, without a time that the service names.
pub(crate) fn passing<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = failed(operation, kind, result);
    assert!(error.is_temporary(), "{error}");
    assert_eq!(error.retry_delay(), None, "{error}");
    error
}

/// A failure of a certain kind.
pub(crate) fn failed<T: Debug>(operation: Operation, kind: ErrorKind, result: Result<T>) -> Error {
    let error = result.unwrap_err();
    check(&error);
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.operation(), Some(operation), "{error}");
    error
}

/// What holds for every error.
pub(crate) fn check(error: &Error) {
    let shown = format!("{error} {error:#} {error:?} {error:#?}");
    if let Some(finding) = canary::find(shown.as_bytes()) {
        panic!("{finding}");
    }
    assert!(error.operation().is_some(), "{error}");
    assert_eq!(error.backend(), Some("aws"), "{error}");
    let problems = error.problems();
    assert!(!error.advice().is_empty() || !problems.is_empty(), "{error}");
    assert!(problems.iter().all(|problem| !problem.is_empty()), "{error}");
    assert!(error.source().is_none(), "{error}");
}
