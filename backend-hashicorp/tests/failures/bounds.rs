//! Answers of any size, and questions that are not asked twice.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, Operation, PutOptions, SecretValue, VersionSelector,
};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::{ApproleOptions, Server};
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{
    Account, config, config_for, expect_error, expect_permanent, open, path, read, root, shared,
};

const MIB: usize = 1024 * 1024;

async fn backend_at(stub: &Stub) -> HashicorpBackend {
    let mut config = config_for(&stub.url(), Auth::Token(CANARY.into()));
    // Sizes must end the answers, and not a timeout of a busy machine.
    config.timeout = Duration::from_secs(300);
    open(config).await
}

/// A server that answers requests for the mount and the token, and this to all others.
fn stub(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::new(move |request| match request.target.as_str() {
        "/v1/auth/token/lookup-self" => Reply::json(200, &json!({ "data": { "ttl": 0 } })),
        "/v1/sys/internal/ui/mounts/secret" => Reply::json(
            200,
            &json!({ "data": {
            "path": "secret/", "type": "kv", "options": { "version": "2" },
        } }),
        ),
        _ => reply(request),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_any_size_is_told_by_its_status() {
    for (status, kind) in [(503, ErrorKind::Unavailable), (429, ErrorKind::RateLimited)] {
        let stub = stub(move |_| {
            let mut body = br#"{"errors":["Vault is sealed"#.to_vec();
            body.resize(20 * MIB, b'x');
            Reply::new(status, body)
        });
        let result = read(&backend_at(&stub).await, &path("key")).await;
        expect_error(Operation::Get, kind, result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_hold_no_value_are_small() {
    let stub = Stub::new(|_| Reply::new(200, vec![b' '; 20 * MIB]));
    let result = read(&backend_at(&stub).await, &path("key")).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("over 1 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_at_most_16_mib_of_names() {
    let too_long = stub(|_| Reply::new(200, vec![b' '; 17 * MIB]));
    let backend = backend_at(&too_long).await;
    let result = backend.list(None, &ListOptions::default()).await;
    let error = expect_permanent(Operation::List, ErrorKind::Unavailable, result);
    assert!(error.to_string().contains("over 16 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folders_of_one_page_have_at_most_64_mib_of_names_together() {
    let stub = stub(|_| {
        // Each folder holds another one, and names that are no paths.
        let mut names = vec![json!("a/")];
        names.resize(400_000, json!("not a path, but rather long"));
        Reply::json(200, &json!({ "data": { "keys": names } }))
    });
    let backend = backend_at(&stub).await;
    let result = backend.list(None, &ListOptions::default()).await;
    let error = expect_permanent(Operation::List, ErrorKind::InvalidInput, result);
    assert!(error.to_string().contains("over 64 MiB of names"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_a_hundred_thousand_names() {
    let names: Vec<_> = (0..100_000).map(|number| format!("secret-{number:06}")).collect();
    let body = json!({ "data": { "keys": names } });
    let stub = stub(move |_| Reply::json(200, &body));
    let backend = backend_at(&stub).await;
    let mut options = ListOptions::default();
    options.include_deleted = true;
    // The first pages and one far behind: Vault sends all names each time.
    for start in [None, Some("secret-000099"), Some("secret-099899")] {
        options.page = start.map(strongroom_core::PageToken::new);
        let page = backend.list(None, &options).await.unwrap();
        assert_eq!(page.paths.len(), 100);
        let expected = start.map_or(0, |name| name[7..].parse::<u32>().unwrap() + 1);
        assert_eq!(page.paths[0].as_str(), format!("secret-{expected:06}"));
        assert_eq!(page.next.is_none(), expected == 99_900);
    }
}

#[tokio::test]
async fn a_large_value_is_parsed_beside_the_other_tasks() {
    let server = Server::dev().await;
    let backend = open(config(&server, root(&server))).await;
    let value = SecretValue::from("<&>".repeat(MIB));
    let ticks = tokio::spawn(async {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    let begin = Instant::now();
    backend.put(&path("large"), value.clone(), PutOptions::default()).await.unwrap();
    let read = backend.get(&path("large"), &VersionSelector::Active).await.unwrap();
    let taken = begin.elapsed();
    assert!(read.value().expose_bytes() == value.expose_bytes());
    let longest = ticks.await.unwrap();
    strongroom_testkit::report(format!(
        "3 MiB in {taken:?}; another task waited {longest:?} at most"
    ));
}

#[tokio::test]
async fn a_refused_question_about_the_mount_is_not_asked_before_each_read() {
    let (server, audit) = shared().await;
    let name = "no-mount-info";
    // No capability below `secret/` but on a `+` path, to which the server's check of the mount is blind.
    server
        .write_policy(
            name,
            r#"path "sys/internal/ui/mounts/*" { capabilities = ["deny"] }
        path "secret/data/no-mount-info" { capabilities = ["read"] }"#,
        )
        .await;
    let options = ApproleOptions { policies: &["default", name], ..ApproleOptions::default() };
    let account = Account::with(name, options).await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    for _ in 0..5 {
        assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    }
    let asked = audit.entries().into_iter().filter(|entry| {
        entry["type"] == "response"
            && entry["request"]["path"] == "sys/internal/ui/mounts/secret"
            && entry["auth"]["policies"]
                .as_array()
                .is_some_and(|list| list.iter().any(|policy| policy == name))
    });
    assert_eq!(asked.count(), 1);
}
