//! Reads of several secrets.

use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use strongroom_core::{Error, ErrorKind};
use tokio::time::{Instant, advance, sleep};

use super::store::{Mood, Store, TTL, kind, ms, secs, text};
use crate::ReadPolicy;

async fn alphabet() -> (std::sync::Arc<Store>, crate::SecretsManager) {
    let store = Store::new();
    for name in ["a", "b", "c", "d"] {
        store.set(name, name).await;
    }
    let secrets = store.manager(ReadPolicy::new());
    (store, secrets)
}

#[tokio::test(start_paused = true)]
async fn reads_all_missing_secrets_with_one_call() {
    let (store, secrets) = alphabet().await;
    assert_eq!(text(secrets.get("b").await), "b");
    let paths = ["a", "b", "none", "a", "/", "c"];
    for _ in 0..2 {
        let results = secrets.get_many(paths).await;
        let shown = results.into_iter().map(|read| match read {
            Ok(secret) => text(Ok(secret)),
            Err(error) => error.kind().to_string(),
        });
        let expected = ["a", "b", "not found", "a", "invalid input", "c"];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
    assert_eq!(store.batches.load(Ordering::SeqCst), 1);
    for name in ["a", "b", "c", "none"] {
        assert_eq!(store.calls(name), 1, "{name}");
    }
    assert!(secrets.get_many(Vec::<&str>::new()).await.is_empty());
    assert_eq!(text(secrets.get("c").await), "c");
    assert_eq!(store.all_calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn batches_and_single_reads_join_each_other() {
    let (store, secrets) = alphabet().await;
    store.take(ms(20));
    let start = Instant::now();
    let single = secrets.get("a");
    let many = secrets.get_many(["a", "b", "c"]);
    let more = secrets.get_many(["c", "d"]);
    let late = async {
        sleep(ms(10)).await;
        secrets.get("d").await
    };
    let (single, many, more, late) = tokio::join!(single, many, more, late);
    assert_eq!(text(single), "a");
    assert_eq!(many.into_iter().map(text).collect::<String>(), "abc");
    assert_eq!(more.into_iter().map(text).collect::<String>(), "cd");
    assert_eq!(text(late), "d");
    assert_eq!((store.all_calls(), start.elapsed()), (4, ms(20)));
}

#[tokio::test(start_paused = true)]
async fn others_carry_on_a_batch_whose_caller_is_cancelled() {
    let (store, secrets) = alphabet().await;
    store.take(ms(20));
    let mut many = Box::pin(secrets.get_many(["a", "b"]));
    let mut context = Context::from_waker(Waker::noop());
    assert!(many.as_mut().poll(&mut context).is_pending());
    let other = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get("b").await }
    });
    sleep(ms(10)).await;
    drop(many);
    assert_eq!(text(other.await.unwrap()), "b");
    assert_eq!((store.calls("a"), store.calls("b")), (1, 1));
    // Neither caller waited for the other one.
    assert_eq!(text(secrets.get("a").await), "a");
}

#[tokio::test(start_paused = true)]
async fn retries_secrets_with_temporary_errors() {
    let (store, secrets) = alphabet().await;
    store.fail(ErrorKind::Unavailable);
    let many = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get_many(["a", "b"]).await }
    });
    sleep(ms(50)).await;
    store.feel(Mood::Well);
    assert_eq!(many.await.unwrap().into_iter().map(text).collect::<String>(), "ab");
    assert_eq!(store.batches.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_secret_does_not_delay_the_others() {
    let (store, secrets) = alphabet().await;
    store.fail_alone("b", ErrorKind::Unavailable);
    store.take(ms(20));
    let start = Instant::now();
    let many = tokio::spawn({
        let secrets = secrets.clone();
        async move { secrets.get_many(["a", "b"]).await }
    });
    sleep(ms(10)).await;
    assert_eq!(text(secrets.get("a").await), "a");
    assert_eq!(start.elapsed(), ms(20));
    let mut results = many.await.unwrap().into_iter();
    assert_eq!(text(results.next().unwrap()), "a");
    assert_eq!(kind(results.next().unwrap()), ErrorKind::Unavailable);
    assert_eq!((store.calls("a"), store.calls("b")), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn does_not_retry_permanent_errors() {
    let (store, secrets) = alphabet().await;
    for refusal in [ErrorKind::Denied, ErrorKind::Corrupt] {
        let before = store.batches.load(Ordering::SeqCst);
        store.fail(refusal);
        for read in secrets.get_many(["a", "b"]).await {
            assert_eq!(kind(read), refusal);
        }
        assert_eq!(store.batches.load(Ordering::SeqCst), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn gives_each_secret_its_copy_or_its_error_in_an_outage() {
    let (store, secrets) = alphabet().await;
    secrets.get_many(["a", "b"]).await;
    let down = Error::new(ErrorKind::Unavailable, "wait").temporary(false);
    store.feel(Mood::Failing(down));
    advance(TTL).await;
    for _ in 0..2 {
        let start = Instant::now();
        let mut results = secrets.get_many(["a", "c", "b"]).await.into_iter();
        assert!(results.next().unwrap().unwrap().is_stale());
        assert_eq!(kind(results.next().unwrap()), ErrorKind::Unavailable);
        assert!(results.next().unwrap().unwrap().is_stale());
        assert_eq!(start.elapsed(), ms(0));
    }
    store.feel(Mood::Silent);
    let start = Instant::now();
    assert_eq!(kind(secrets.get_many(["d"]).await.remove(0)), ErrorKind::Timeout);
    assert_eq!(start.elapsed(), secs(30));
}
