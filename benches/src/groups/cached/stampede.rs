//! Ten thousand reads of a hundred cold secrets, all at once; and reads of many cold secrets on two threads.
//!
//! The store takes 20 ms for an answer, and answers any number of requests at a time. A read's
//! time counts from the beginning of the whole stampede. The client of AWS asks through its SDK,
//! whose requests cross no network. `secret-vault` is left out: it loads secrets on demand of the
//! application, and a read of a secret that was not loaded finds nothing.
//!
//! Single flight may fail where a read ends while another begins. So four reads of each of 100,000 secrets compete on
//! two threads, with a store that answers within a millisecond.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use strongroom::{ReadPolicy, SecretsManager};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::Builder;

use super::synthetic::SyntheticStore;
use super::{TTL, Value, aws, cached_manager};
use crate::groups::native::path_of;

const READS: usize = 10_000;
const KEYS: u32 = 100;
const LATENCY: Duration = Duration::from_millis(20);
const ROUNDS: usize = 5;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let mut outcomes = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let round = [
            runtime.block_on(ours())?,
            runtime.block_on(moka())?,
            runtime.block_on(quick_cache())?,
            runtime.block_on(caching_client())?,
        ];
        for (outcomes, outcome) in outcomes.iter_mut().zip(round) {
            outcomes.push(outcome);
        }
    }
    for (peer, outcomes) in ["", "_moka", "_quick_cache", "_aws_caching"].iter().zip(&mut outcomes)
    {
        let most = outcomes.iter().map(|outcome| outcome.calls).max().context("no rounds")?;
        outcomes.sort_by_key(|outcome| outcome.p99);
        let median = outcomes.get(ROUNDS / 2).context("no rounds")?.p99;
        let target = peer.is_empty().then_some(Target::Max(1.0));
        let calls = f64::from(most) / f64::from(KEYS);
        report.add(&format!("stampede_calls_per_key{peer}"), calls, "calls", target)?;
        let p99 = median.as_secs_f64() * 1e3;
        report.add(&format!("stampede_p99_ms{peer}"), p99, "ms", None)?;
    }
    let calls = runtime.block_on(many_cold_secrets())?;
    let calls_per_key = f64::from(calls) / f64::from(WAVES * WAVE_KEYS);
    report.add("stampede_calls_per_key_of_100000", calls_per_key, "calls", Target::Max(1.0))?;
    Ok(())
}

/// How many waves of reads, and how many cold secrets each of them reads.
const WAVES: u32 = 100;
const WAVE_KEYS: u32 = 1_000;
const READS_PER_KEY: u32 = 4;

/// Reads many cold secrets several times each; returns how many calls the store got.
async fn many_cold_secrets() -> Result<u32> {
    let store = SyntheticStore::new(Duration::from_micros(500));
    let policy = ReadPolicy::new().cache_ttl(TTL).max_entries(1_000_000).max_bytes(4 << 30);
    let secrets = SecretsManager::with_policy(Arc::clone(&store), policy);
    for wave in 0..WAVES {
        let reads: Vec<_> = (0..WAVE_KEYS * READS_PER_KEY)
            .map(|number| {
                let path = path_of((wave * WAVE_KEYS + number % WAVE_KEYS) as usize);
                let secrets = secrets.clone();
                tokio::spawn(async move { secrets.get(&path).await.is_ok() })
            })
            .collect();
        for read in reads {
            ensure!(read.await?, "a read failed");
        }
    }
    Ok(store.calls())
}

/// What one stampede cost.
struct Outcome {
    calls: u32,
    p99: Duration,
}

async fn ours() -> Result<Outcome> {
    let store = SyntheticStore::new(LATENCY);
    let secrets = cached_manager(Arc::clone(&store));
    stampede(&store, move |path| {
        let secrets = secrets.clone();
        async move { secrets.get(&path).await.is_ok() }
    })
    .await
}

async fn moka() -> Result<Outcome> {
    let store = SyntheticStore::new(LATENCY);
    let cache = moka::future::Cache::builder().time_to_live(TTL).build();
    let asked = Arc::clone(&store);
    stampede(&store, move |path| {
        let (cache, store) = (cache.clone(), Arc::clone(&asked));
        async move {
            let read: Value =
                cache.get_with(path, async { store.value().await.into_bytes().into() }).await;
            !read.is_empty()
        }
    })
    .await
}

async fn quick_cache() -> Result<Outcome> {
    let store = SyntheticStore::new(LATENCY);
    let cache = Arc::new(quick_cache::sync::Cache::<String, Value>::new(10_000));
    let asked = Arc::clone(&store);
    stampede(&store, move |path| {
        let (cache, store) = (Arc::clone(&cache), Arc::clone(&asked));
        async move {
            let value = async { Ok::<_, Infallible>(store.value().await.into_bytes().into()) };
            cache.get_or_insert_async(&path, value).await.is_ok()
        }
    })
    .await
}

async fn caching_client() -> Result<Outcome> {
    let store = SyntheticStore::new(LATENCY);
    let asked = Arc::clone(&store);
    let answer = move || {
        let store = Arc::clone(&asked);
        Box::pin(async move { store.value().await }) as _
    };
    let client = Arc::new(aws::caching_client(answer).await?);
    stampede(&store, move |path| {
        let client = Arc::clone(&client);
        async move { aws::read(&client, &path).await.is_ok() }
    })
    .await
}

/// Starts all reads, each a task of its own, and waits for them.
async fn stampede<F>(store: &SyntheticStore, read: impl Fn(String) -> F) -> Result<Outcome>
where
    F: Future<Output = bool> + Send + 'static,
{
    let keys = usize::try_from(KEYS)?;
    let reads: Vec<_> = (0..READS).map(|number| read(path_of(number % keys))).collect();
    let start = Instant::now();
    let begin = |read: F| tokio::spawn(async move { (read.await, start.elapsed()) });
    let tasks: Vec<_> = reads.into_iter().map(begin).collect();
    let mut times = Vec::with_capacity(READS);
    for task in tasks {
        let (succeeded, time) = task.await?;
        ensure!(succeeded, "a read failed");
        times.push(time);
    }
    times.sort_unstable();
    let p99 = *times.get(READS * 99 / 100).context("no reads")?;
    Ok(Outcome { calls: store.calls(), p99 })
}
