//! What a value leaves in the memory of this process once it is dropped.
//!
//! The buffers here are wiped. Those of the SDK are not: it takes text that it owns, puts a request
//! together from it, and frees both; others soon use that memory.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::{Backend as _, PutOptions, SecretPath, SecretValue, VersionSelector};
use strongroom_testkit::localstack::Server;
use strongroom_testkit::memory::Planted;
use tokio::sync::OnceCell;

/// The value and the request, in the SDK's buffers.
const OF_THE_SDK: usize = 2;

/// The server is another process: its copies do not count.
async fn backend() -> AwsBackend {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(Server::start).await;
    let mut config = AwsConfig::default();
    config.region = Some(server.region().into());
    config.endpoint_url = Some(server.endpoint().into());
    config.credentials = Some(StaticCredentials::new("test", "test".into()));
    AwsBackend::open(config).await.unwrap()
}

async fn put(backend: &AwsBackend, at: &SecretPath, value: SecretValue) {
    backend.put(at, value, PutOptions::new()).await.unwrap();
}

/// Values as they are given, with nothing to escape and with something, and binary.
fn values(planted: &Planted) -> [SecretValue; 3] {
    let given = |escaped| planted.expose_in(escaped, "");
    let binary = SecretValue::binary(given("").as_bytes().to_vec());
    [given("").as_str().into(), given("\n\"é").as_str().into(), binary]
}

#[tokio::test]
async fn a_write_leaves_what_the_sdk_has_sent_and_no_more() {
    let (backend, at) = (backend().await, SecretPath::parse("written").unwrap());
    // The first one creates the secret, the others add versions.
    for round in 0..4 {
        for which in 0..3 {
            let planted = Planted::new();
            let [text, escaped, binary] = values(&planted);
            put(&backend, &at, [text, escaped, binary].into_iter().nth(which).unwrap()).await;
            let left = planted.count_in_own_memory();
            assert!(left <= OF_THE_SDK, "{left} copies of value {which} in round {round}");
        }
    }
}

#[tokio::test]
async fn a_read_leaves_no_more_than_the_write_before_it() {
    let (backend, at) = (backend().await, SecretPath::parse("read").unwrap());
    for which in 0..3 {
        let planted = Planted::new();
        put(&backend, &at, values(&planted).into_iter().nth(which).unwrap()).await;
        let written = planted.count_in_own_memory();
        let secrets = backend.get_many(&[at.clone(), at.clone()]).await;
        let secret = backend.get(&at, &VersionSelector::Active).await.unwrap();
        assert!(secret.value().len() >= planted.expose().len());
        assert!(planted.count_in_own_memory() >= 1, "the scan finds nothing");
        drop((secrets, secret));
        for _ in 0..20 {
            drop(backend.get(&at, &VersionSelector::Active).await.unwrap());
        }
        let left = planted.count_in_own_memory();
        assert!(left <= written.max(1), "{left} copies of value {which}, {written} before it");
    }
}
