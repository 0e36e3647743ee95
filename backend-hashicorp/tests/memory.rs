//! What a value leaves in the memory of this process once it is dropped.
//!
//! The buffers here are wiped. Those of the HTTP library are not: one keeps the last answer.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_core::{Backend as _, PutOptions, SecretPath, SecretValue, VersionSelector};
use strongroom_testkit::memory::Planted;
use strongroom_testkit::openbao::Server;

/// The answer in the library's buffer.
const OF_THE_LIBRARY: usize = 1;

/// The server is another process: its copies do not count.
async fn backend() -> (Server, HashicorpBackend) {
    let server = Server::dev().await;
    let auth = Auth::Token(server.root_token().into());
    let backend = HashicorpBackend::open(HashicorpConfig::new(server.address(), auth)).unwrap();
    (server, backend)
}

fn path() -> SecretPath {
    SecretPath::parse("key").unwrap()
}

async fn put(backend: &HashicorpBackend, value: &str) {
    backend.put(&path(), SecretValue::from(value), PutOptions::new()).await.unwrap();
}

#[tokio::test]
async fn a_write_leaves_nothing() {
    let (_server, backend) = backend().await;
    for escaped in ["", "\n\"é"] {
        let planted = Planted::new();
        put(&backend, &planted.expose_in(escaped, "")).await;
        assert_eq!(planted.count_in_own_memory(), 0, "copies of the value were left in memory");
    }
}

#[tokio::test]
async fn a_read_leaves_what_the_library_has_received_and_no_more() {
    let (_server, backend) = backend().await;
    for escaped in ["", "\n\"é"] {
        let planted = Planted::new();
        put(&backend, &planted.expose_in(escaped, "")).await;
        let secret = backend.get(&path(), &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.value().len(), escaped.len() + planted.expose().len());
        let held = planted.count_in_own_memory();
        assert!((1..=1 + OF_THE_LIBRARY).contains(&held), "{held} copies");
        drop(secret);
        let left = planted.count_in_own_memory();
        assert!(left <= OF_THE_LIBRARY, "{left} copies of the value were left in memory");
    }
}
