//! The floor under every backend: parsing a path, and a read through the trait without a store.

use anyhow::Result;
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::Report;
use strongroom_core::{Backend, MemoryBackend, PutOptions, SecretPath, VersionSelector};
use tokio::runtime::Builder;

const PATH: &str = "production/openai/api-key";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().build()?;
    let path = SecretPath::parse(PATH)?;
    let store = MemoryBackend::new();
    runtime.block_on(store.put(&path, "sk-0123456789abcdef".into(), PutOptions::new()))?;

    let [parse, get] = compare([
        Subject::new(|| SecretPath::parse(std::hint::black_box(PATH))),
        Subject::awaiting(&runtime, || store.get(&path, &VersionSelector::Active)),
    ]);
    report.add("path_parse_ns", parse.min(), "ns", None)?;
    report.add("memory_get_ns", get.min(), "ns", None)
}
