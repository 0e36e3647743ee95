//! The requests that operations send, and what the client makes of answers that no server of this version gives.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_remote::{BearerToken, RemoteBackend, RemoteConfig};
use strongroom_core::{
    Backend as _, Error, ErrorKind, ListOptions, Metadata, MetadataPatch, Operation, PutOptions,
    Result, Secret, SecretPath, SecretValue, VersionSelector,
};
use strongroom_testkit::errors::{expect_error, expect_permanent, expect_transient};
use strongroom_testkit::stub::{Reply, Request};
use strongroom_wire::{BatchRequest, MAX_BATCH, MAX_BODY, encode_batch};

use crate::support::{on_secrets, open, path, problem, read, replying, secret, server};

async fn put(backend: &RemoteBackend, options: PutOptions) -> Result<strongroom_core::Version> {
    backend.put(&path("a"), "new".into(), options).await
}

#[tokio::test]
async fn requests_say_who_asks_and_for_which_tenant() {
    let stub = server("kept");
    let mut config = RemoteConfig::new(stub.url(), BearerToken::Text("the-token".into()));
    config.tenant = Some("acme".into());
    let backend = RemoteBackend::open(config).await.unwrap();
    assert_eq!(read(&backend, "team/key").await.unwrap(), "kept");
    put(&backend, PutOptions::new().must_be_version(7)).await.unwrap();
    put(&backend, PutOptions::new().must_not_exist()).await.unwrap();
    backend.delete(&path("a")).await.unwrap();
    backend.undelete(&path("a")).await.unwrap();
    backend.destroy(&path("a")).await.unwrap();
    backend.annotate(&path("a"), &MetadataPatch::new().tag("team", "b")).await.unwrap();
    assert_eq!(backend.rollback(&path("a"), &1.into()).await.unwrap(), 3.into());
    backend.health().await.unwrap();
    let requests = stub.requests();
    let lines: Vec<_> = requests.iter().map(|request| format!("{request:?}")).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/store",
            "GET /v1/secrets/team/key",
            "PUT /v1/secrets/a",
            "PUT /v1/secrets/a",
            "DELETE /v1/secrets/a",
            "POST /v1/undelete/a",
            "POST /v1/destroy/a",
            "PATCH /v1/metadata/a",
            "POST /v1/rollback/a?version=1",
            "GET /v1/store/health",
        ]
    );
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer the-token"), "{request:?}");
        assert_eq!(request.header("strongroom-tenant"), Some("acme"), "{request:?}");
    }
    assert_eq!(requests[2].header("if-match"), Some("\"7\""));
    assert_eq!(requests[3].header("if-none-match"), Some("*"));
    assert_eq!(requests[2].body, br#"{"value":"new"}"#);
    assert_eq!(requests[7].body, br#"{"tags":{"team":"b"}}"#);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = server("other");
    let location = format!("{}/v1/secrets/a", other.url());
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let stub = replying(move |_| Reply::new(status, "").header("Location", &location));
        let backend = open(&[&stub.url()]).await;
        let error =
            expect_permanent(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
        assert!(error.to_string().contains("redirects are not followed"), "{error}");
        let written = put(&backend, PutOptions::new()).await;
        expect_permanent(Operation::Put, ErrorKind::Unavailable, written);
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_an_error() {
    let of_other_path = secret("b", "kept");
    let html = Reply::new(200, "<html>log in</html>").header("Content-Type", "text/html");
    for reply in [
        of_other_path,
        html,
        Reply::new(204, ""),
        Reply::json(200, &json!({})),
        Reply::json(200, &json!({ "path": "a", "value": "kept" })),
        Reply::new(200, [0xff, 0xfe]),
    ] {
        let stub = replying(move |_| reply.clone());
        let backend = open(&[&stub.url()]).await;
        let error =
            expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
        assert!(error.to_string().contains("is not understood"), "{error}");
        let described = backend.describe(&path("a")).await;
        expect_transient(Operation::Describe, ErrorKind::Unavailable, described);
        let written = put(&backend, PutOptions::new()).await;
        let error = expect_transient(Operation::Put, ErrorKind::Unavailable, written);
        assert!(error.advice().starts_with("read the secret to see"), "{error}");
    }
}

#[tokio::test]
async fn the_page_of_a_proxy_says_nothing_about_a_secret() {
    let stub =
        replying(|_| Reply::new(404, "<html>hunter2</html>").header("Content-Type", "text/html"));
    let backend = open(&[&stub.url()]).await;
    let error = expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
    assert!(error.to_string().contains("status 404") && !error.to_string().contains("hunter2"));
    expect_transient(Operation::Delete, ErrorKind::Unavailable, backend.delete(&path("a")).await);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let stub = replying(|_| secret("a", &"x".repeat(MAX_BODY)));
    let backend = open(&[&stub.url()]).await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
    assert!(error.to_string().contains("over 24 MiB"), "{error}");
    let stub = replying(|_| {
        Reply::new(404, vec![b'x'; 100_000]).header("Content-Type", "application/problem+json")
    });
    let backend = open(&[&stub.url()]).await;
    expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
}

#[tokio::test]
async fn the_server_says_how_long_to_wait() {
    let stub = replying(|_| {
        let error = Error::new(ErrorKind::RateLimited, "send fewer requests");
        problem(&error.with_retry_after(Duration::from_millis(1_500)))
    });
    let backend = open(&[&stub.url()]).await;
    let error = expect_error(Operation::Get, ErrorKind::RateLimited, read(&backend, "a").await);
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
    let stub = replying(|_| Reply::new(503, "<html>").header("Retry-After", "7"));
    let backend = open(&[&stub.url()]).await;
    let error = expect_error(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

/// The paths of a batch.
fn batch(request: &Request) -> Vec<SecretPath> {
    let BatchRequest { paths } = serde_json::from_slice(&request.body).unwrap();
    paths
}

/// The answer to a batch, with a secret of this length for each path but one.
fn batch_reply(paths: &[SecretPath], length: usize) -> Reply {
    let value = SecretValue::from("x".repeat(length));
    let entries: Vec<_> = paths
        .iter()
        .map(|path| match path.as_str() {
            "missing" => Err(Error::new(ErrorKind::NotFound, "write it")),
            _ => Ok(Secret::new(path.clone(), 1.into(), Metadata::default(), value.clone())),
        })
        .collect();
    Reply::new(200, encode_batch(paths, &entries).unwrap().as_slice())
}

fn paths(count: usize) -> Vec<SecretPath> {
    (0..count).map(|number| path(&format!("a/{number}"))).collect()
}

#[tokio::test]
async fn many_secrets_are_read_in_batches() {
    let stub = replying(|request| batch_reply(&batch(request), 3));
    let backend = open(&[&stub.url()]).await;
    let mut wanted = paths(MAX_BATCH + 2);
    wanted.push(path("missing"));
    let results = backend.get_many(&wanted).await;
    assert_eq!(results.len(), wanted.len());
    for (path, result) in wanted.iter().zip(&results).take(MAX_BATCH + 2) {
        assert_eq!(result.as_ref().unwrap().path(), path);
    }
    let missing = results.into_iter().last().unwrap();
    let error = expect_permanent(Operation::Get, ErrorKind::NotFound, missing);
    assert_eq!(error.path(), Some(&path("missing")));
    assert_eq!(stub.count(on_secrets), 2);
    assert!(backend.get_many(&[]).await.is_empty());
    assert_eq!(stub.count(on_secrets), 2);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_read_in_halves() {
    // Three of them are too much.
    let stub = replying(|request| batch_reply(&batch(request), MAX_BODY / 3));
    let backend = open(&[&stub.url()]).await;
    let wanted = paths(5);
    let results = backend.get_many(&wanted).await;
    let read: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().path()).collect();
    assert_eq!(read, wanted.iter().collect::<Vec<_>>());
    let sizes: Vec<_> = stub
        .requests()
        .iter()
        .filter(|request| on_secrets(request))
        .map(|r| batch(r).len())
        .collect();
    assert_eq!(sizes, [5, 2, 3, 1, 2]);
}

#[tokio::test]
async fn a_batch_that_ends_early_is_continued() {
    let stub = replying(|request| {
        let wanted = batch(request);
        batch_reply(wanted.get(..2).unwrap_or(&wanted), 3)
    });
    let backend = open(&[&stub.url()]).await;
    let wanted = paths(5);
    let results = backend.get_many(&wanted).await;
    let read: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().path()).collect();
    assert_eq!(read, wanted.iter().collect::<Vec<_>>());
    assert_eq!(stub.count(on_secrets), 3);
}

#[tokio::test]
async fn a_batch_with_other_secrets_is_not_understood() {
    let wanted = paths(3);
    let mut swapped = wanted.clone();
    swapped.swap(0, 1);
    for answered in [swapped, paths(4), Vec::new()] {
        let stub = replying(move |_| batch_reply(&answered, 3));
        let backend = open(&[&stub.url()]).await;
        let results = backend.get_many(&wanted).await;
        assert_eq!(results.len(), 3);
        for (path, result) in wanted.iter().zip(results) {
            let error = expect_transient(Operation::Get, ErrorKind::Unavailable, result);
            assert_eq!(error.path(), Some(path));
        }
    }
}

#[tokio::test]
async fn listings_and_versions_come_from_the_server() {
    let stub = replying(|request| {
        let body: Value = match request.target.as_str() {
            "/v1/secrets?prefix=a" => json!({ "paths": ["a/1", "a/2"], "next": "p 2" }),
            "/v1/secrets?prefix=a&page=p%202" => json!({ "paths": [] }),
            "/v1/versions/a/1" => json!({ "versions": [
                { "version": "2", "active": true, "created_at": "2026-01-02T03:04:05Z" },
                { "version": "1", "active": false },
            ] }),
            _ => return problem(&Error::new(ErrorKind::NotFound, "write it")),
        };
        Reply::json(200, &body)
    });
    let backend = open(&[&stub.url()]).await;
    let below = path("a");
    let first = backend.list(Some(&below), &ListOptions::new()).await.unwrap();
    assert_eq!(first.paths, [path("a/1"), path("a/2")]);
    let rest = backend.list(Some(&below), &ListOptions::new().page(first.next)).await.unwrap();
    assert!(rest.paths.is_empty() && rest.next.is_none());
    let versions = backend.versions(&path("a/1")).await.unwrap();
    assert_eq!(versions.len(), 2);
    assert!(versions[0].active && versions[0].created_at.is_some());
    let stage = VersionSelector::Stage("AWSPREVIOUS".into());
    let missing = backend.get(&path("a/1"), &stage).await;
    expect_permanent(Operation::Get, ErrorKind::NotFound, missing);
}
