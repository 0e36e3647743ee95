//! One secret read over HTTP with a token, from `strongroom serve` and from OpenBao: each is a process of its own on this
//! machine, and the same client asks them in turns.
//!
//! OpenBao runs in its development mode: in memory, without an audit. Ours has an encrypted store in a file and records every
//! read in its audit, once with `batched` (a record waits up to 100 ms for others), as an audit device of OpenBao does not
//! wait for the disk either, and once with `durable` (a record is on disk before the value is sent).

mod listeners;
mod load;
mod process;

use std::time::Duration;

use anyhow::{Context as _, Result};
use strongroom_benches::report::{Report, Target};
use strongroom_testkit::openbao;
use tokio::runtime::Builder;

use load::{Load, Measured};
use process::Served;

const PATH: &str = "openai/api-key";
const VALUE: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc";
const ROUNDS: usize = 5;
const ROUND_TIME: Duration = Duration::from_secs(2);
/// Reads between two looks at the memory of the server.
const READS: u64 = 1_000_000;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let openbao = openbao::Server::dev().await;
        let batched = Served::start("batched").await?;
        let durable = Served::start("durable").await?;
        for connections in [1, 16, 256] {
            compare(report, connections, &openbao, &batched, &durable).await?;
        }
        memory(report, &batched).await?;
        listeners::run(report, &batched).await
    })
}

async fn compare(
    report: &mut Report,
    connections: usize,
    openbao: &openbao::Server,
    batched: &Served,
    durable: &Served,
) -> Result<()> {
    let peer = write_to_openbao(openbao).await?;
    let subjects = [peer, batched.reads()?, durable.reads()?];
    let mut rounds: [Vec<Measured>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (load, measured) in subjects.iter().zip(&mut rounds) {
            measured.push(load.run(connections, ROUND_TIME).await?);
        }
    }
    let [peer, batched, durable] = rounds;
    for (name, ours, is_target) in [("", &batched, true), ("_durable", &durable, false)] {
        let target = |target| is_target.then_some(target);
        let reads = ratio(ours, &peer, |measured| measured.per_second);
        let p99 = ratio(ours, &peer, |measured| measured.p99.as_secs_f64());
        report.add(
            &format!("server_reads{name}_over_openbao_c{connections}"),
            reads,
            "x",
            target(Target::Min(2.0)),
        )?;
        report.add(
            &format!("server_p99{name}_over_openbao_c{connections}"),
            p99,
            "x",
            target(Target::Max(1.0)),
        )?;
    }
    for (name, measured) in [("openbao", &peer), ("batched", &batched), ("durable", &durable)] {
        let per_second = middle(measured.iter().map(|it| it.per_second));
        report.add(&format!("server_{name}_per_second_c{connections}"), per_second, "1/s", None)?;
        let p99 = middle(measured.iter().map(|it| it.p99.as_secs_f64() * 1e3));
        report.add(&format!("server_{name}_p99_ms_c{connections}"), p99, "ms", None)?;
    }
    Ok(())
}

/// The median over the rounds of how many times the peer's figure ours is.
fn ratio(ours: &[Measured], peer: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    middle(ours.iter().zip(peer).map(|(ours, peer)| figure(ours) / figure(peer)))
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn write_to_openbao(server: &openbao::Server) -> Result<Load> {
    let address = server.address().strip_prefix("http://").context("OpenBao has no TLS here")?;
    let path = format!("/v1/secret/data/{PATH}");
    let token = format!("x-vault-token: {}", server.root_token());
    let body = format!("{{\"data\": {{\"value\": \"{VALUE}\"}}}}");
    load::send(address, "POST", &path, &token, &body).await?;
    Load::new(address, &path, &token)
}

/// How much more memory the server has after a million reads.
async fn memory(report: &mut Report, served: &Served) -> Result<()> {
    let reads = served.reads()?;
    reads.run_times(16, READS / 10).await?;
    let before = served.memory_mib()?;
    reads.run_times(16, READS).await?;
    let after = served.memory_mib()?;
    report.add("server_memory_mib", after, "MiB", None)?;
    let more = after - before;
    report.add("server_memory_more_mib_after_1m_reads", more, "MiB", Target::Max(8.0))
}
