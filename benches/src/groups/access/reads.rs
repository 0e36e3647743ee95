//! Reads of cached secrets by agents on two threads, with the record in a file. The time ends when the last record is on
//! disk, so that what is queued counts. `*_cpu_us` is the processor time of one read in all threads: on a machine that is
//! not busy, so many processors give so many reads.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use strongroom::access::{Access, AccessConfig, AuditMode, NewGrant, Scope, Subject};
use strongroom::{MemoryBackend, PutOptions, ReadPolicy, SecretsManager};
use strongroom::{MetadataPatch, Tier};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::{Builder, Runtime};

use super::{TENANT, config, principal, rules};

const THREADS: usize = 2;
const SECRETS: usize = 100;
const SAMPLE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// The target of batched reads, per second.
const MIN_BATCHED: f64 = 200_000.0;
/// The target of their processor time, in microseconds: two processors then do 200,000 reads per second.
const MAX_BATCHED_CPU: f64 = 10.0;
const DELAY: Duration = Duration::from_millis(100);

pub(super) fn run(report: &mut Report) -> Result<()> {
    for (name, mode, rate_target, cpu_target) in [
        ("without", None, None, None),
        ("writes", Some(AuditMode::WritesAndDenials), None, None),
        (
            "batched",
            Some(AuditMode::Batched(DELAY)),
            Some(Target::Min(MIN_BATCHED)),
            Some(Target::Max(MAX_BATCHED_CPU)),
        ),
    ] {
        let rounds = (0..ROUNDS).map(|_| sample(mode, 1)).collect::<Result<Vec<_>>>()?;
        let rates = rounds.iter().map(|sample| sample.per_second);
        report.add(
            &format!("access_reads_{name}_per_second"),
            median(rates)?,
            "1/s",
            rate_target,
        )?;
        let costs = rounds.iter().map(|sample| sample.cpu_micros);
        report.add(&format!("access_reads_{name}_cpu_us"), median(costs)?, "us", cpu_target)?;
    }
    let (mut syncs, mut alone, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The speed of a disk drifts, so each round has all three.
        syncs.push(syncs_per_second()?);
        alone.push(sample(Some(AuditMode::Durable), 1)?.per_second);
        shared.push(sample(Some(AuditMode::Durable), 64 / THREADS)?.per_second);
    }
    report.add("access_file_syncs_per_second", median(syncs.iter().copied())?, "1/s", None)?;
    for (name, rates) in [("durable", alone), ("durable_64", shared)] {
        let per_sync = rates.iter().zip(&syncs).map(|(rate, syncs)| rate / syncs);
        report.add(&format!("access_reads_{name}_per_sync"), median(per_sync)?, "x", None)?;
        report.add(&format!("access_reads_{name}_per_second"), median(rates)?, "1/s", None)?;
    }
    Ok(())
}

/// What one sample measures.
struct Sample {
    per_second: f64,
    cpu_micros: f64,
}

fn median(values: impl IntoIterator<Item = f64>) -> Result<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("there are rounds")
}

/// The processor time of this process so far, in seconds: fields 14 and 15 of `/proc/self/stat`, in hundredths (proc(5)).
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("it names the process")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

/// A manager that has every secret in its cache.
async fn cached_manager() -> Result<SecretsManager> {
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(3600));
    let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
    for number in 0..SECRETS {
        let path = format!("{TENANT}/{}", path_of(number));
        let options = PutOptions::new().metadata(MetadataPatch::new().tier(Tier::Standard));
        secrets.put_with(&path, "sk-0123456789abcdef", options).await?;
        secrets.get(&path).await?;
    }
    Ok(secrets)
}

fn path_of(number: usize) -> String {
    format!("production/service-{}/key-{number}", number % 10)
}

async fn open(folder: &Path, mode: AuditMode) -> Result<Access> {
    let file = AccessConfig::new(folder.join("access.db"), folder.join("access.key"));
    let access = Access::open(config(file)?.audit_mode(mode)).await?;
    for number in 0..THREADS {
        let scope = Scope::parse("secrets:read:production/**")?;
        let subject = Subject::parse(&format!("agent:agent-{number}"))?;
        rules(&access)?.create_grant(NewGrant::new(subject, [scope], "a bench")).await?;
    }
    Ok(access)
}

/// Reads of two threads, each with so many readers.
fn sample(mode: Option<AuditMode>, readers: usize) -> Result<Sample> {
    let folder = tempfile::tempdir()?;
    let host = runtime()?;
    let secrets = host.block_on(cached_manager())?;
    let access = match mode {
        Some(mode) => Some(host.block_on(open(folder.path(), mode))?),
        None => None,
    };
    let (reads, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let read = |number: usize| -> Result<()> {
        let (agent, prefix) = match &access {
            Some(access) => (secrets.act_as(access, principal(number)?)?, String::new()),
            None => (secrets.clone(), format!("{TENANT}/")),
        };
        let paths: Vec<_> =
            (0..SECRETS).map(|number| format!("{prefix}{}", path_of(number))).collect();
        let reader = || async {
            let mut count = 0;
            for path in paths.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                agent.get(path).await?;
                count += 1;
            }
            reads.fetch_add(count, Ordering::Relaxed);
            anyhow::Ok(())
        };
        let results = runtime()?.block_on(join_all((0..readers).map(|_| reader())));
        results.into_iter().collect()
    };
    let (start, cpu_before) = (Instant::now(), cpu_seconds()?);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let read = &read;
                    move || read(number)
                })
            })
            .collect();
        thread::sleep(SAMPLE);
        is_over.store(true, Ordering::Relaxed);
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })?;
    if let Some(access) = access {
        host.block_on(access.close());
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let reads = reads.into_inner() as f64;
    let per_second = reads / start.elapsed().as_secs_f64();
    Ok(Sample { per_second, cpu_micros: (cpu_seconds()? - cpu_before) * 1e6 / reads })
}

/// What the file system gives: appends of a page with a sync each, per second.
fn syncs_per_second() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("log"))?;
    let start = Instant::now();
    let mut syncs = 0.0;
    while start.elapsed() < SAMPLE {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        syncs += 1.0;
    }
    Ok(syncs / start.elapsed().as_secs_f64())
}
