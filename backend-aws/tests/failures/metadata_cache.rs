//! The cache of metadata: what reads take from it, and what invalidates it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions};
use tokio::sync::Notify;

use crate::fake::{
    FIRST, Fake, SECOND, described, described_with, ok, put, read, refusal, refusal_with_message,
    run_operation, secret, value,
};
use crate::network::{response, sdk};
use crate::support::{open, path, permanent};

const BOTH: [&str; 2] = ["DescribeSecret", "GetSecretValue"];

fn expiring(at: SystemTime) -> Value {
    let at = humantime::format_rfc3339_millis(at).to_string();
    let tags = json!({ "Tags": [{ "Key": "strongroom.expires_at", "Value": at }] });
    described_with("key", FIRST, &tags)
}

#[tokio::test]
async fn a_second_read_sends_one_request() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "payments" }], "Description": "d" });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &tags)));
    for requests in [&BOTH[..], &["GetSecretValue"], &["GetSecretValue"]] {
        let secret = secret(&backend).await.unwrap();
        assert_eq!(secret.metadata().tags["team"], "payments");
        assert_eq!(secret.metadata().description.as_deref(), Some("d"));
        assert_eq!(fake.take_requests_sorted(), requests);
    }
}

#[tokio::test]
async fn a_write_invalidates_cached_metadata() {
    for operation in [
        Operation::Put,
        Operation::Annotate,
        Operation::Delete,
        Operation::Undelete,
        Operation::Destroy,
        Operation::Rollback,
        Operation::Rotate,
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        value(&backend).await.unwrap();
        run_operation(&backend, operation).await.unwrap();
        fake.take_requests_sorted();
        value(&backend).await.unwrap();
        assert_eq!(fake.take_requests_sorted(), BOTH, "{operation}");
    }
}

#[tokio::test]
async fn a_failed_write_invalidates_cached_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("PutSecretValue", refusal("AccessDeniedException"));
    put(&backend, PutOptions::new()).await.unwrap_err();
    fake.take_requests_sorted();
    value(&backend).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), BOTH);
}

#[tokio::test]
async fn a_new_active_version_refreshes_cached_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("GetSecretValue", ok(&read("key", SECOND)));
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "new" }] });
    fake.always("DescribeSecret", ok(&described_with("key", SECOND, &tags)));
    fake.take_requests_sorted();
    let changed = secret(&backend).await.unwrap();
    assert_eq!(changed.version().to_string(), SECOND);
    assert_eq!(changed.metadata().tags["team"], "new");
    assert_eq!(fake.take_requests_sorted(), BOTH);
    assert_eq!(value(&backend).await.unwrap(), SECOND);
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
}

#[tokio::test]
async fn returns_a_value_whose_metadata_stays_behind() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("GetSecretValue", ok(&read("key", SECOND)));
    assert_eq!(value(&backend).await.unwrap(), SECOND);
    assert_eq!(fake.count("DescribeSecret"), 4);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn reads_a_value_again_until_its_version_matches_the_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let tags = json!({ "Tags": [{ "Key": "team", "Value": "new" }] });
    fake.always("DescribeSecret", ok(&described_with("key", SECOND, &tags)));
    fake.first("GetSecretValue", [ok(&read("key", FIRST)), ok(&read("key", SECOND))]);
    let changed = secret(&backend).await.unwrap();
    assert_eq!(changed.version().to_string(), SECOND);
    assert_eq!(changed.metadata().tags["team"], "new");
    assert_eq!(fake.count("GetSecretValue"), 2);
    assert_eq!(fake.count("DescribeSecret"), 3);
}

#[tokio::test]
async fn a_zero_ttl_disables_the_cache() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.metadata_ttl = Duration::ZERO;
    let backend = open(config).await;
    for _ in 0..3 {
        value(&backend).await.unwrap();
        assert_eq!(fake.take_requests_sorted(), BOTH);
    }
}

#[tokio::test]
async fn fetches_metadata_again_after_its_ttl() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.metadata_ttl = Duration::from_nanos(1);
    let backend = open(config).await;
    for _ in 0..2 {
        value(&backend).await.unwrap();
        assert_eq!(fake.take_requests_sorted(), BOTH);
    }
}

#[tokio::test]
async fn fetches_metadata_again_before_reporting_an_expired_secret() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let soon = SystemTime::now() + Duration::from_secs(4);
    fake.always("DescribeSecret", ok(&expiring(soon)));
    value(&backend).await.unwrap();
    fake.take_requests_sorted();
    while SystemTime::now() <= soon {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    permanent(Operation::Get, ErrorKind::Expired, value(&backend).await);
    assert_eq!(fake.take_requests_sorted(), BOTH);

    fake.always("DescribeSecret", ok(&expiring(soon + Duration::from_hours(1))));
    value(&backend).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), BOTH);
    value(&backend).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
}

#[tokio::test]
async fn reports_a_secret_that_has_expired() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", ok(&expiring(UNIX_EPOCH + Duration::from_secs(1))));
    permanent(Operation::Get, ErrorKind::Expired, value(&backend).await);
    assert_eq!(value(&fake.open_without_metadata().await).await.unwrap(), FIRST);
}

#[tokio::test]
async fn a_missing_secret_is_removed_from_the_cache() {
    for gone in [
        refusal("ResourceNotFoundException"),
        refusal_with_message("InvalidRequestException", "because it was marked for deletion."),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        value(&backend).await.unwrap();
        fake.always("GetSecretValue", gone);
        fake.take_requests_sorted();
        permanent(Operation::Get, ErrorKind::NotFound, value(&backend).await);
        assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
        fake.reset();
        value(&backend).await.unwrap();
        assert_eq!(fake.take_requests_sorted(), BOTH);
    }
}

/// A service in this process that holds the first description of `key` back until a test releases
/// it.
#[derive(Clone, Debug)]
struct HoldFirstDescription {
    actions: Arc<Mutex<Vec<String>>>,
    has_held: Arc<AtomicBool>,
    arrived: Arc<Notify>,
    released: Arc<Notify>,
}

impl HttpConnector for HoldFirstDescription {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.trim_start_matches("secretsmanager.").to_owned();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let name = body["SecretId"].as_str().unwrap().to_owned();
        self.actions.lock().unwrap().push(action.clone());
        let own = self.clone();
        HttpConnectorFuture::new(async move {
            let is_description = action == "DescribeSecret" && name == "key";
            if is_description && !own.has_held.swap(true, Ordering::SeqCst) {
                own.arrived.notify_one();
                own.released.notified().await;
            }
            let answer = match action.as_str() {
                "GetSecretValue" => read(&name, FIRST),
                _ => described(&name, FIRST),
            };
            Ok(response(200, &answer))
        })
    }
}

/// Starts a read, annotates a secret before the description arrives, and gives the requests of the
/// next read.
async fn annotate_during_lookup(region: &'static str, annotated: &str) -> Vec<String> {
    let actions = Arc::<Mutex<Vec<String>>>::default();
    let service = HoldFirstDescription {
        actions: Arc::clone(&actions),
        has_held: Arc::default(),
        arrived: Arc::default(),
        released: Arc::default(),
    };
    let mut config = AwsConfig::default();
    config.attempt_timeout = Duration::from_mins(1);
    config.timeout = Duration::from_mins(2);
    let sdk = sdk(region, service.clone());
    let backend = Arc::new(AwsBackend::with_sdk_config(&sdk, config).unwrap());
    let reader = Arc::clone(&backend);
    let reading = tokio::spawn(async move { value(&reader).await });
    service.arrived.notified().await;
    backend.annotate(&path(annotated), &MetadataPatch::new().tag("a", "")).await.unwrap();
    assert!(!reading.is_finished());
    service.released.notify_one();
    reading.await.unwrap().unwrap();
    actions.lock().unwrap().clear();
    value(&backend).await.unwrap();
    let mut requests = actions.lock().unwrap().clone();
    requests.sort_unstable();
    requests
}

#[tokio::test]
async fn a_write_to_another_secret_does_not_discard_a_lookup_in_flight() {
    assert_eq!(annotate_during_lookup("other-annotated", "other").await, ["GetSecretValue"]);
}

#[tokio::test]
async fn a_lookup_from_before_a_write_is_not_cached_after_it() {
    assert_eq!(annotate_during_lookup("same-annotated", "key").await, BOTH);
}

#[tokio::test]
async fn a_transient_failure_keeps_cached_metadata() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    fake.always("GetSecretValue", refusal("ThrottlingException"));
    value(&backend).await.unwrap_err();
    fake.reset();
    fake.take_requests_sorted();
    value(&backend).await.unwrap();
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
}
