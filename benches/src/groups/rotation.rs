//! Acquires a rotating key and drops its guard: on one thread, on two threads, and while this thread holds a
//! hundred other guards, as a server does.
//!
//! Two threads may each be slower than one alone although they share no memory: they may be two threads
//! of one processor core, or the core's clock may be lower. A control measures by how much.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use strongroom::rotation::{ManagedKey, PasswordIssuer, RotatingKey, RotationEngine};
use strongroom::{MemoryBackend, SecretsManager};
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::Builder;

const PATH: &str = "openai/api-key";
const IN_FLIGHT: usize = 100;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (_engine, key) = runtime.block_on(managed_key())?;
    let acquire = || {
        let guard = key.acquire();
        black_box(guard.value().len())
    };
    let [alone, shared, control_alone, control_shared] = compare([
        Subject::on_threads(1, acquire),
        Subject::on_threads(2, acquire),
        Subject::on_threads(1, control),
        Subject::on_threads(2, control),
    ]);
    // On a busy machine, both threads may share one core for most rounds. Each round is the median of many
    // batches, so the fastest round is not an outlier.
    let ratio = shared.min() / alone.min();
    let control_ratio = control_shared.min() / control_alone.min();
    report.add("rotating_key_acquire_ns", alone.median(), "ns", Target::Max(30.0))?;
    report.add("rotating_key_acquire_ns_2_threads", shared.min(), "ns", None)?;
    report.add("rotating_key_acquire_2_threads_over_1", ratio, "x", None)?;
    report.add("rotating_key_control_ns", control_alone.median(), "ns", None)?;
    report.add("rotating_key_control_2_threads_over_1", control_ratio, "x", None)?;
    let over_control = ratio / control_ratio;
    let target = Target::Max(1.25);
    report.add("rotating_key_acquire_2_threads_over_control", over_control, "x", target)?;

    let _others: Vec<_> = (0..IN_FLIGHT).map(|_| key.acquire()).collect();
    let [among_many] = compare([Subject::new(acquire)]);
    report.add("rotating_key_acquire_ns_100_in_flight", among_many.median(), "ns", None)
}

/// The least that acquiring a key and dropping its guard can cost: two atomic exchanges, here in memory that no
/// other thread uses.
fn control() -> usize {
    let slot = AtomicUsize::new(0);
    let slot = black_box(&slot);
    let before = slot.swap(1, Ordering::SeqCst);
    slot.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).unwrap_or(before)
}

async fn managed_key() -> Result<(RotationEngine, RotatingKey)> {
    let secrets = SecretsManager::with_backend(MemoryBackend::new());
    secrets.put(PATH, "sk-0123456789abcdef").await?;
    let engine = RotationEngine::new(secrets);
    let key = engine.add(ManagedKey::new(PATH, PasswordIssuer::default())).await?;
    Ok((engine, key))
}
