//! Keys of a transit engine that wrap other keys.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod contract;
mod responses;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of failures use the rest")]
mod support;

use serde_json::json;
use strongroom_backend_hashicorp::{HashicorpConfig, TransitKey};
use strongroom_testkit::openbao::Server;

/// Mounts a transit engine as root.
async fn mount(server: &Server, at: &str) {
    server.admin("POST", &format!("sys/mounts/{at}"), Some(json!({ "type": "transit" }))).await;
}

/// Creates a key as root.
async fn create(server: &Server, at: &str, options: serde_json::Value) {
    let (mount, name) = at.rsplit_once('/').unwrap();
    server.admin("POST", &format!("{mount}/keys/{name}"), Some(options)).await;
}

async fn open(config: HashicorpConfig, key_id: &str) -> TransitKey {
    TransitKey::open(config, key_id).await.unwrap()
}
