//! What is served while the store is unavailable.

use std::time::Duration;

use strongroom_core::{Backend as _, Error, ErrorKind, MetadataPatch};
use tokio::time::{Instant, advance, sleep};

use super::store::{Mood, Store, TTL, kind, ms, path, secs, text};
use crate::{ReadOptions, ReadPolicy, clock};

const WINDOW: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn serves_the_last_value_marked_as_stale_for_a_limited_time() {
    for outage in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::RateLimited] {
        let (store, secrets) = Store::with_a().await;
        secrets.get("a").await.unwrap();
        store.fail(outage);
        advance(TTL).await;
        let start = Instant::now();
        loop {
            let read = secrets.get("a").await;
            let age = TTL + start.elapsed();
            if start.elapsed() >= WINDOW {
                assert_eq!(kind(read), outage, "after {age:?}");
                break;
            }
            let stale = read.unwrap();
            assert!(stale.is_stale(), "after {age:?}");
            assert_eq!(clock::instant().duration_since(stale.read_at()), age);
            assert_eq!(stale.expose_text().unwrap(), "1");
            sleep(secs(1)).await;
        }
        assert!(store.calls("a") < 40, "{} requests in an outage", store.calls("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_stale_reads_immediately() {
    for no in [ErrorKind::Denied, ErrorKind::NotFound, ErrorKind::Expired, ErrorKind::Corrupt] {
        let (store, secrets) = Store::with_a().await;
        secrets.get("a").await.unwrap();
        store.fail(ErrorKind::Unavailable);
        advance(TTL).await;
        assert!(secrets.get("a").await.unwrap().is_stale());
        store.fail(no);
        // The store is asked in the background, which takes at most half a minute.
        for _ in 0..31 {
            sleep(secs(1)).await;
            if secrets.get("a").await.is_err() {
                break;
            }
        }
        sleep(secs(6)).await;
        assert_eq!(kind(secrets.get("a").await), no);
        store.fail(ErrorKind::Unavailable);
        sleep(secs(6)).await;
        assert_eq!(kind(secrets.get("a").await), ErrorKind::Unavailable, "after {no}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_removes_a_fresh_entry() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Denied);
    advance(secs(58)).await;
    // This use has the store asked ahead of time; the next one knows.
    assert_eq!(text(secrets.get("a").await), "1");
    sleep(ms(1)).await;
    assert_eq!(kind(secrets.get("a").await), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn only_one_caller_waits_for_a_silent_store() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.feel(Mood::Silent);
    advance(TTL).await;
    let start = Instant::now();
    assert!(secrets.get("a").await.unwrap().is_stale());
    assert_eq!(start.elapsed(), secs(2));
    for _ in 0..300 {
        let start = Instant::now();
        assert!(secrets.get("a").await.unwrap().is_stale());
        assert_eq!(start.elapsed(), Duration::ZERO);
        sleep(secs(1)).await;
    }
    assert!(store.calls("a") < 14, "{} requests", store.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn no_caller_waits_in_a_known_outage() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.feel(Mood::Silent);
    let start = Instant::now();
    let mut stale = 0;
    while start.elapsed() < 2 * TTL {
        sleep(secs(1)).await;
        let before = Instant::now();
        stale += u32::from(secrets.get("a").await.unwrap().is_stale());
        let waited = before.elapsed();
        assert!(waited <= secs(2), "{waited:?}");
    }
    assert!(stale > 50, "{stale}");
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_slow_store_in_the_background() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.set("a", "2").await;
    store.take(secs(3));
    advance(TTL).await;
    let stale = secrets.get("a").await.unwrap();
    assert!(stale.is_stale());
    assert_eq!(stale.expose_text().unwrap(), "1");
    sleep(secs(3)).await;
    let fresh = secrets.get("a").await.unwrap();
    assert!(!fresh.is_stale());
    assert_eq!((fresh.expose_text().unwrap(), store.calls("a")), ("2", 2));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_fresh_again_after_an_outage_without_waiting() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    advance(TTL).await;
    for _ in 0..300 {
        assert!(secrets.get("a").await.unwrap().is_stale());
        sleep(secs(1)).await;
    }
    store.feel(Mood::Well);
    store.set("a", "2").await;
    let end = Instant::now();
    while secrets.get("a").await.unwrap().is_stale() {
        sleep(ms(100)).await;
    }
    assert!(end.elapsed() <= secs(31), "{:?}", end.elapsed());
    assert_eq!(text(secrets.get("a").await), "2");
}

#[tokio::test(start_paused = true)]
async fn many_timeouts_count_as_one_failure() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    store.take(ms(1_500));
    advance(TTL).await;
    let readers = (0..100).map(|_| secrets.get("a"));
    for read in futures_util::future::join_all(readers).await {
        assert!(read.unwrap().is_stale());
    }
    sleep(ms(500)).await;
    assert_eq!(store.calls("a"), 2);
    store.feel(Mood::Well);
    store.take(Duration::ZERO);
    let end = Instant::now();
    while secrets.get("a").await.unwrap().is_stale() {
        sleep(ms(100)).await;
    }
    assert!(end.elapsed() <= secs(3), "{:?}", end.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_retry_after_says() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    let throttled = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(secs(120));
    store.feel(Mood::Failing(throttled));
    advance(TTL).await;
    for _ in 0..119 {
        assert!(secrets.get("a").await.unwrap().is_stale());
        sleep(secs(1)).await;
    }
    assert_eq!(store.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_rejects_stale_copies_gets_the_error() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    advance(TTL).await;
    assert!(secrets.get("a").await.unwrap().is_stale());
    for options in [
        ReadOptions::new().never_stale(),
        ReadOptions::new().max_age(TTL),
        ReadOptions::new().max_age(Duration::ZERO),
    ] {
        let shown = format!("{options:?}");
        assert_eq!(kind(secrets.get_with("a", options).await), ErrorKind::Unavailable, "{shown}");
    }
    assert!(secrets.get("a").await.unwrap().is_stale(), "the others still have it");
    let older = ReadOptions::new().max_age(TTL + secs(1));
    assert!(secrets.get_with("a", older).await.unwrap().is_stale(), "it is young enough");

    let policy = ReadPolicy::new().retries(0).stale_if_error(Duration::ZERO);
    let strict = store.manager(policy);
    store.feel(Mood::Well);
    strict.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    advance(TTL).await;
    assert_eq!(kind(strict.get("a").await), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn many_waiting_callers_count_as_one_failure() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.feel(Mood::Silent);
    advance(TTL).await;
    let reads = futures_util::future::join_all((0..1000).map(|_| secrets.get("a"))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().is_stale()));
    store.feel(Mood::Well);
    let start = Instant::now();
    while secrets.get("a").await.unwrap().is_stale() {
        sleep(ms(100)).await;
    }
    // The request that hangs is given up after 30 s, and the store asked again a little later.
    assert!(start.elapsed() < secs(33), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_in_an_outage_leaves_the_copy() {
    let (store, secrets) = Store::with_a().await;
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    let put = secrets.put("a", "2").await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    let copy = secrets.get("a").await.unwrap();
    assert!(copy.is_stale(), "the write may have been made");
    assert_eq!(copy.expose_text().unwrap(), "1");
    store.feel(Mood::Well);
    store.set("a", "2").await;
    sleep(secs(31)).await;
    secrets.get("a").await.unwrap();
    sleep(ms(1)).await;
    let fresh = secrets.get("a").await.unwrap();
    assert!(!fresh.is_stale());
    assert_eq!(fresh.expose_text().unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_stale_copy_ends_with_its_expiry() {
    let (store, secrets) = Store::with_a().await;
    let patch = MetadataPatch::new().expires_at(clock::wall() + TTL + secs(30));
    store.inner.annotate(&path("a"), &patch).await.unwrap();
    secrets.get("a").await.unwrap();
    store.fail(ErrorKind::Unavailable);
    advance(TTL).await;
    assert!(secrets.get("a").await.unwrap().is_stale());
    sleep(secs(31)).await;
    assert_eq!(kind(secrets.get("a").await), ErrorKind::Unavailable);
}
