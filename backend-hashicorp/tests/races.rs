//! Concurrent writers of one secret: all of them succeed, each with a separate version.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_core::{
    Backend as _, PutOptions, Result, SecretPath, SecretValue, Version, VersionSelector,
};
use strongroom_testkit::openbao::Server;

/// The number of concurrent writers: each can lose as many races as there are others.
const WRITERS: u64 = 8;
/// How often each of them writes.
const ROUNDS: u64 = 3;

struct Store {
    server: Server,
    backend: HashicorpBackend,
}

impl Store {
    async fn new() -> Self {
        let server = Server::dev().await;
        let auth = Auth::Token(server.root_token().into());
        let backend =
            HashicorpBackend::open(HashicorpConfig::new(server.address(), auth)).await.unwrap();
        let all = json!({ "max_versions": 100 });
        server.admin("POST", "secret/metadata/key", Some(all)).await;
        Self { server, backend }
    }

    async fn put(&self, text: String) -> Result<(Version, String)> {
        let value = SecretValue::from(text.as_str());
        Ok((self.backend.put(&path(), value, PutOptions::new()).await?, text))
    }

    async fn rollback(&self, to: u64, text: String) -> Result<(Version, String)> {
        Ok((self.backend.rollback(&path(), &to.into()).await?, text))
    }

    /// The server has all versions from the first to the last, each with its value.
    async fn assert_versions(&self, expected: &BTreeMap<u64, String>) {
        let shown = self.server.admin("GET", "secret/metadata/key", None).await;
        let count = u64::try_from(expected.len()).unwrap();
        assert_eq!(shown.pointer("/data/current_version").and_then(Value::as_u64), Some(count));
        for (number, text) in expected {
            let selector = VersionSelector::Exact((*number).into());
            let secret = self.backend.get(&path(), &selector).await.unwrap();
            assert_eq!(secret.expose_text().unwrap(), text, "version {number}");
        }
    }
}

fn path() -> SecretPath {
    SecretPath::parse("key").unwrap()
}

/// Records the versions that were written; they must be distinct.
fn record(made: Vec<Result<(Version, String)>>, expected: &mut BTreeMap<u64, String>) {
    for result in made {
        let (version, text) = result.unwrap();
        let before = expected.insert(version.number().unwrap(), text);
        assert_eq!(before, None, "{version} was written twice");
    }
}

#[tokio::test]
async fn concurrent_rollbacks_and_writes_all_succeed() {
    let store = Store::new().await;
    let mut expected = BTreeMap::new();
    let mut first = Vec::new();
    for writer in 1..=WRITERS {
        first.push(store.put(format!("value {writer}")).await);
    }
    record(first, &mut expected);
    for round in 0..ROUNDS {
        let rollbacks = (1..=WRITERS / 2).map(|to| store.rollback(to, format!("value {to}")));
        let puts = (0..WRITERS / 2).map(|writer| store.put(format!("new {round} {writer}")));
        let (rollbacks, puts) = tokio::join!(join_all(rollbacks), join_all(puts));
        record(rollbacks, &mut expected);
        record(puts, &mut expected);
    }
    store.assert_versions(&expected).await;
}

#[tokio::test]
async fn concurrent_writes_all_succeed_where_cas_is_required() {
    let store = Store::new().await;
    let require_cas = json!({ "cas_required": true });
    store.server.admin("POST", "secret/config", Some(require_cas)).await;
    let mut expected = BTreeMap::new();
    for round in 0..ROUNDS {
        let puts = (0..WRITERS).map(|writer| store.put(format!("new {round} {writer}")));
        record(join_all(puts).await, &mut expected);
    }
    store.assert_versions(&expected).await;
}
