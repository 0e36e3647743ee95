//! Reads from the cache, beside caches that a service could use instead.
//!
//! - `peers`: one secret again and again, on one thread and on two.
//! - `handle`: a handle's current secret, beside a pointer that is swapped.
//! - `stampede`: ten thousand cold reads at once.
//! - `memory`: what ten thousand cached secrets take.
//!
//! Nothing needs a server: the peer that asks AWS gets its answers from within this process.

mod aws;
mod handle;
mod memory;
mod peers;
mod stampede;
mod synthetic;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use strongroom::{Backend, ReadPolicy, SecretsManager};
use strongroom_benches::report::Report;

pub(crate) use memory::play;

const PATH: &str = "production/openai/api-key";
/// Longer than the benches run.
const TTL: Duration = Duration::from_secs(3600);

/// What a service would keep in a cache of its own.
type Value = Arc<[u8]>;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    for size in [64, 4096] {
        peers::run(report, size)?;
    }
    handle::run(report)?;
    stampede::run(report)?;
    memory::run(report)
}

/// A manager that keeps what it has read.
fn cached_manager(backend: impl Backend) -> SecretsManager {
    SecretsManager::with_policy(backend, ReadPolicy::new().cache_ttl(TTL))
}

/// Text of so many bytes, which look like a key.
fn value_of(size: usize) -> String {
    "sk-".chars().chain("0123456789abcdef".chars().cycle()).take(size).collect()
}

/// Reads a byte of a value, so that no subject gets away with a pointer to it.
fn first(bytes: &[u8]) -> Option<u8> {
    black_box(bytes).first().copied()
}
