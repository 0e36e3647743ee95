//! AWS Secrets Manager: the number of requests.

use std::time::Duration;

use strongroom::aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom::{
    Backend as _, ErrorKind, ReadPolicy, Result, Secret, SecretPath, SecretsManager,
    VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::localstack::Server;
use strongroom_testkit::stub::{Reply, Stub};

const COUNT: usize = 40;
const READS: [&str; 4] = ["GetSecretValue", "BatchGetSecretValue", "DescribeSecret", "ListSecrets"];

fn config(endpoint: &str, region: &str) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some(region.into());
    config.endpoint_url = Some(endpoint.into());
    config.credentials = Some(StaticCredentials::new("test", CANARY.into()));
    config
}

async fn open(config: AwsConfig) -> AwsBackend {
    canary::watch();
    Box::pin(AwsBackend::open(config)).await.unwrap()
}

fn has_value(read: &Result<Secret>, value: &str) -> bool {
    read.as_ref().unwrap().expose_text().unwrap().strip_prefix(CANARY) == Some(value)
}

#[tokio::test]
async fn reads_many_secrets_with_few_requests() {
    let server = Server::start().await;
    server.boto3(&format!(
        "for i in range({COUNT}):
    client.create_secret(Name=f'app/{{i}}', SecretString=f'{CANARY}{{i}}')"
    ));
    let requests = || READS.map(|action| server.requests(action));
    let backend = open(config(server.endpoint(), server.region())).await;
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(300));
    let secrets = SecretsManager::with_policy(backend, policy).namespace("app").unwrap();
    let paths: Vec<_> = (0..COUNT).map(|i| i.to_string()).collect();
    let assert_all = |read: Vec<Result<Secret>>| {
        assert_eq!(read.len(), COUNT);
        assert!(read.iter().zip(&paths).all(|(read, path)| has_value(read, path)));
    };
    assert_eq!(requests(), [0; 4]);
    assert_all(secrets.get_many(&paths).await);
    // Twenty values in a request, and a description of each secret.
    let cold = [0, 2, COUNT, 0];
    assert_eq!(requests(), cold);
    for _ in 0..10 {
        assert_all(secrets.get_many(&paths).await);
    }
    for path in &paths {
        assert!(has_value(&secrets.get(path).await, path));
    }
    assert_eq!(requests(), cold);

    // Only the invalidated secret is requested again.
    secrets.invalidate("7").unwrap();
    assert_all(secrets.get_many(&paths).await);
    assert_eq!(requests(), [1, 2, COUNT, 0]);
}

/// A service that throttles every request, and a backend for it.
async fn throttling_store(region: &str) -> (Stub, AwsBackend) {
    let stub = Stub::new(|_| {
        Reply::new(400, r#"{ "__type": "ThrottlingException", "message": "Rate exceeded" }"#)
            .header("Content-Type", "application/x-amz-json-1.1")
    });
    // The SDK shares one retry budget among all clients in a region.
    let mut config = config(&stub.url(), region);
    config.read_metadata = false;
    let backend = open(config).await;
    (stub, backend)
}

#[tokio::test]
async fn the_facade_does_not_retry_what_the_sdk_has_retried() {
    let paths = ["a", "b"].map(|path| SecretPath::parse(path).unwrap());
    let is_throttled =
        |read: &Result<Secret>| read.as_ref().unwrap_err().kind() == ErrorKind::RateLimited;

    let (stub, backend) = throttling_store("test-1").await;
    assert!(is_throttled(&backend.get(&paths[0], &VersionSelector::Active).await));
    let alone = stub.requests().len();
    assert_eq!(alone, 3, "the requests of the SDK for one read");
    let (stub, backend) = throttling_store("test-2").await;
    assert!(backend.get_many(&paths).await.iter().all(is_throttled));
    let many = stub.requests().len();

    let (cached, uncached) = (ReadPolicy::new(), ReadPolicy::new().cache_ttl(Duration::ZERO));
    for (policy, regions) in [(cached, ["test-3", "test-4"]), (uncached, ["test-5", "test-6"])] {
        let policy = policy.retries(5);
        let (stub, backend) = throttling_store(regions[0]).await;
        let secrets = SecretsManager::with_policy(backend, policy.clone());
        assert!(is_throttled(&secrets.get("a").await));
        assert_eq!(stub.requests().len(), alone);
        let (stub, backend) = throttling_store(regions[1]).await;
        let secrets = SecretsManager::with_policy(backend, policy);
        assert!(secrets.get_many(&paths).await.iter().all(is_throttled));
        assert_eq!(stub.requests().len(), many);
    }
}
