//! The current secret of a handle, beside the pointer that it cannot do without: both give one byte
//! of a value that another thread could replace at any time.

use std::time::Duration;

use anyhow::Result;
use arc_swap::ArcSwap;
use strongroom::SecretHandle;
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::Builder;

use super::synthetic::SyntheticStore;
use super::{PATH, Value, cached_manager, first, value_of};

pub(super) fn run(report: &mut Report) -> Result<()> {
    let handle = Builder::new_current_thread().enable_time().build()?.block_on(watch())?;
    let swapped = ArcSwap::from_pointee(Value::from(value_of(64).as_bytes()));
    for (threads, on_threads, target) in [(1, "", Some(Target::Max(1.2))), (2, "_2_threads", None)]
    {
        let [ours, bare] = compare([
            Subject::on_threads(threads, || first(handle.current().expose_bytes())),
            Subject::on_threads(threads, || first(&swapped.load())),
        ]);
        let name = |figure| format!("handle_current_{figure}{on_threads}");
        report.add(&name("over_arcswap"), ours.over(&bare), "x", target)?;
        report.add(&name("ns"), ours.median(), "ns", None)?;
        report.add(&name("ns_arcswap"), bare.median(), "ns", None)?;
    }
    Ok(())
}

async fn watch() -> Result<SecretHandle> {
    let secrets = cached_manager(SyntheticStore::new(Duration::ZERO));
    Ok(secrets.watch(PATH).await?)
}
