//! Reads from one LocalStack: through the backend, and with the plain SDK.
//!
//! Both read the same secrets of 64 bytes from the same server, over plain HTTP on warm connections of
//! their own, with the same timeouts. The plain SDK returns the text and nothing else. The backend
//! also returns version, tags and expiry, from its cache of metadata; the bench counts the requests
//! that fill the cache separately. LocalStack handles one request at a time, so the ratios of many
//! reads show the number of requests; with AWS itself, the round trip counts.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use futures_util::stream::{self, StreamExt as _};
use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_benches::measure::{Sampling, Subject, compare_alike};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{Backend, PutOptions, Secret, SecretPath, VersionSelector};
use strongroom_testkit::localstack::Server;
use tokio::runtime::{Builder, Runtime};

const SECRETS: usize = 200;
const VALUE: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc";
/// The concurrent reads of a careful user.
const CONCURRENCY: usize = 16;
/// Many short turns, because the machine may delay the process of the server.
const SINGLE: Sampling = Sampling { rounds: 101, sample_time: Duration::from_millis(60) };
/// A turn reads all secrets, which takes more than a second.
const MANY: Sampling = Sampling { rounds: 9, sample_time: Duration::ZERO };

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(Server::start());
    let readers = runtime.block_on(Readers::new(&server))?;
    runtime.block_on(readers.count(report, &server))?;
    readers.compare_many(report, &runtime)?;
    readers.compare_single(report, &runtime)?;
    ensure!(readers.failed.get() == 0, "{} reads failed", readers.failed.get());
    Ok(())
}

/// The ways to read.
struct Readers {
    backend: AwsBackend,
    sdk: Client,
    paths: Vec<SecretPath>,
    /// The number of reads that did not return the value.
    failed: Cell<u32>,
}

impl Readers {
    async fn new(server: &Server) -> Result<Self> {
        let mut config = AwsConfig::default();
        config.region = Some(server.region().into());
        config.endpoint_url = Some(server.endpoint().into());
        config.credentials =
            Some(StaticCredentials::new(server.access_key(), server.secret_key().into()));
        // Cached metadata lasts for the whole run; `count` counts the requests that fetch it.
        config.metadata_ttl = Duration::from_secs(3600);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .operation_timeout(config.timeout)
            .build();
        let backend = AwsBackend::open(config.clone()).await?;
        let keys = (server.access_key(), server.secret_key());
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(server.region()))
            .endpoint_url(server.endpoint())
            .credentials_provider(Credentials::new(keys.0, keys.1, None, None, "bench"))
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts);
        let sdk = Client::new(&sdk.load().await);
        let paths: Result<Vec<_>, _> =
            (0..SECRETS).map(|i| SecretPath::parse(&format!("production/key-{i}"))).collect();
        let paths = paths?;
        for path in &paths {
            backend.put(path, VALUE.into(), PutOptions::new()).await?;
        }
        Ok(Self { backend, sdk, paths, failed: Cell::new(0) })
    }

    /// Counts the requests of the first read and of later ones.
    async fn count(&self, report: &mut Report, server: &Server) -> Result<()> {
        let requests = || {
            let actions =
                ["BatchGetSecretValue", "GetSecretValue", "DescribeSecret", "ListSecrets"];
            actions.map(|action| server.requests(action)).iter().sum::<usize>()
        };
        let mut before = requests();
        for (name, target) in [
            ("aws_get_many_calls_first_time", None),
            ("aws_get_many_calls", Some(Target::Max(10.0))),
        ] {
            self.get_many().await;
            let now = requests();
            let calls = u32::try_from(now - before).context("too many requests")?;
            report.add(name, f64::from(calls), "requests", target)?;
            before = now;
        }
        Ok(())
    }

    fn compare_many(&self, report: &mut Report, runtime: &Runtime) -> Result<()> {
        let subjects = [
            Subject::awaiting(runtime, || self.get_many()),
            Subject::awaiting(runtime, || self.sdk_reads(CONCURRENCY)),
            Subject::awaiting(runtime, || self.sdk_reads(1)),
        ];
        let [many, concurrent, one_by_one] = compare_alike(MANY, subjects);
        let target = Some(Target::Min(5.0));
        report.add("aws_get_many_speedup", concurrent.over(&many), "x", target)?;
        report.add("aws_get_many_speedup_one_by_one", one_by_one.over(&many), "x", None)?;
        report.add("aws_get_many_ms", many.median() / 1e6, "ms", None)
    }

    fn compare_single(&self, report: &mut Report, runtime: &Runtime) -> Result<()> {
        let path = self.paths.first().context("there are secrets")?;
        let subjects = [
            Subject::awaiting(runtime, || async {
                let read = self.backend.get(path, &VersionSelector::Active).await;
                self.check(text_of(&read));
                read
            }),
            Subject::awaiting(runtime, || self.sdk_read(path)),
        ];
        let [backend, sdk] = compare_alike(SINGLE, subjects);
        report.add("aws_get_over_sdk", backend.over(&sdk), "x", Some(Target::Max(1.1)))?;
        report.add("aws_get_ms", backend.median() / 1e6, "ms", None)
    }

    async fn get_many(&self) {
        for read in self.backend.get_many(&self.paths).await {
            self.check(text_of(&read));
        }
    }

    async fn sdk_reads(&self, concurrency: usize) {
        let reads = stream::iter(&self.paths).map(|path| self.sdk_read(path));
        reads.buffer_unordered(concurrency).collect::<()>().await;
    }

    async fn sdk_read(&self, path: &SecretPath) {
        let read = self.sdk.get_secret_value().secret_id(path.as_str()).send().await;
        self.check(read.ok().as_ref().and_then(|read| read.secret_string()));
    }

    fn check(&self, read: Option<&str>) {
        if read != Some(VALUE) {
            self.failed.set(self.failed.get() + 1);
        }
    }
}

fn text_of(read: &strongroom_core::Result<Secret>) -> Option<&str> {
    read.as_ref().ok().and_then(|secret| secret.expose_text().ok())
}
