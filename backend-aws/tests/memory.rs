//! Copies of a value in the memory of this process after it is dropped.
//!
//! The backend wipes its buffers. The SDK does not: it takes owned text, builds a request from it, and
//! frees both; later allocations soon reuse that memory.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::{Backend as _, PutOptions, SecretPath, SecretValue, VersionSelector};
use strongroom_testkit::localstack::Server;
use strongroom_testkit::memory::Planted;
use tokio::sync::OnceCell;

/// The copies of the SDK: the value and the request.
const SDK_COPIES: usize = 2;

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

/// Text without and with characters that JSON escapes, and binary.
fn values(planted: &Planted) -> [SecretValue; 3] {
    let given = |escaped| planted.expose_in(escaped, "");
    let binary = SecretValue::binary(given("").as_bytes().to_vec());
    [given("").as_str().into(), given("\n\"é").as_str().into(), binary]
}

#[tokio::test]
async fn a_write_leaves_only_the_copies_of_the_sdk() {
    let (backend, at) = (backend().await, SecretPath::parse("written").unwrap());
    // The first write creates the secret; the others add versions.
    for round in 0..4 {
        for which in 0..3 {
            let planted = Planted::new();
            let [text, escaped, binary] = values(&planted);
            put(&backend, &at, [text, escaped, binary].into_iter().nth(which).unwrap()).await;
            let left = planted.count_in_own_memory();
            assert!(left <= SDK_COPIES, "{left} copies of value {which} in round {round}");
        }
    }
}

#[tokio::test]
async fn a_read_leaves_no_more_copies_than_the_write_before_it() {
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
