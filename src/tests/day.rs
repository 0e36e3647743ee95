//! Twenty-four hours of a service whose store fails now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::ErrorKind;
use tokio::time::{Instant, sleep};

use super::store::{Mood, Store, TTL, ms, secs};
use crate::{ReadPolicy, SecretsManager, clock};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECRETS: u64 = 20;
const WINDOW: Duration = Duration::from_secs(600);
/// What a read waits in an outage at most, and the store's own latency.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Count {
    reads: usize,
    stale: usize,
    failed: usize,
    outages: usize,
    changes: u64,
}

/// Outages of seconds to minutes, now and then one that is longer than copies last.
async fn fail_now_and_then(store: Arc<Store>) -> (usize, Vec<(Instant, Instant)>) {
    let end = Instant::now() + DAY;
    let mut outages = Vec::new();
    while Instant::now() < end {
        store.feel(Mood::Well);
        store.take(ms(fastrand::u64(1..200)));
        // Long enough for a request that hangs, and the pause after it, to end.
        sleep(secs(fastrand::u64(120..1800))).await;
        let start = Instant::now();
        match fastrand::u8(..4) {
            0 => store.feel(Mood::Silent),
            1 => store.fail(ErrorKind::RateLimited),
            2 => store.fail(ErrorKind::Timeout),
            _ => store.fail(ErrorKind::Unavailable),
        }
        let long = fastrand::u8(..10) == 0;
        sleep(secs(if long { fastrand::u64(700..1800) } else { fastrand::u64(5..400) })).await;
        outages.push((start, Instant::now()));
    }
    store.feel(Mood::Well);
    (outages.len(), outages)
}

/// Reads a random secret every few seconds and checks what it gets.
async fn use_secrets(secrets: SecretsManager) -> (Count, Vec<Instant>) {
    let end = Instant::now() + DAY;
    let (mut count, mut failed_at) = (Count::default(), Vec::new());
    let mut newest = BTreeMap::new();
    while Instant::now() < end {
        sleep(ms(fastrand::u64(100..4000))).await;
        let key = fastrand::u64(..SECRETS);
        let start = Instant::now();
        let read = secrets.get(format!("key/{key}")).await;
        assert!(start.elapsed() <= secs(30), "{:?}", start.elapsed());
        count.reads += 1;
        match read {
            Ok(secret) => {
                let age = clock::instant().duration_since(secret.read_at());
                let bound = if secret.is_stale() { TTL + WINDOW } else { TTL };
                assert!(age <= bound + SLACK, "{key} is {age:?} old, {secret:?}");
                count.stale += usize::from(secret.is_stale());
                let value: u64 = secret.expose_text().unwrap().parse().unwrap();
                let known = newest.entry(key).or_insert(value);
                assert!(value >= *known, "{key} went back from {known} to {value}");
                *known = value;
            }
            Err(error) => {
                assert!(crate::cache::is_outage(&error), "{error}");
                count.failed += 1;
                failed_at.push(start);
            }
        }
    }
    (count, failed_at)
}

async fn change_secrets(store: Arc<Store>) -> u64 {
    let end = Instant::now() + DAY;
    let mut value = 0;
    while Instant::now() < end {
        sleep(secs(fastrand::u64(10..300))).await;
        value += 1;
        store.set(&format!("key/{}", fastrand::u64(..SECRETS)), &value.to_string()).await;
    }
    value
}

#[tokio::test(start_paused = true)]
async fn a_day_with_outages_at_random() {
    fastrand::seed(20_261_127);
    let store = Store::new();
    for key in 0..SECRETS {
        store.set(&format!("key/{key}"), "0").await;
    }
    let secrets = store.manager(ReadPolicy::new());
    let all: Vec<_> = (0..SECRETS).map(|key| format!("key/{key}")).collect();
    assert!(secrets.get_many(&all).await.iter().all(Result::is_ok));
    let start = Instant::now();
    let failing = tokio::spawn(fail_now_and_then(store.clone()));
    let changing = tokio::spawn(change_secrets(store.clone()));
    let users: Vec<_> = (0..4).map(|_| tokio::spawn(use_secrets(secrets.clone()))).collect();
    let (mut total, mut failed_at) = (Count::default(), Vec::new());
    for user in users {
        let (count, at) = user.await.unwrap();
        total.reads += count.reads;
        total.stale += count.stale;
        total.failed += count.failed;
        failed_at.extend(at);
    }
    let outages;
    (total.outages, outages) = failing.await.unwrap();
    total.changes = changing.await.unwrap();

    // A read fails only where an outage has lasted longer than copies do. Their time counts from the
    // end of an entry, which was before the outage if no caller had used it for a while; and a request
    // that hangs is waited for until its time is over.
    let is_long = |(from, until): &(Instant, Instant), at: Instant| {
        *from + WINDOW <= at + secs(60) && at <= *until + secs(30)
    };
    for at in failed_at {
        let in_long_outage = outages.iter().any(|outage| is_long(outage, at));
        assert!(in_long_outage, "a read failed {:?} after the start", at - start);
    }
    let calls = store.all_calls();
    println!("24 hours: {total:?}, {calls} requests to the store");
    assert!(total.reads > 100_000 && total.stale > 1_000 && total.failed > 0, "{total:?}");
    // One in three quarters of a minute for each secret, and some more in outages.
    let most = usize::try_from(SECRETS * DAY.as_secs() / 45).unwrap() * 3 / 2;
    assert!(calls < most, "{calls} requests");
}
