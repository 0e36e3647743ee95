//! Writes of several requests: which versions they undelete, and what happens when they are cancelled,
//! denied in part, or race with other writes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use strongroom_backend_hashicorp::HashicorpBackend;
use strongroom_core::{
    Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions, Result, SecretPath,
    VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::Server;

use crate::support::{
    Account, LIMIT, check, config, expect_permanent, mount_kv, open, path, put, read,
    read_until_error, root, shared,
};

/// Longer than the deletion times of one delete can differ.
const BETWEEN_DELETES: Duration = Duration::from_millis(50);

async fn version(backend: &HashicorpBackend, path: &SecretPath, number: u64) -> Result<String> {
    let secret = backend.get(path, &VersionSelector::Exact(number.into())).await?;
    Ok(secret.expose_text()?.strip_prefix(CANARY).unwrap().to_owned())
}

fn assert_not_found(result: Result<String>) {
    expect_permanent(Operation::Get, ErrorKind::NotFound, result);
}

fn with_tag(name: &str, text: &str) -> PutOptions {
    PutOptions::new().metadata(MetadataPatch::new().tag(name, text))
}

async fn current_version(server: &Server, path: &SecretPath) -> serde_json::Value {
    let kept = server.admin("GET", &format!("secret/metadata/{path}"), None).await;
    kept["data"]["current_version"].clone()
}

#[tokio::test]
async fn does_not_undelete_versions_that_were_deleted_separately() {
    let account = Account::new("on-purpose").await;
    for (name, undeletes) in [("on-purpose/put", false), ("on-purpose/undelete", true)] {
        let (backend, key) = (open(account.config()).await, path(name));
        for rest in ["first", "second", "third"] {
            put(&backend, &key, rest).await.unwrap();
        }
        let first = json!({ "versions": [1] });
        account.server.admin("POST", &format!("secret/delete/{key}"), Some(first)).await;
        assert_not_found(version(&backend, &key, 1).await);
        tokio::time::sleep(BETWEEN_DELETES).await;
        backend.delete(&key).await.unwrap();
        for number in 1..=3 {
            assert_not_found(version(&backend, &key, number).await);
        }
        if undeletes {
            backend.undelete(&key).await.unwrap();
        } else {
            put(&backend, &key, "fourth").await.unwrap();
        }
        assert_not_found(version(&backend, &key, 1).await);
        assert_eq!(version(&backend, &key, 2).await.unwrap(), "second");
        assert_eq!(version(&backend, &key, 3).await.unwrap(), "third");
        assert_eq!(read(&backend, &key).await.unwrap(), if undeletes { "third" } else { "fourth" });
    }
}

#[tokio::test]
async fn a_put_does_not_undelete_expired_versions() {
    let account = Account::new("aged").await;
    let (backend, key) = (open(account.config()).await, account.path());
    let age = json!({ "delete_version_after": "1s" });
    account.server.admin("POST", "secret/metadata/aged", Some(age)).await;
    put(&backend, &key, "first").await.unwrap();
    put(&backend, &key, "second").await.unwrap();
    assert_not_found(Err(read_until_error(&backend, &key).await));
    assert_not_found(version(&backend, &key, 1).await);
    put(&backend, &key, "third").await.unwrap();
    for number in 1..=2 {
        assert_not_found(version(&backend, &key, number).await);
    }
    // Nor does a put after a delete of the expired secret.
    assert_not_found(Err(read_until_error(&backend, &key).await));
    backend.delete(&key).await.unwrap();
    put(&backend, &key, "fourth").await.unwrap();
    for number in 1..=3 {
        assert_not_found(version(&backend, &key, number).await);
    }
}

/// Writes with metadata, and cancels the call as soon as the value can be read.
async fn put_and_cancel(server: &Server, backend: &HashicorpBackend, key: &SecretPath) {
    let data = format!("secret/data/{key}");
    let is_written = async { while server.call("GET", &data, None).await.0 != 200 {} };
    tokio::select! {
        biased;
        () = is_written => {}
        written = backend.put(key, canary::text("new"), with_tag("team", "payments")) => {
            written.unwrap();
        }
    }
}

#[tokio::test]
async fn a_cancelled_put_completes() {
    let account = Account::new("dropped").await;
    let backend = open(account.config()).await;
    for number in 0..10 {
        let key = path(&format!("dropped/{number}"));
        put_and_cancel(account.server, &backend, &key).await;
        let begin = Instant::now();
        loop {
            let kept = backend.describe(&key).await.unwrap();
            if kept.metadata.tags.get("team").is_some_and(|team| team == "payments") {
                break;
            }
            assert!(begin.elapsed() < LIMIT, "the metadata is never written");
        }
        assert_eq!(read(&backend, &key).await.unwrap(), "new");
        assert_eq!(current_version(account.server, &key).await, 1);
    }
}

#[tokio::test]
async fn close_waits_for_a_cancelled_put() {
    let account = Account::new("closed-while-writing").await;
    for number in 0..5 {
        let backend = open(account.config()).await;
        let key = path(&format!("closed-while-writing/{number}"));
        put_and_cancel(account.server, &backend, &key).await;
        backend.close().await.unwrap();
        let kept = account.server.admin("GET", &format!("secret/metadata/{key}"), None).await;
        assert_eq!(kept["data"]["custom_metadata"]["team"], "payments");
    }
}

#[tokio::test]
async fn a_put_that_is_cancelled_before_it_is_sent_writes_nothing() {
    let server = Server::dev().await;
    let backend = open(config(&server, root(&server))).await;
    let key = path("given-up");
    put(&backend, &path("another"), "kept").await.unwrap();
    let paused = server.pause();
    let cancelled = backend.put(&key, canary::text("first"), with_tag("team", "payments"));
    assert!(tokio::time::timeout(Duration::from_millis(200), cancelled).await.is_err());
    paused.resume();
    backend.put(&key, canary::text("second"), with_tag("team", "search")).await.unwrap();
    for _ in 0..100 {
        assert_eq!(current_version(&server, &key).await, 1);
    }
    assert_eq!(read(&backend, &key).await.unwrap(), "second");
}

#[tokio::test]
async fn a_put_whose_later_part_would_be_denied_writes_nothing() {
    let rules = r#"
        path "secret/data/no-undelete" { capabilities = ["create", "read", "update"] }
        path "secret/metadata/no-undelete" { capabilities = ["read", "patch"] }
        path "secret/delete/no-undelete" { capabilities = ["update"] }"#;
    let account = Account::with_policy("no-undelete", rules).await;
    let (backend, key) = (open(account.config()).await, account.path());
    put(&backend, &key, "first").await.unwrap();
    backend.delete(&key).await.unwrap();
    for options in [PutOptions::new(), with_tag("team", "payments")] {
        let result = backend.put(&key, canary::text("second"), options).await;
        let error = expect_permanent(Operation::Put, ErrorKind::Denied, result);
        assert!(error.advice().contains("`update` on `secret/undelete/no-undelete`"), "{error}");
        assert!(error.to_string().contains("nothing was written"), "{error}");
        assert_eq!(current_version(account.server, &key).await, 1);
        assert_not_found(read(&backend, &key).await);
        assert_not_found(version(&backend, &key, 1).await);
    }
    let rights = [rules, r#"path "secret/undelete/*" { capabilities = ["update"] }"#].concat();
    account.server.write_policy("no-undelete", &rights).await;
    put(&backend, &key, "second").await.unwrap();
    assert_eq!(version(&backend, &key, 1).await.unwrap(), "first");
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn a_put_is_not_refused_because_it_cannot_say_who_writes() {
    let account_with = async |name, rights| {
        let rules = format!(
            r#"path "secret/data/{name}" {{ capabilities = ["create", "read", "update"] }} {rights}"#
        );
        Account::with_policy(name, &rules).await
    };
    let read_only = r#"path "secret/metadata/no-patch" { capabilities = ["read"] }"#;
    for account in
        [account_with("no-patch", read_only).await, account_with("no-metadata", "").await]
    {
        let (backend, key) = (open(account.config()).await, account.path());
        let by = |who: &str| PutOptions::new().metadata(MetadataPatch::new().updated_by(who));
        backend.put(&key, canary::text("first"), by("ann")).await.unwrap();
        backend.put(&key, canary::text("second"), by("eve")).await.unwrap();
        assert_eq!(read(&backend, &key).await.unwrap(), "second");
        // What the caller asks for is not left out.
        let result = backend.put(&key, canary::text("third"), with_tag("team", "payments")).await;
        expect_permanent(Operation::Put, ErrorKind::Denied, result);
        assert_eq!(current_version(account.server, &key).await, 2);
    }
    let (server, _) = shared().await;
    let backend = open(config(server, root(server))).await;
    let key = path("full-of-entries");
    let entries: serde_json::Map<_, _> =
        (0..64).map(|number| (number.to_string(), "x".into())).collect();
    put(&backend, &key, "first").await.unwrap();
    let full = json!({ "custom_metadata": entries });
    server.admin("POST", "secret/metadata/full-of-entries", Some(full)).await;
    let by_ann = PutOptions::new().metadata(MetadataPatch::new().updated_by("ann"));
    backend.put(&key, canary::text("second"), by_ann).await.unwrap();
    assert_eq!(read(&backend, &key).await.unwrap(), "second");
    assert_eq!(backend.describe(&key).await.unwrap().metadata.updated_by, None);
}

/// The whole mount, or one secret, requires a condition for metadata.
#[tokio::test]
async fn unconditional_metadata_changes_work_where_cas_is_required() {
    let (server, _) = shared().await;
    let demand = || Some(json!({ "metadata_cas_required": true }));
    mount_kv(server, "strict-metadata", "2").await;
    server.admin("POST", "strict-metadata/config", demand()).await;
    mount_kv(server, "strict-secret", "2").await;
    server.admin("POST", "strict-secret/metadata/key", demand()).await;
    for mount in ["strict-metadata", "strict-secret"] {
        let mut config = config(server, root(server));
        mount.clone_into(&mut config.mount);
        let (backend, key) = (open(config).await, path("key"));
        for rest in ["first", "second"] {
            backend.put(&key, canary::text(rest), with_tag("put", rest)).await.unwrap();
        }
        // The server does require one.
        let plain = json!({ "custom_metadata": { "plain": "x" } });
        let (status, _) = server.call("POST", &format!("{mount}/metadata/key"), Some(plain)).await;
        assert_eq!(status, 400, "{mount}");

        let backend = &backend;
        let annotate = |number: usize| {
            let (name, key) = (format!("tag-{number}"), &key);
            async move { backend.annotate(key, &MetadataPatch::new().tag(name, "set")).await }
        };
        for result in join_all((0..8).map(annotate)).await {
            result.unwrap();
        }
        backend.annotate(&key, &MetadataPatch::new().remove_tag("tag-7")).await.unwrap();
        backend.delete(&key).await.unwrap();
        backend.undelete(&key).await.unwrap();
        let tags = backend.describe(&key).await.unwrap().metadata.tags;
        assert_eq!(tags.get("put").unwrap(), "second");
        let set: Vec<_> = (0..7).map(|number| format!("tag-{number}")).collect();
        assert!(set.iter().all(|name| tags.get(name).is_some_and(|text| text == "set")));
        assert_eq!(tags.len(), 8, "{tags:?}");
        assert_eq!(read(backend, &key).await.unwrap(), "second");
    }
}

#[tokio::test]
async fn a_put_that_races_with_a_delete_leaves_no_older_version_readable() {
    const ROUNDS: usize = 60;
    let account = Account::new("meeting").await;
    let (writer, deleter) = (open(account.config()).await, open(account.config()).await);
    let (mut deleted, mut live) = (0, 0);
    for round in 0..ROUNDS {
        let key = path(&format!("meeting/{round}"));
        for rest in ["first", "second"] {
            put(&writer, &key, rest).await.unwrap();
        }
        writer.delete(&key).await.unwrap();
        let data = format!("secret/data/{key}");
        let delete = async {
            // Wait until the put has made it live again, and then for another time in each round.
            while account.server.call("GET", &data, None).await.0 != 200 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(100 * (round as u64 % 20))).await;
            deleter.delete(&key).await
        };
        let (written, result) = tokio::join!(put(&writer, &key, "third"), delete);
        written.unwrap();
        result.unwrap();
        match read(&writer, &key).await {
            Ok(_) => live += 1,
            Err(error) => {
                check(&error);
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                deleted += 1;
                for number in 1..=3 {
                    assert_not_found(version(&writer, &key, number).await);
                }
            }
        }
    }
    assert_eq!((live, deleted), (0, ROUNDS), "every delete came after the write");
}

#[tokio::test]
async fn concurrent_puts_and_deletes_leave_a_deleted_secret_deleted_in_all_versions() {
    let account = Account::new("crowd").await;
    let backends = join_all((0..4).map(|_| open(account.config()))).await;
    for round in 0..15 {
        let key = path(&format!("crowd/{round}"));
        put(&backends[0], &key, "first").await.unwrap();
        backends[0].delete(&key).await.unwrap();
        let pairs = backends.iter().map(|backend| async {
            put(backend, &key, "more").await?;
            backend.delete(&key).await
        });
        for result in join_all(pairs).await {
            if let Err(error) = result {
                check(&error);
            }
        }
        if read(&backends[0], &key).await.is_err() {
            for number in 1..=5 {
                assert_not_found(version(&backends[0], &key, number).await);
            }
        }
    }
}
