//! Unusual values, metadata, paths and versions, and large folders.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, SecretId};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, SecretPath,
    SecretValue, ValueFormat, Version, VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::{ApproleOptions, Credentials, Server};

use crate::support::{Account, config, expect_permanent, open, path, put, read, root, write};

/// Writes numbered secrets as root.
async fn fill(server: &Server, folder: &str, count: usize) -> BTreeSet<SecretPath> {
    let names = (0..count).map(|number| format!("{folder}/{number:04}"));
    stream::iter(names)
        .map(|name| async move {
            write(server, "secret", &name, "kept").await;
            path(&name)
        })
        .buffer_unordered(16)
        .collect()
        .await
}

/// Lists all pages: the paths, which must be distinct, and the number of pages.
async fn list_all(
    backend: &HashicorpBackend,
    folder: &SecretPath,
    mut options: ListOptions,
) -> (BTreeSet<SecretPath>, usize) {
    let (mut paths, mut pages) = (BTreeSet::new(), 0);
    loop {
        let page = backend.list(Some(folder), &options).await.unwrap();
        pages += 1;
        for path in page.paths {
            assert!(paths.insert(path), "a path is listed twice");
        }
        match page.next {
            Some(next) => options = options.page(Some(next)),
            None => return (paths, pages),
        }
    }
}

/// On a separate server: that many requests would fill the shared audit log.
#[tokio::test]
async fn lists_every_secret_of_a_large_folder() {
    let server = Server::dev().await;
    let (backend, folder) = (open(config(&server, root(&server))).await, path("large"));
    let names = fill(&server, "large", 1_205).await;
    let (paths, pages) = list_all(&backend, &folder, ListOptions::new().include_deleted()).await;
    assert_eq!((paths, pages), (names.clone(), 13));
    let (paths, pages) = list_all(&backend, &folder, ListOptions::new()).await;
    assert_eq!((paths, pages), (names, 13));
}

#[tokio::test]
async fn lists_visible_names_among_names_that_a_policy_hides() {
    let rules = r#"
        path "secret/metadata/hiding/" {
            capabilities = ["list"]
            list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}"
        }
        path "secret/metadata/hiding/visible" { capabilities = ["read"] }"#;
    let server = Server::dev().await;
    server.write_policy("hiding", rules).await;
    server.enable_approle("approle").await;
    let options = ApproleOptions { policies: &["default", "hiding"], ..Default::default() };
    let Credentials { role_id, secret_id } = server.approle(&options).await;
    let login = AppRole::new(role_id, SecretId::Text(secret_id.into()));
    let (backend, folder) = (open(config(&server, login)).await, path("hiding"));
    fill(&server, "hiding", 1_100).await;
    write(&server, "secret", "hiding/visible", "kept").await;
    for options in [ListOptions::new(), ListOptions::new().include_deleted()] {
        let (paths, _) = list_all(&backend, &folder, options).await;
        assert_eq!(paths, BTreeSet::from([path("hiding/visible")]));
    }
}

#[tokio::test]
async fn values_keep_their_format() {
    let account = Account::new("forms").await;
    let (backend, key) = (open(account.config()).await, account.path());
    let fields =
        |json: String| SecretValue::from_stored(ValueFormat::Fields, json.into_bytes()).unwrap();
    for value in [
        fields(format!(r#"{{"value":"{CANARY}1","value":"{CANARY}2"}}"#)),
        fields(format!(r#"{{"value":{{"a":"b"}},"value":"{CANARY}"}}"#)),
        fields(format!(
            r#"{{"value":"{CANARY}","strongroom_format":"x","strongroom_format":"json"}}"#
        )),
        fields(format!(r#"{{"a":"{CANARY}1","b":"","a":"{CANARY}2"}}"#)),
        SecretValue::fields([("user", "app"), ("password", CANARY)]),
        SecretValue::fields([("value", CANARY)]),
        canary::text("ž 鍵"),
        SecretValue::from(String::new()),
        SecretValue::binary([CANARY.as_bytes(), b"\0\xff"].concat()),
        SecretValue::binary(Vec::new()),
    ] {
        backend.put(&key, value.clone(), PutOptions::new()).await.unwrap();
        let stored = backend.get(&key, &VersionSelector::Active).await.unwrap();
        let (version, stored) = (stored.version().clone(), stored.value().clone());
        assert_eq!(stored.format(), value.format(), "version {version:?}");
        let same = if value.format() == ValueFormat::Fields && value.field("value").is_err() {
            // Servers may put members in another order.
            value.field_names().unwrap().iter().all(|name| {
                let (one, other) = (value.field(name).unwrap(), stored.field(name).unwrap());
                one.constant_time_eq(&other)
            })
        } else {
            stored.constant_time_eq(&value)
        };
        assert!(same, "version {version:?} is another value");
    }
}

#[tokio::test]
async fn ignores_tags_that_read_like_errors_of_the_server() {
    let account = Account::new("tags").await;
    let backend = open(account.config()).await;
    for (number, note) in
        ["no handler for route", "Invalid path for a versioned", "namespace not found"]
            .into_iter()
            .enumerate()
    {
        let key = path(&format!("tags/{number}"));
        let options = PutOptions::new().metadata(MetadataPatch::new().tag("note", note));
        backend.put(&key, canary::text("kept"), options).await.unwrap();
        backend.delete(&key).await.unwrap();
        for _ in 0..2 {
            expect_permanent(Operation::Get, ErrorKind::NotFound, read(&backend, &key).await);
        }
        let first = VersionSelector::Exact(1.into());
        expect_permanent(Operation::Get, ErrorKind::NotFound, backend.get(&key, &first).await);
        backend.undelete(&key).await.unwrap();
        assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    }
}

#[tokio::test]
async fn a_version_number_beyond_the_servers_range_does_not_exist() {
    let account = Account::new("numbers").await;
    let (backend, key) = (open(account.config()).await, account.path());
    put(&backend, &key, "kept").await.unwrap();
    for number in [u64::MAX, i64::MAX.unsigned_abs() + 1, i64::MAX.unsigned_abs()] {
        let version = Version::from(number);
        let exactly = VersionSelector::Exact(version.clone());
        expect_permanent(Operation::Get, ErrorKind::NotFound, backend.get(&key, &exactly).await);
        let options = PutOptions::new().must_be_version(&version);
        let result = backend.put(&key, canary::text("new"), options).await;
        expect_permanent(Operation::Put, ErrorKind::Conflict, result);
        let result = backend.rollback(&key, &version).await;
        expect_permanent(Operation::Rollback, ErrorKind::NotFound, result);
    }
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    assert_eq!(backend.versions(&key).await.unwrap().len(), 1);
}

#[tokio::test]
async fn accepts_scripts_with_combining_marks() {
    let account = Account::new("scripts").await;
    let (backend, key) = (open(account.config()).await, account.path());
    let (hindi, thai, hebrew) = ("हिन्दी में विवरण", "คำอธิบายที่นี่", "שָׁלוֹם עוֹלָם");
    let patch = MetadataPatch::new().description(hindi).tag("thai", thai).tag("hebrew", hebrew);
    let options = PutOptions::new().metadata(patch);
    backend.put(&key, canary::text("kept"), options).await.unwrap();
    let kept = backend.describe(&key).await.unwrap().metadata;
    assert_eq!(kept.description.as_deref(), Some(hindi));
    assert_eq!(kept.tags["thai"], thai);
    assert_eq!(kept.tags["hebrew"], hebrew);
    for text in [thai, hebrew] {
        backend.annotate(&key, &MetadataPatch::new().description(text)).await.unwrap();
        let kept = backend.get(&key, &VersionSelector::Active).await.unwrap();
        assert_eq!(kept.metadata().description.as_deref(), Some(text));
    }
}
