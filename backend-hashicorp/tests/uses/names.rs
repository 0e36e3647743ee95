//! Names in the store that no path can have, and errors that name where a secret was looked for.

use serde_json::json;
use strongroom_backend_hashicorp::HashicorpBackend;
use strongroom_core::{
    Backend as _, Condition, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::log::Log;
use strongroom_testkit::openbao::Server;

use crate::support::{config, expect_permanent, mount_kv, open, path, put, read, root, write};

async fn list(backend: &HashicorpBackend, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(path);
    let page = backend.list(prefix.as_ref(), &ListOptions::default()).await.unwrap();
    page.paths.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_path_stands_for_any_name_of_the_store() {
    let server = Server::dev().await;
    let name = "Legacy DB/käse?50%+!";
    server
        .admin(
            "POST",
            "secret/data/Legacy%20DB/k%C3%A4se%3F50%25%2B%21",
            Some(json!({
                "data": { "value": format!("{CANARY}old") },
            })),
        )
        .await;
    let mut config = config(&server, root(&server));
    for (at, name) in [("legacy/db", name), ("legacy/new", "New one!"), ("moved", "other/path")] {
        config.secret_names.insert(path(at), name.into());
    }
    let backend = open(config).await;
    let key = path("legacy/db");
    assert_eq!(read(&backend, &key).await.unwrap(), "old");
    put(&backend, &key, "new").await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "new");
    let stored = server.kv(&["get", "-mount=secret", "-field=value", name]);
    assert_eq!(stored.trim(), format!("{CANARY}new"));
    backend.annotate(&key, &MetadataPatch::new().tag("team", "payments")).await.unwrap();
    assert_eq!(backend.describe(&key).await.unwrap().metadata.tags["team"], "payments");
    assert_eq!(backend.versions(&key).await.unwrap().len(), 2);
    backend.rollback(&key, &1.into()).await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "old");
    put(&backend, &path("legacy/new"), "made here").await.unwrap();
    put(&backend, &path("moved"), "elsewhere").await.unwrap();
    put(&backend, &path("plain"), "plain").await.unwrap();
    assert_eq!(list(&backend, None).await, ["plain", "legacy/db", "legacy/new", "moved"]);
    assert_eq!(list(&backend, Some("legacy")).await, ["legacy/db", "legacy/new"]);
    backend.delete(&key).await.unwrap();
    assert_eq!(list(&backend, Some("legacy")).await, ["legacy/new"]);
    let error = expect_permanent(Operation::Get, ErrorKind::NotFound, read(&backend, &key).await);
    assert!(error.to_string().contains(&format!("for `{name}`")), "{error}");
    backend.undelete(&key).await.unwrap();
    backend.destroy(&key).await.unwrap();
    assert!(
        server.call("GET", "secret/metadata/Legacy%20DB/k%C3%A4se%3F50%25%2B%21", None).await.0
            == 404
    );
    assert!(backend.locate(&path("moved")).starts_with("`other/path` at http://"));
}

#[tokio::test]
async fn a_name_can_be_read_from_an_engine_of_version_1() {
    let server = Server::dev().await;
    mount_kv(&server, "one", "1").await;
    let body = json!({ "value": format!("{CANARY}old") });
    server.admin("POST", "one/My%20key", Some(body)).await;
    let mut config = config(&server, root(&server));
    config.mount = "one".into();
    for (at, name) in [("my/key", "My key"), ("gone", "Not there")] {
        config.secret_names.insert(path(at), name.into());
    }
    let backend = open(config).await;
    assert_eq!(read(&backend, &path("my/key")).await.unwrap(), "old");
    assert_eq!(list(&backend, None).await, ["my/key"]);
}

#[tokio::test]
async fn a_list_warns_once_how_many_names_it_leaves_out() {
    let server = Server::dev().await;
    for name in ["a%20b", "c!", "folder%20one/x", "folder%20two/y"] {
        write(&server, "secret", name, "x").await;
    }
    write(&server, "secret", "plain", "x").await;
    let mut config = config(&server, root(&server));
    config.secret_names.insert(path("two"), "folder two/y".into());
    let backend = open(config).await;
    let log = Log::default();
    let guard = log.capture();
    for _ in 0..3 {
        assert_eq!(list(&backend, None).await, ["plain", "two"]);
    }
    drop(guard);
    let text = log.text();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("secrets=2") && warning.contains("folders=1"), "{warning}");
    assert!(warning.contains("`HashicorpConfig::secret_names`"), "{warning}");
}

#[tokio::test]
async fn a_conflict_says_which_case_it_is() {
    let server = Server::dev().await;
    let backend = open(config(&server, root(&server))).await;
    let key = path("key");
    let put_if = async |condition| {
        let mut options = PutOptions::default();
        options.condition = condition;
        let result = backend.put(&key, canary::text("x"), options).await;
        expect_permanent(Operation::Put, ErrorKind::Conflict, result).to_string()
    };
    let missing = put_if(Condition::MustBeVersion(1.into())).await;
    assert!(missing.contains("does not exist"), "{missing}");
    put(&backend, &key, "one").await.unwrap();
    put(&backend, &key, "two").await.unwrap();
    let exists = put_if(Condition::MustNotExist).await;
    assert!(exists.contains("the secret exists; version 2 is active"), "{exists}");
    let other = put_if(Condition::MustBeVersion(1.into())).await;
    assert!(other.contains("version 2 is active"), "{other}");
    backend.delete(&key).await.unwrap();
    let deleted = put_if(Condition::MustNotExist).await;
    assert!(
        deleted.contains("the secret is deleted") && deleted.contains("undelete it"),
        "{deleted}"
    );
}

#[tokio::test]
async fn an_error_about_a_missing_secret_names_the_mount() {
    let server = Server::dev().await;
    let backend = open(config(&server, root(&server))).await;
    for error in [
        backend.describe(&path("missing")).await.unwrap_err(),
        backend.undelete(&path("missing")).await.unwrap_err(),
        read(&backend, &path("missing")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().contains(&format!("{}, mount `secret`", server.address())),
            "{error}"
        );
    }
}
