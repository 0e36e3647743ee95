//! Mounts and namespaces that are missing, of another kind, or of another version.

use std::slice;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use strongroom_backend_hashicorp::HashicorpBackend;
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, SecretPath,
    VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::Server;

use crate::support::{
    Account, LIMIT, config, expect_permanent, expect_transient, mount_kv, open, path, put, read,
    read_until_success, root, shared, write,
};

async fn at(server: &Server, mount: &str) -> HashicorpBackend {
    let mut config = config(server, root(server));
    mount.clone_into(&mut config.mount);
    open(config).await
}

async fn unmount(server: &Server, mount: &str) {
    server.admin("DELETE", &format!("sys/mounts/{mount}"), None).await;
}

/// Writes into a KV engine of version 1 as root.
async fn write_v1(server: &Server, mount: &str, path: &str, rest: &str) {
    let body = json!({ "value": format!("{CANARY}{rest}") });
    server.admin("POST", &format!("{mount}/{path}"), Some(body)).await;
}

#[tokio::test]
async fn a_missing_mount_is_a_configuration_error() {
    let (server, _) = shared().await;
    let (backend, key) = (at(server, "late").await, path("key"));
    let error = expect_permanent(Operation::Get, ErrorKind::Config, read(&backend, &key).await);
    assert!(error.advice().contains("`HashicorpConfig::mount`"), "{error}");
    expect_permanent(Operation::Put, ErrorKind::Config, put(&backend, &key, "new").await);
    let options = ListOptions::default();
    expect_permanent(Operation::List, ErrorKind::Config, backend.list(None, &options).await);
    mount_kv(server, "late", "2").await;
    write(server, "late", "key", "kept").await;
    assert_eq!(read_until_success(&backend, &key).await, "kept");
    put(&backend, &key, "new").await.unwrap();
    unmount(server, "late").await;
    expect_permanent(Operation::Get, ErrorKind::Config, read(&backend, &key).await);
}

#[tokio::test]
async fn a_mount_of_another_engine_is_a_configuration_error() {
    let (server, _) = shared().await;
    let transit = json!({ "type": "transit" });
    server.admin("POST", "sys/mounts/ciphers", Some(transit)).await;
    for mount in ["ciphers", "cubbyhole", "secret/below", "sys"] {
        let (backend, key) = (at(server, mount).await, path("key"));
        let error = expect_permanent(Operation::Get, ErrorKind::Config, read(&backend, &key).await);
        assert!(error.advice().contains("`HashicorpConfig::mount`"), "{error}");
        expect_permanent(Operation::Put, ErrorKind::Config, put(&backend, &key, "new").await);
    }
}

#[tokio::test]
async fn a_missing_namespace_is_a_configuration_error() {
    let (server, _) = shared().await;
    let account = Account::new("in-namespace").await;
    let key = path("key");
    let backends = [config(server, root(server)), account.config()].map(|mut config| {
        config.namespace = Some("team/".into());
        open(config)
    });
    let backends = join_all(backends).await;
    for backend in &backends {
        let error = expect_permanent(Operation::Get, ErrorKind::Config, read(backend, &key).await);
        assert!(error.to_string().contains("`HashicorpConfig::namespace`"), "{error}");
    }
    server.admin("POST", "sys/namespaces/team", None).await;
    let kv = json!({ "type": "kv", "options": { "version": "2" } });
    server.admin("POST", "team/sys/mounts/secret", Some(kv)).await;
    let policy = json!({ "policy": r#"path "secret/*" { capabilities = ["read", "list"] }"# });
    server.admin("PUT", "team/sys/policies/acl/full", Some(policy)).await;
    let approle = json!({ "type": "approle" });
    server.admin("POST", "team/sys/auth/in-namespace", Some(approle)).await;
    account.restore_in("team/").await;
    let body = json!({ "data": { "value": format!("{CANARY}of the team") } });
    server.admin("POST", "team/secret/data/key", Some(body)).await;
    write(server, "secret", "key", "of another").await;
    for backend in &backends {
        assert_eq!(read_until_success(backend, &key).await, "of the team");
        let listed = backend.list(None, &ListOptions::default()).await.unwrap();
        assert_eq!(listed.paths, slice::from_ref(&key));
        backend.health().await.unwrap();
    }
}

#[tokio::test]
async fn kv_version_1_is_read_only() {
    let (server, _) = shared().await;
    mount_kv(server, "one", "1").await;
    write_v1(server, "one", "folder/key", "kept").await;
    write_v1(server, "one", "other", "kept, too").await;
    let (backend, key) = (at(server, "one").await, path("folder/key"));
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    expect_permanent(Operation::Get, ErrorKind::NotFound, read(&backend, &path("none")).await);
    let listed = backend.list(None, &ListOptions::default()).await.unwrap();
    assert_eq!(listed.paths, [key.clone(), path("other")]);
    let below = backend.list(Some(&path("folder")), &ListOptions::default()).await.unwrap();
    assert_eq!(below.paths, slice::from_ref(&key));
    backend.health().await.unwrap();

    for key in [key, path("data/key"), path("none")] {
        assert_unsupported_on_version_1(&backend, &key).await;
    }
    assert_eq!(keys(server, "one").await, json!(["folder/", "other"]));
    assert_eq!(keys(server, "one/folder").await, json!(["key"]));
    assert_eq!(read(&backend, &path("other")).await.unwrap(), "kept, too");
}

/// Every operation that version 1 does not support is `Unsupported`.
async fn assert_unsupported_on_version_1(backend: &HashicorpBackend, key: &SecretPath) {
    let unsupported = ErrorKind::Unsupported;
    let error = expect_permanent(Operation::Put, unsupported, put(backend, key, "new").await);
    assert!(error.to_string().contains("version 1"), "{error}");
    let mut options = PutOptions::default();
    options.metadata = MetadataPatch::new().tag("a", "b");
    let result = backend.put(key, canary::text("new"), options).await;
    expect_permanent(Operation::Put, unsupported, result);
    expect_permanent(Operation::Delete, unsupported, backend.delete(key).await);
    expect_permanent(Operation::Undelete, unsupported, backend.undelete(key).await);
    expect_permanent(Operation::Destroy, unsupported, backend.destroy(key).await);
    expect_permanent(Operation::Versions, unsupported, backend.versions(key).await);
    expect_permanent(Operation::Rollback, unsupported, backend.rollback(key, &1.into()).await);
    expect_permanent(Operation::Describe, unsupported, backend.describe(key).await);
    let patch = MetadataPatch::new().tag("a", "b");
    expect_permanent(Operation::Annotate, unsupported, backend.annotate(key, &patch).await);
    let first = VersionSelector::Exact(1.into());
    expect_permanent(Operation::Get, unsupported, backend.get(key, &first).await);
}

async fn keys(server: &Server, path: &str) -> serde_json::Value {
    server.admin("LIST", path, None).await["data"]["keys"].clone()
}

#[tokio::test]
async fn does_not_write_to_a_mount_replaced_by_version_1() {
    let (server, _) = shared().await;
    mount_kv(server, "swapped", "2").await;
    let backends = join_all((0..3).map(|_| at(server, "swapped"))).await;
    let [backend, other, third] = <[_; 3]>::try_from(backends).unwrap();
    let key = path("key");
    for backend in [&backend, &other, &third] {
        put(backend, &key, "kept").await.unwrap();
    }
    unmount(server, "swapped").await;
    mount_kv(server, "swapped", "1").await;
    for path in ["key", "metadata/other", "data/key"] {
        write_v1(server, "swapped", path, "of version 1").await;
    }
    let unsupported = ErrorKind::Unsupported;
    expect_permanent(Operation::Put, unsupported, put(&backend, &key, "new").await);
    expect_permanent(Operation::Put, unsupported, put(&other, &path("new"), "new").await);
    expect_permanent(Operation::Destroy, unsupported, third.destroy(&path("other")).await);
    for path in ["key", "metadata/other", "data/key"] {
        let kept = server.admin("GET", &format!("swapped/{path}"), None).await;
        assert_eq!(kept["data"]["value"], format!("{CANARY}of version 1"));
    }
    assert_eq!(keys(server, "swapped").await, json!(["data/", "key", "metadata/"]));
    assert_eq!(keys(server, "swapped/data").await, json!(["key"]));
    assert_eq!(keys(server, "swapped/metadata").await, json!(["other"]));
    assert_eq!(read(&backend, &key).await.unwrap(), "of version 1");
}

#[tokio::test]
async fn uses_a_mount_that_was_upgraded_to_version_2() {
    let (server, _) = shared().await;
    mount_kv(server, "upgraded", "1").await;
    write_v1(server, "upgraded", "folder/key", "kept").await;
    let (reader, lister, key) =
        (at(server, "upgraded").await, at(server, "upgraded").await, path("folder/key"));
    for backend in [&reader, &lister] {
        assert_eq!(read(backend, &key).await.unwrap(), "kept");
    }
    let options = json!({ "options": { "version": "2" } });
    server.admin("POST", "sys/mounts/upgraded/tune", Some(options)).await;
    let begin = Instant::now();
    while server.call("GET", "upgraded/data/folder/key", None).await.0 != 200 {
        assert!(begin.elapsed() < LIMIT, "the upgrade does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The first request after the upgrade fails with a temporary error.
    let options = ListOptions::default();
    expect_transient(Operation::List, ErrorKind::Unavailable, lister.list(None, &options).await);
    let listed = lister.list(None, &options).await.unwrap();
    assert_eq!(listed.paths, slice::from_ref(&key));
    expect_transient(Operation::Get, ErrorKind::Unavailable, read(&reader, &key).await);
    assert_eq!(read(&reader, &key).await.unwrap(), "kept");
    put(&lister, &key, "new").await.unwrap();
    assert_eq!(read(&reader, &key).await.unwrap(), "new");
}

#[tokio::test]
async fn unconditional_writes_work_on_a_mount_that_requires_cas() {
    let (server, _) = shared().await;
    mount_kv(server, "strict", "2").await;
    server.admin("POST", "strict/config", Some(json!({ "cas_required": true }))).await;
    let (backend, key) = (at(server, "strict").await, path("key"));
    for (version, rest) in [(1_u64, "first"), (2, "second")] {
        let written = backend.put(&key, canary::text(rest), PutOptions::default()).await;
        assert_eq!(written.unwrap(), version.into());
    }
    backend.delete(&key).await.unwrap();
    put(&backend, &key, "third").await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "third");
    backend.rollback(&key, &1.into()).await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "first");
}

#[tokio::test]
async fn a_secret_that_the_kv_command_deletes_can_be_undeleted() {
    let account = Account::new("deleted").await;
    account.write("kept").await;
    let (backend, key) = (open(account.config()).await, account.path());
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    let _ = account.server.kv(&["delete", "secret/deleted"]);
    expect_permanent(Operation::Get, ErrorKind::NotFound, read(&backend, &key).await);
    expect_permanent(Operation::Describe, ErrorKind::NotFound, backend.describe(&key).await);
    backend.undelete(&key).await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    let _ = account.server.kv(&["metadata", "delete", "secret/deleted"]);
    expect_permanent(Operation::Get, ErrorKind::NotFound, read(&backend, &key).await);
    expect_permanent(Operation::Undelete, ErrorKind::NotFound, backend.undelete(&key).await);
}
