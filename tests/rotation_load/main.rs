//! Hundreds of clients that send requests while their key is replaced every second, against real
//! stores and a real issuer: no request fails, none carries a key that was revoked, one key is left.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod clients;
mod faults;
mod issued;
mod load;
mod stores;

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use load::Load;
use stores::Store;

/// The machine is for one test at a time.
async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_the_native_store_are_replaced_without_a_failed_request() {
    let _alone = alone().await;
    let load = Load::over(Store::native().await, Duration::from_secs(60));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_openbao_are_replaced_without_a_failed_request() {
    let _alone = alone().await;
    let load = Load::over(Store::openbao().await, Duration::from_secs(20));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_localstack_are_replaced_without_a_failed_request() {
    let _alone = alone().await;
    let load = Load::over(Store::localstack().await, Duration::from_secs(20));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_fails_at_random_costs_rotations_but_no_request() {
    let _alone = alone().await;
    let load = Load::over(Store::native().await, Duration::from_secs(15));
    load.survives_faults().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_have_leaked_are_revoked_at_once_without_a_failed_request() {
    let _alone = alone().await;
    let load = Load::over(Store::native().await, Duration::from_secs(15));
    load.replaces_leaked_keys().await;
}
