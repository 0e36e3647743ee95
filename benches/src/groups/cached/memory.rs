//! What a cached secret of 64 bytes takes: the growth of a process by ten thousand of them.
//!
//! The process's own memory is measured, page by page, and not what is asked of the allocator: an
//! allocator that counts would slow down whatever else is measured in this program, most of all the
//! peers that copy. So that no earlier measurement leaves free memory behind, each subject gets a
//! process of its own, which reads on a single thread.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use strongroom_benches::report::Report;
use strongroom_testkit::process::Role;
use tokio::runtime::Builder;

use super::synthetic::SyntheticStore;
use super::{TTL, Value, aws, cached_manager};
use crate::groups::native::path_of;

const SECRETS: u16 = 10_000;
/// Read before the first look, so that what exists once is there already.
const BEFOREHAND: u16 = 100;

const OURS: &str = "memory of the manager";
const MOKA: &str = "memory of moka";
const CACHING_CLIENT: &str = "memory of the caching client of AWS";

pub(super) fn run(report: &mut Report) -> Result<()> {
    for (role, peer) in [(OURS, ""), (MOKA, "_moka"), (CACHING_CLIENT, "_aws_caching")] {
        let name = format!("cached_bytes_per_secret_64{peer}");
        report.add(&name, in_its_own_process(role)?, "B", None)?;
    }
    Ok(())
}

fn in_its_own_process(role: &str) -> Result<f64> {
    let mut child = Role::new(role)?.inherit_stderr().spawn()?;
    let mut said = String::new();
    child.stdout().context("no output")?.read_to_string(&mut said)?;
    let status = child.wait_within(Duration::from_secs(10))?;
    ensure!(status.success(), "the process for the {role} failed");
    Ok(said.trim().parse()?)
}

/// What this program does in the processes that it starts for itself.
pub(crate) fn play(role: &str) -> Result<()> {
    let growth = async {
        match role {
            OURS => ours().await,
            MOKA => moka().await,
            CACHING_CLIENT => caching_client().await,
            _ => bail!("no such role: {role}"),
        }
    };
    let runtime = Builder::new_current_thread().enable_time().build()?;
    println!("{}", runtime.block_on(growth)?);
    Ok(())
}

async fn ours() -> Result<f64> {
    let secrets = cached_manager(SyntheticStore::new(Duration::ZERO));
    growth(async |path| secrets.get(&path).await.map(drop).map_err(Into::into)).await
}

async fn moka() -> Result<f64> {
    let store = SyntheticStore::new(Duration::ZERO);
    let cache = moka::future::Cache::builder().time_to_live(TTL).build();
    growth(async |path| {
        cache.insert(path, Value::from(store.value().await.into_bytes())).await;
        // Nothing is to wait for its place.
        cache.run_pending_tasks().await;
        Ok(())
    })
    .await
}

async fn caching_client() -> Result<f64> {
    let store = SyntheticStore::new(Duration::ZERO);
    let answer = move || {
        let store = Arc::clone(&store);
        Box::pin(async move { store.value().await }) as _
    };
    let client = aws::caching_client(answer).await?;
    growth(async |path| aws::read(&client, &path).await.map(drop)).await
}

/// By how many bytes this process grows with each secret that is read.
async fn growth(read: impl AsyncFn(String) -> Result<()>) -> Result<f64> {
    for number in SECRETS..SECRETS + BEFOREHAND {
        read(path_of(number.into())).await?;
    }
    let before = anonymous_kib()?;
    for number in 0..SECRETS {
        read(path_of(number.into())).await?;
    }
    Ok((anonymous_kib()? - before) * 1024.0 / f64::from(SECRETS))
}

/// Memory of this process that no file backs (Linux, `/proc/self/smaps_rollup`, which is exact
/// where `/proc/self/status` may lag).
fn anonymous_kib() -> Result<f64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
    Ok(number.parse()?)
}
