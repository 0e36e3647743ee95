//! Copies of a value in the memory of this process after it is dropped.
//!
//! The backend wipes its buffers. The HTTP library does not: one of its buffers keeps the last response.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig, TransitKey};
use strongroom_core::{
    Backend as _, PutOptions, SecretPath, SecretValue, VersionSelector, WrapContext,
    WrappingKey as _,
};
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

#[tokio::test]
async fn a_transit_key_leaves_only_the_copy_of_the_http_library() {
    let (server, _backend) = backend().await;
    server.admin("POST", "sys/mounts/transit", Some(json!({ "type": "transit" }))).await;
    server.admin("POST", "transit/keys/key", None).await;
    let auth = Auth::Token(server.root_token().into());
    let config = HashicorpConfig::new(server.address(), auth);
    let key = TransitKey::open(config, "transit/key").await.unwrap();
    let context = WrapContext::new().with("store", "1");
    // The planted text, and the key whose base64 is the planted text: requests and responses hold that.
    for decode in [false, true] {
        let planted = Planted::new();
        let given = || {
            let text = planted.expose();
            SecretValue::binary(if decode {
                STANDARD.decode(text.as_bytes()).unwrap()
            } else {
                text.as_bytes().to_vec()
            })
        };
        let wrapped = key.wrap(&given(), &context).await.unwrap();
        assert_eq!(planted.count_in_own_memory(), 0, "copies of the key were left in memory");
        let unwrapped = key.unwrap(&wrapped, &context).await.unwrap();
        assert!(unwrapped.constant_time_eq(&given()));
        let copies = planted.count_in_own_memory();
        assert!((1..=1 + LIBRARY_COPIES).contains(&copies), "{copies} copies");
        drop(unwrapped);
        let copies = planted.count_in_own_memory();
        assert!(copies <= LIBRARY_COPIES, "{copies} copies of the key were left in memory");
    }
}
