//! Hundreds of clients that send requests while their key is replaced every second, against real
//! stores and a real issuer: no request fails or carries a revoked key, and one key is left.
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

/// Lets one test at a time use the machine.
async fn lock_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaces_keys_in_the_native_store_without_a_failed_request() {
    let _machine = lock_machine().await;
    let load = Load::over(Store::native().await, Duration::from_secs(60));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaces_keys_in_openbao_without_a_failed_request() {
    let _machine = lock_machine().await;
    let load = Load::over(Store::openbao().await, Duration::from_secs(20));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaces_keys_in_localstack_without_a_failed_request() {
    let _machine = lock_machine().await;
    let load = Load::over(Store::localstack().await, Duration::from_secs(20));
    load.runs_without_a_failure().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_of_the_issuer_fail_rotations_but_no_request() {
    let _machine = lock_machine().await;
    let load = Load::over(Store::native().await, Duration::from_secs(15));
    load.survives_faults().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compromised_keys_are_revoked_at_once_without_a_failed_request() {
    let _machine = lock_machine().await;
    let load = Load::over(Store::native().await, Duration::from_secs(15));
    load.replaces_compromised_keys().await;
}
