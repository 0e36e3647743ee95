//! Taking a rotating key for a request and letting go of it: alone, on two threads at once, and while
//! this thread has a hundred other requests under way, as a server has.

use std::hint::black_box;

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
    let (_engine, key) = runtime.block_on(rotating())?;
    let acquire = || {
        let guard = key.acquire();
        black_box(guard.value().len())
    };
    let [alone, shared] =
        compare([Subject::on_threads(1, acquire), Subject::on_threads(2, acquire)]);
    report.add("rotating_key_acquire_ns", alone.median(), "ns", Target::Max(30.0))?;
    report.add("rotating_key_acquire_ns_2_threads", shared.median(), "ns", None)?;
    report.add("rotating_key_acquire_2_threads_over_1", shared.over(&alone), "x", None)?;

    let _others: Vec<_> = (0..IN_FLIGHT).map(|_| key.acquire()).collect();
    let [crowded] = compare([Subject::new(acquire)]);
    report.add("rotating_key_acquire_ns_100_in_flight", crowded.median(), "ns", None)
}

async fn rotating() -> Result<(RotationEngine, RotatingKey)> {
    let secrets = SecretsManager::with_backend(MemoryBackend::new());
    secrets.put(PATH, "sk-0123456789abcdef").await?;
    let engine = RotationEngine::new(secrets);
    let key = engine.add(ManagedKey::new(PATH, PasswordIssuer::default())).await?;
    Ok((engine, key))
}
