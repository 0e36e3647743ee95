//! A native store of 100,000 secrets of 200 bytes: the cost of filling, opening, listing and
//! memory.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use strongroom_benches::report::Report;
use strongroom_core::{Backend, ListOptions, SecretPath, VersionSelector};
use tokio::runtime::{Builder, Runtime};

use super::native::{fill, open, path_of};

const SECRETS: u32 = 100_000;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = Builder::new_current_thread().build()?;
    let store = open(&runtime, folder.path())?;
    let started = Instant::now();
    fill(&runtime, &store, SECRETS.try_into()?)?;
    let rate = f64::from(SECRETS) / started.elapsed().as_secs_f64();
    report.add("native_100k_grouped_puts_per_s", rate, "1/s", None)?;
    runtime.block_on(store.close())?;
    drop(store);

    let size = fs::metadata(folder.path().join("secrets.db"))?.len();
    report.add(
        "native_100k_bytes_per_secret",
        kib(size) * 1024.0 / f64::from(SECRETS),
        "B",
        None,
    )?;

    let before = resident_kib()?;
    let started = Instant::now();
    let store = open(&runtime, folder.path())?;
    let path = SecretPath::parse(&path_of(77_777))?;
    runtime.block_on(store.get(&path, &VersionSelector::Active))?;
    report.add("native_100k_open_ms", started.elapsed().as_secs_f64() * 1e3, "ms", None)?;

    let started = Instant::now();
    let listed = runtime.block_on(count(&store))?;
    ensure!(listed == SECRETS, "{listed} listed");
    let per_thousand = started.elapsed().as_secs_f64() * 1e3 / (f64::from(SECRETS) / 1e3);
    report.add("native_100k_list_ms_per_1000", per_thousand, "ms", None)?;
    read_all(&runtime, &store)?;
    report.add("native_100k_resident_mib", (resident_kib()? - before) / 1024.0, "MiB", None)
}

async fn count(store: &impl Backend) -> Result<u32> {
    let (mut count, mut token) = (0, None);
    loop {
        let page = store.list(None, &ListOptions::new().page(token)).await?;
        count += u32::try_from(page.paths.len())?;
        token = page.next;
        if token.is_none() {
            return Ok(count);
        }
    }
}

fn read_all(runtime: &Runtime, store: &impl Backend) -> Result<()> {
    for number in 0..usize::try_from(SECRETS)? {
        let path = SecretPath::parse(&path_of(number))?;
        runtime.block_on(store.get(&path, &VersionSelector::Active))?;
    }
    Ok(())
}

/// Memory of this process that is resident now (Linux, `/proc/self/status`).
fn resident_kib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
}
