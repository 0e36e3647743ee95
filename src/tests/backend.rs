//! A manager as a backend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Error, ErrorKind, Health, ListOptions,
    MemoryBackend, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath, Version,
    VersionSelector, async_trait,
};
use tokio::time::{Instant, advance, sleep};

use super::store::{Mood, Store, TTL, kind, ms, path, secs, text};
use crate::{ReadPolicy, SecretsManager};

/// Reads the active version through the `Backend` implementation.
async fn read(secrets: &SecretsManager, at: &str) -> Result<Secret> {
    Backend::get(secrets, &path(at), &VersionSelector::Active).await
}

async fn read_many(secrets: &SecretsManager, paths: &[&str]) -> Vec<Result<Secret>> {
    let paths: Vec<_> = paths.iter().map(|at| path(at)).collect();
    Backend::get_many(secrets, &paths).await
}

#[tokio::test(start_paused = true)]
async fn asks_the_store_even_if_the_cache_has_a_copy() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(text(secrets.get("a").await), "1");
    store.set("a", "2").await;
    assert_eq!(text(secrets.get("a").await), "1", "from the cache");
    for reads in 2..5 {
        assert_eq!(text(read(&secrets, "a").await), "2");
        assert_eq!(store.calls("a"), reads);
    }
    store.set("a", "3").await;
    assert_eq!(text(read_many(&secrets, &["a"]).await.remove(0)), "3");
    let version = VersionSelector::Exact(Version::from(1));
    for _ in 0..2 {
        assert_eq!(text(Backend::get(&secrets, &path("a"), &version).await), "1");
    }
    assert_eq!(store.calls("a"), 7);
}

#[tokio::test(start_paused = true)]
async fn updates_the_cache_and_the_handles_with_each_read() {
    let (store, secrets) = Store::with_a().await;
    let mut handle = secrets.watch("a").await.unwrap();
    store.set("a", "2").await;
    let start = Instant::now();
    assert_eq!(text(read(&secrets, "a").await), "2");
    let calls = store.calls("a");
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
    assert_eq!((store.calls("a"), start.elapsed()), (calls, ms(0)));
}

#[tokio::test(start_paused = true)]
async fn updates_the_cache_and_the_handles_with_each_write() {
    let (_store, secrets) = Store::with_a().await;
    let backend: &dyn Backend = &secrets;
    let (a, start) = (path("a"), Instant::now());
    let mut handle = secrets.watch("a").await.unwrap();
    backend.put(&a, "2".into(), PutOptions::new()).await.unwrap();
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
    backend.rollback(&a, &Version::from(1)).await.unwrap();
    assert_eq!(text(secrets.get("a").await), "1");
    assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "1");
    backend.annotate(&a, &MetadataPatch::new().tag("team", "ai")).await.unwrap();
    assert!(secrets.get("a").await.unwrap().metadata().tags.contains_key("team"));
    backend.delete(&a).await.unwrap();
    assert_eq!(kind(secrets.get("a").await), ErrorKind::NotFound);
    backend.undelete(&a).await.unwrap();
    assert_eq!(text(secrets.get("a").await), "1");
    backend.destroy(&a).await.unwrap();
    assert_eq!(kind(secrets.get("a").await), ErrorKind::NotFound);
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn waiting_reads_share_the_next_request() {
    let (store, secrets) = Store::with_a().await;
    store.take(ms(20));
    let start = Instant::now();
    for result in join_all((0..100).map(|_| read(&secrets, "a"))).await {
        assert_eq!(text(result), "1");
    }
    assert_eq!((store.calls("a"), start.elapsed()), (2, ms(40)), "99 reads share the second one");
}

#[tokio::test(start_paused = true)]
async fn gives_no_declared_default() {
    let (_store, secrets) = Store::with_a().await;
    let defaults = BTreeMap::from([(path("a/b"), "default".into())]);
    secrets.shared.defaults.set(defaults).unwrap();
    assert_eq!(text(secrets.get("a/b").await), "default");
    assert_eq!(kind(read(&secrets, "a/b").await), ErrorKind::NotFound);
    assert_eq!(kind(read_many(&secrets, &["a/b"]).await.remove(0)), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn fails_in_an_outage_and_gives_no_stale_copy() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    for stale in [false, true] {
        assert_eq!(secrets.get("a").await.unwrap().is_stale(), stale);
        assert_eq!(kind(read(&secrets, "a").await), ErrorKind::Unavailable);
        assert_eq!(kind(read_many(&secrets, &["a"]).await.remove(0)), ErrorKind::Unavailable);
        advance(TTL).await;
    }
    store.feel(Mood::Silent);
    let start = Instant::now();
    assert_eq!(kind(read(&secrets, "a").await), ErrorKind::Timeout);
    assert_eq!(start.elapsed(), secs(30), "a read has the whole deadline");
    assert!(secrets.get("a").await.unwrap().is_stale());
}

#[tokio::test(start_paused = true)]
async fn paths_are_relative_to_the_namespace() {
    let store = Arc::new(MemoryBackend::new());
    let secrets = SecretsManager::with_backend(Arc::clone(&store));
    let production = secrets.namespace("production").unwrap();
    let backend: &dyn Backend = &production;
    let (main, full) = (path("db/main"), path("production/db/main"));
    backend.put(&main, "1".into(), PutOptions::new()).await.unwrap();
    secrets.put("staging/db/main", "other").await.unwrap();
    assert_eq!(text(secrets.get("production/db/main").await), "1");
    let secret = backend.get(&main, &VersionSelector::Active).await.unwrap();
    assert_eq!((secret.path(), secret.expose_text().unwrap()), (&full, "1"));
    let many = backend.get_many(&[main.clone(), path("missing")]).await;
    assert_eq!(many.first().unwrap().as_ref().unwrap().path(), &full);
    let error = many.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.path().unwrap().as_str(), "production/missing");
    assert_eq!(backend.locate(&main), store.locate(&full));

    for (prefix, expected) in [(None, &[main.clone()][..]), (Some("db"), &[main]), (Some("a"), &[])]
    {
        let prefix = prefix.map(path);
        let page = backend.list(prefix.as_ref(), &ListOptions::new()).await.unwrap();
        assert_eq!(page.paths, expected, "{prefix:?}");
        assert!(page.next.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn lists_page_after_page() {
    let secrets = SecretsManager::with_backend(MemoryBackend::new());
    let production = secrets.namespace("production").unwrap();
    let mut expected: Vec<_> = (0..300).map(|number| path(&format!("key/{number:03}"))).collect();
    for path in &expected {
        production.put(path, "1").await.unwrap();
    }
    let (mut listed, mut options, mut pages) = (Vec::new(), ListOptions::new(), 0);
    loop {
        let page = Backend::list(&production, None, &options).await.unwrap();
        listed.extend(page.paths);
        pages += 1;
        if page.next.is_none() {
            break;
        }
        options = options.page(page.next);
    }
    expected.sort();
    assert_eq!(listed, expected);
    assert!(pages > 1);
}

#[tokio::test(start_paused = true)]
async fn get_many_keeps_the_order_and_names_the_errors() {
    let (store, secrets) = Store::with_a().await;
    store.set("b", "2").await;
    secrets.get("a").await.unwrap();
    store.set("a", "3").await;
    let results = read_many(&secrets, &["b", "none", "a", "b"]).await;
    let error = results.get(1).unwrap().as_ref().unwrap_err().clone();
    let shown = results.into_iter().map(|read| read.map_or("-".into(), |it| text(Ok(it))));
    assert_eq!(shown.collect::<Vec<_>>(), ["2", "-", "3", "2"]);
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotFound, Some(Operation::Get)));
    assert_eq!(error.path(), Some(&path("none")));
    assert_eq!(error.backend(), Some(secrets.backend().kind));

    let batches = store.batches.load(Ordering::SeqCst);
    assert!(read_many(&secrets, &[]).await.is_empty());
    assert_eq!(store.batches.load(Ordering::SeqCst), batches, "an empty batch asks nothing");
}

#[tokio::test(start_paused = true)]
async fn get_many_retries_temporary_failures_only() {
    let store = Store::new();
    for name in ["a", "b"] {
        store.set(name, name).await;
    }
    let secrets = store.manager(ReadPolicy::new());
    store.fail(ErrorKind::Unavailable);
    let many = tokio::spawn({
        let secrets = secrets.clone();
        async move { read_many(&secrets, &["a", "b"]).await }
    });
    sleep(ms(50)).await;
    store.feel(Mood::Well);
    assert_eq!(many.await.unwrap().into_iter().map(text).collect::<String>(), "ab");
    assert_eq!(store.batches.load(Ordering::SeqCst), 2);

    store.fail_alone("b", ErrorKind::Denied);
    let mut results = read_many(&secrets, &["a", "b"]).await.into_iter();
    assert_eq!(text(results.next().unwrap()), "a");
    assert_eq!(kind(results.next().unwrap()), ErrorKind::Denied);
    assert_eq!(store.batches.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_closed_manager_fails_without_asking_its_store() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    let backend: &dyn Backend = &secrets;
    backend.close().await.unwrap();
    let (a, version, patch) = (path("a"), Version::from(1), MetadataPatch::new());
    let errors: [Error; 12] = [
        backend.get(&a, &VersionSelector::Active).await.map(drop).unwrap_err(),
        backend.get_many(std::slice::from_ref(&a)).await.remove(0).map(drop).unwrap_err(),
        backend.health().await.map(drop).unwrap_err(),
        backend.put(&a, "2".into(), PutOptions::new()).await.map(drop).unwrap_err(),
        backend.delete(&a).await.unwrap_err(),
        backend.undelete(&a).await.unwrap_err(),
        backend.destroy(&a).await.unwrap_err(),
        backend.list(None, &ListOptions::new()).await.map(drop).unwrap_err(),
        backend.versions(&a).await.map(drop).unwrap_err(),
        backend.rollback(&a, &version).await.map(drop).unwrap_err(),
        backend.annotate(&a, &patch).await.unwrap_err(),
        backend.rotate(&a).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    assert_eq!(backend.describe(&a).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!((store.all_calls(), store.batches.load(Ordering::SeqCst)), (1, 0));
    backend.close().await.unwrap();
}

/// A store without versions and stages, which fails a test that asks it.
#[derive(Debug)]
struct Plain(BackendInfo);

#[async_trait]
impl Backend for Plain {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        panic!("the manager asked for {version:?} of {path}");
    }

    async fn health(&self) -> Result<Health> {
        panic!("the manager asked for the health");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_or_stage_that_the_store_cannot_select_is_unsupported() {
    let exact = VersionSelector::Exact(Version::from(1));
    let stage = VersionSelector::Stage("AWSPREVIOUS".into());
    let with_versions = Capabilities::none().with(Capability::Versions);
    for (capabilities, selectors) in
        [(Capabilities::none(), &[exact, stage.clone()][..]), (with_versions, &[stage])]
    {
        let info = BackendInfo::new("plain", "a test", capabilities);
        let secrets = SecretsManager::with_backend(Plain(info));
        for selector in selectors {
            let error = Backend::get(&secrets, &path("a"), selector).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{selector:?}");
            assert_eq!(error.path(), Some(&path("a")));
        }
    }
}
