//! What the tests of this backend share: how one is opened, and a look at every error.

use std::io::{self, Write};
use std::sync::Once;
use std::time::Duration;

use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::SecretPath;
use strongroom_testkit::canary::{self, CANARY};
pub(crate) use strongroom_testkit::errors::{failed, lasting, passing};
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
