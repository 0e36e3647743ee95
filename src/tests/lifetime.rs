//! How long what was read is kept.

use std::time::Duration;

use strongroom_core::{Backend as _, ErrorKind, MetadataPatch};
use tokio::time::{advance, sleep};

use super::store::{Mood, Store, TTL, kind, ms, path, secs, text};
use crate::{ReadOptions, ReadPolicy, clock};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn keeps_a_secret_for_its_ttl() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(text(secrets.get("a").await), "1");
    store.set("a", "2").await;
    advance(TTL.saturating_sub(ms(1))).await;
    let kept = secrets.get("a").await.unwrap();
    assert_eq!(kept.expose_text().unwrap(), "1");
    assert!(!kept.is_stale());
    assert_eq!(clock::instant().duration_since(kept.read_at()), TTL.saturating_sub(ms(1)));
    advance(ms(1)).await;
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_machine_was_suspended_counts() {
    let (store, secrets) = Store::with_a().await;
    assert_eq!(text(secrets.get("a").await), "1");
    store.set("a", "2").await;
    clock::suspend(TTL.saturating_sub(ms(1)));
    assert_eq!(text(secrets.get("a").await), "1");
    clock::suspend(ms(1));
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn the_age_counts_from_before_the_store_was_asked() {
    let (store, secrets) = Store::with_a().await;
    store.take(secs(20));
    assert_eq!(text(secrets.get("a").await), "1");
    store.take(ms(0));
    store.set("a", "2").await;
    advance(TTL.saturating_sub(secs(20))).await;
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn asks_a_store_without_a_ttl_each_time() {
    let store = Store::new();
    store.set("a", "1").await;
    let secrets = store.manager(ReadPolicy::new().cache_ttl(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(text(secrets.get("a").await), "1");
        assert_eq!(text(secrets.get_many(["a"]).await.remove(0)), "1");
    }
    assert_eq!(store.calls("a"), 6);
}

#[tokio::test(start_paused = true)]
async fn keeps_no_secret_beyond_its_expiry() {
    let (store, secrets) = Store::with_a().await;
    let expiry = clock::wall() + secs(10);
    let patch = MetadataPatch::new().expires_at(expiry);
    store.inner.annotate(&path("a"), &patch).await.unwrap();
    assert_eq!(text(secrets.get("a").await), "1");
    // Not even while the store is unavailable.
    store.fail(ErrorKind::Unavailable);
    advance(ms(9_998)).await;
    assert_eq!(text(secrets.get("a").await), "1");
    advance(ms(4)).await;
    assert_eq!(kind(secrets.get("a").await), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn keeps_no_secret_beyond_its_lease() {
    let (store, secrets) = Store::with_a().await;
    store.lease_for(secs(10));
    assert_eq!(secrets.get("a").await.unwrap().lease(), Some(secs(10)));
    store.set("a", "2").await;
    advance(ms(9_999)).await;
    assert_eq!(text(secrets.get("a").await), "1");
    advance(ms(1)).await;
    assert_eq!(text(secrets.get("a").await), "2");
    store.fail(ErrorKind::Unavailable);
    advance(secs(10)).await;
    assert_eq!(kind(secrets.get("a").await), ErrorKind::Unavailable);
    // A password that is just being replaced is not kept at all.
    store.feel(Mood::Well);
    store.lease_for(Duration::ZERO);
    let before = store.calls("a");
    for _ in 0..2 {
        assert_eq!(text(secrets.get("a").await), "2");
    }
    assert_eq!(store.calls("a"), before + 2);
}

#[tokio::test(start_paused = true)]
async fn warns_ahead_of_the_expiry_of_a_cached_secret() {
    let (store, secrets) = Store::with_a().await;
    let patch = MetadataPatch::new().expires_at(clock::wall() + 7 * DAY + secs(10));
    store.inner.annotate(&path("a"), &patch).await.unwrap();
    assert_eq!(text(secrets.get("a").await), "1");
    advance(secs(11)).await;
    assert_eq!(text(secrets.get("a").await), "1");
    assert_eq!(store.calls("a"), 2, "it was read again when the warning was due");
}

#[tokio::test(start_paused = true)]
async fn respects_the_maximum_age() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.set("a", "2").await;
    advance(secs(10)).await;
    let within = |age| secrets.get_with("a", ReadOptions::new().max_age(age));
    assert_eq!(text(within(secs(11)).await), "1");
    assert_eq!(text(within(secs(10)).await), "2");
    store.set("a", "3").await;
    assert_eq!(text(within(Duration::ZERO).await), "3");
    assert_eq!(text(secrets.get("a").await), "3");
}

#[tokio::test(start_paused = true)]
async fn accepts_the_longest_durations() {
    let store = Store::new();
    store.set("a", "1").await;
    let policy = ReadPolicy::new()
        .cache_ttl(Duration::MAX)
        .stale_if_error(Duration::MAX)
        .negative_ttl(Duration::MAX)
        .stale_fallback_timeout(Duration::MAX)
        .timeout(Duration::MAX)
        .watch_interval(Duration::MAX);
    let secrets = store.manager(policy);
    let mut handle = secrets.watch("a").await.unwrap();
    let never = ReadOptions::new().timeout(Duration::MAX).max_age(Duration::MAX);
    sleep(3 * DAY).await;
    assert_eq!(text(secrets.get_with("a", never).await), "1");
    assert_eq!(kind(secrets.get("none").await), ErrorKind::NotFound);
    store.fail(ErrorKind::Unavailable);
    assert_eq!(kind(secrets.get("b").await), ErrorKind::Unavailable);
    assert_eq!(store.calls("b"), 4, "it was tried again");
    store.feel(Mood::Well);
    secrets.put("a", "2").await.unwrap();
    assert_eq!(handle.changed().await.unwrap().expose_text().unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn remembers_a_missing_secret_for_the_negative_ttl() {
    let (store, secrets) = Store::with_a().await;
    for _ in 0..3 {
        let error = secrets.get("b").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.path().unwrap().as_str(), "b");
        assert!(!secrets.exists("b").await.unwrap());
        assert_eq!(text(secrets.get("a").await), "1");
    }
    assert_eq!(store.calls("b"), 1);
    store.set("b", "there").await;
    advance(ms(4_999)).await;
    assert_eq!(kind(secrets.get("b").await), ErrorKind::NotFound);
    advance(ms(1)).await;
    assert_eq!(text(secrets.get("b").await), "there");

    assert_eq!(kind(secrets.get("c").await), ErrorKind::NotFound);
    secrets.put("c", "written here").await.unwrap();
    assert_eq!(text(secrets.get("c").await), "written here");

    let forgetful = store.manager(ReadPolicy::new().negative_ttl(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(kind(forgetful.get("d").await), ErrorKind::NotFound);
    }
    assert_eq!(store.calls("d"), 3);
}

#[tokio::test(start_paused = true)]
async fn caches_versions_separately() {
    let (store, secrets) = Store::with_a().await;
    store.set("a", "2").await;
    for _ in 0..2 {
        assert_eq!(text(secrets.get("a").await), "2");
        assert_eq!(text(secrets.get_version("a", 1).await), "1");
        assert_eq!(kind(secrets.get_version("a", 9).await), ErrorKind::NotFound);
        assert_eq!(kind(secrets.get_stage("a", "AWSPREVIOUS").await), ErrorKind::Unsupported);
    }
    assert_eq!(store.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_shares_the_cache() {
    let (store, secrets) = Store::with_a().await;
    store.set("production/openai/key", "sk").await;
    let openai = secrets.namespace("production").unwrap().namespace("openai").unwrap();
    assert_eq!(text(openai.get("key").await), "sk");
    assert_eq!(text(secrets.get("production/openai/key").await), "sk");
    assert_eq!(text(openai.get("key").await), "sk");
    assert_eq!(store.calls("production/openai/key"), 1);
    for no_path in ["", "/key", "key/", "../openai/key"] {
        assert_eq!(kind(openai.get(no_path).await), ErrorKind::InvalidInput, "{no_path}");
    }
    let long = "x".repeat(600);
    assert_eq!(kind(openai.get(&long).await), ErrorKind::InvalidInput);
}

#[cfg(feature = "env")]
#[tokio::test(start_paused = true)]
async fn gives_the_default_while_the_cache_remembers_a_missing_secret() {
    let config = crate::Config::new()
        .set("SECRETS_CACHE_TTL", "1m")
        .declare(crate::Declared::optional("strongroom/test/absent").default_value("gpt-5"));
    let secrets = crate::SecretsManager::from_config(config).await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(secrets.get("strongroom/test/absent").await), "gpt-5");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_an_invalidated_secret_again() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.set("a", "2").await;
    secrets.invalidate("a").unwrap();
    assert_eq!(text(secrets.get("a").await), "2");
    assert_eq!(secrets.invalidate("/").unwrap_err().kind(), ErrorKind::InvalidInput);
    sleep(ms(1)).await;
    secrets.close().await.unwrap();
    assert_eq!(secrets.invalidate("a").unwrap_err().kind(), ErrorKind::Closed);
}
