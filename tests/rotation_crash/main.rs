//! Rotations whose process is killed at any step, and rotations that several processes share: against a
//! real issuer, with real stores, while clients send requests.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure, standard output how a child reports"
)]

mod child;
mod clients;
mod issuer;
mod kills;
mod processes;
mod store;

/// The entry point of the child processes. It does nothing in the test process itself.
#[test]
fn child() {
    let Some(role) = strongroom_testkit::process::role() else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(async {
        match role.as_str() {
            kills::VICTIM => kills::victim().await,
            processes::INSTANCE => processes::instance().await,
            unknown => panic!("{unknown}"),
        }
    });
}
