//! Copies of a value in the memory of this process after it is dropped.
//!
//! The backend wipes its buffers. The HTTP library does not: one of its buffers keeps the last response.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_core::{Backend as _, PutOptions, SecretPath, SecretValue, VersionSelector};
use strongroom_testkit::memory::Planted;
use strongroom_testkit::openbao::Server;

/// Copies in the library's buffers.
const LIBRARY_COPIES: usize = 1;

/// The server is another process, so its copies do not count.
async fn backend() -> (Server, HashicorpBackend) {
    let server = Server::dev().await;
    let auth = Auth::Token(server.root_token().into());
    let backend =
        HashicorpBackend::open(HashicorpConfig::new(server.address(), auth)).await.unwrap();
    (server, backend)
}

fn path() -> SecretPath {
    SecretPath::parse("key").unwrap()
}

async fn put(backend: &HashicorpBackend, value: &str) {
    backend.put(&path(), SecretValue::from(value), PutOptions::new()).await.unwrap();
}

#[tokio::test]
async fn a_write_leaves_no_copy_in_memory() {
    let (_server, backend) = backend().await;
    for escaped in ["", "\n\"é"] {
        let planted = Planted::new();
        put(&backend, &planted.expose_in(escaped, "")).await;
        assert_eq!(planted.count_in_own_memory(), 0, "copies of the value were left in memory");
    }
}

#[tokio::test]
async fn a_read_leaves_only_the_copy_of_the_http_library() {
    let (_server, backend) = backend().await;
    for escaped in ["", "\n\"é"] {
        let planted = Planted::new();
        put(&backend, &planted.expose_in(escaped, "")).await;
        let secret = backend.get(&path(), &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.value().len(), escaped.len() + planted.expose().len());
        let copies = planted.count_in_own_memory();
        assert!((1..=1 + LIBRARY_COPIES).contains(&copies), "{copies} copies");
        drop(secret);
        let copies = planted.count_in_own_memory();
        assert!(copies <= LIBRARY_COPIES, "{copies} copies of the value were left in memory");
    }
}
