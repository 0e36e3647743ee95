//! What a forked child can do with the stores of its parent: nothing that could hang, and everything with a
//! manager of its own.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{Write as _, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fork::{Fork, fork};
use rustix::process::{Pid, WaitOptions, waitpid};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{
    Backend, ErrorKind, PutOptions, ReadPolicy, Result, SecretPath, SecretsManager, VersionSelector,
};
use tokio::runtime::{Builder, Runtime};

/// How long the child may take.
const LIMIT: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn open(directory: &Path) -> NativeBackend {
    let mut config = NativeConfig::new(KeySource::KeyFile(directory.join("store.key")));
    config.path = Some(directory.join("store.db"));
    config.create = true;
    NativeBackend::open(config).await.unwrap()
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("before this process was forked"), "{error}");
}

/// What the child does. No thread and no runtime of the parent is left.
async fn run_child(directory: &Path, manager: SecretsManager, bare: NativeBackend) {
    assert_eq!(manager.get("cached").await.unwrap().expose_text().unwrap(), "before");
    assert_refused(manager.get("other").await);
    assert_refused(manager.get_many(["other"]).await.remove(0));
    assert_refused(manager.put("cached", "child").await);
    assert_refused(manager.list("").all().await);
    assert_refused(manager.health().await);
    assert_refused(manager.close().await);
    assert!(bare.changes().is_none());
    let path = SecretPath::parse("cached").unwrap();
    assert_refused(bare.get(&path, &VersionSelector::Active).await);
    assert_refused(bare.put(&path, "child".into(), PutOptions::default()).await);
    assert_refused(bare.close().await);
    drop((manager, bare));
    let own = SecretsManager::with_backend(open(directory).await);
    assert_eq!(own.get("other").await.unwrap().expose_text().unwrap(), "before");
    own.put("other", "child").await.unwrap();
    own.close().await.unwrap();
}

fn wait_for(child: i32) -> Option<i32> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        match waitpid(Pid::from_raw(child), WaitOptions::NOHANG).unwrap() {
            Some((_, status)) => return status.exit_status(),
            None => sleep(Duration::from_millis(10)),
        }
    }
    None
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let parent = runtime();
    let manager = parent.block_on(async {
        let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(3_600));
        let manager = SecretsManager::with_policy(open(directory.path()).await, policy);
        manager.put("cached", "before").await.unwrap();
        manager.put("other", "before").await.unwrap();
        manager.get("cached").await.unwrap();
        manager
    });
    let bare = parent.block_on(open(directory.path()));
    match fork().unwrap() {
        Fork::Child => {
            let child = || runtime().block_on(run_child(directory.path(), manager, bare));
            // The child leaves the parent's directory and runtime alone.
            exit(i32::from(catch_unwind(AssertUnwindSafe(child)).is_err()));
        }
        Fork::Parent(child) => assert_eq!(wait_for(child), Some(0)),
    }
    parent.block_on(async {
        assert_eq!(manager.get("other").await.unwrap().expose_text().unwrap(), "child");
        manager.put("cached", "after").await.unwrap();
        manager.close().await.unwrap();
    });
    // What runs the suites looks for this line.
    let mut out = stdout();
    writeln!(out, "test result: ok. 1 passed; 0 failed; 0 ignored").unwrap();
}
