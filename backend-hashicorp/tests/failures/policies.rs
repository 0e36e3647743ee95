//! Requests that a policy denies.

use strongroom_core::{
    Backend as _, Condition, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions,
    VersionSelector,
};
use strongroom_testkit::canary;

use crate::support::{Account, expect_permanent, open, path, put, read, read_until_success};

const NOTHING: &str = r#"path "secret/data/nothing" { capabilities = ["read"] }"#;

fn read_policy(name: &str) -> String {
    format!(r#"path "secret/data/{name}" {{ capabilities = ["read"] }}"#)
}

#[tokio::test]
async fn a_policy_change_causes_no_login() {
    let account = Account::with_policy("policy", &read_policy("policy")).await;
    account.write("kept").await;
    let (backend, key) = (open(account.config()).await, account.path());
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    account.server.write_policy("policy", NOTHING).await;
    for _ in 0..200 {
        let error = expect_permanent(Operation::Get, ErrorKind::Denied, read(&backend, &key).await);
        assert_eq!(error.advice(), "grant `read` on `secret/data/policy` to this role or token");
    }
    assert_eq!(account.logins(), 1);
    account.server.write_policy("policy", &read_policy("policy")).await;
    assert_eq!(read_until_success(&backend, &key).await, "kept");
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn every_operation_without_permission_is_denied() {
    let account = Account::with_policy("powerless", NOTHING).await;
    account.write("kept").await;
    let (backend, key) = (open(account.config()).await, account.path());
    let denied = ErrorKind::Denied;
    expect_permanent(Operation::Get, denied, read(&backend, &key).await);
    expect_permanent(Operation::Put, denied, put(&backend, &key, "new").await);
    expect_permanent(Operation::Delete, denied, backend.delete(&key).await);
    expect_permanent(Operation::Undelete, denied, backend.undelete(&key).await);
    expect_permanent(Operation::Destroy, denied, backend.destroy(&key).await);
    expect_permanent(Operation::List, denied, backend.list(None, &ListOptions::default()).await);
    expect_permanent(Operation::Versions, denied, backend.versions(&key).await);
    expect_permanent(Operation::Rollback, denied, backend.rollback(&key, &1.into()).await);
    expect_permanent(Operation::Describe, denied, backend.describe(&key).await);
    let patch = MetadataPatch::new().tag("a", "b");
    expect_permanent(Operation::Annotate, denied, backend.annotate(&key, &patch).await);
    let first = VersionSelector::Exact(1.into());
    expect_permanent(Operation::Get, denied, backend.get(&key, &first).await);
    assert_eq!(account.logins(), 1);
    let kept = account.server.admin("GET", "secret/data/powerless", None).await;
    assert_eq!(kept["data"]["metadata"]["version"], 1);
}

#[tokio::test]
async fn a_role_that_may_only_write_can_write_values_but_no_metadata() {
    let rules = r#"path "secret/data/write-only" { capabilities = ["create", "update"] }"#;
    let account = Account::with_policy("write-only", rules).await;
    let (backend, key) = (open(account.config()).await, account.path());
    for (version, rest) in [(1_u64, "first"), (2, "second")] {
        let written = backend.put(&key, canary::text(rest), PutOptions::default()).await;
        assert_eq!(written.unwrap(), version.into());
    }
    let options = || {
        let mut options = PutOptions::default();
        options.metadata = MetadataPatch::new().tag("team", "payments");
        options
    };
    let result = backend.put(&key, canary::text("third"), options()).await;
    expect_permanent(Operation::Put, ErrorKind::Denied, result);
    let mut conditional = PutOptions::default();
    conditional.condition = Condition::MustBeVersion(1.into());
    let result = backend.put(&key, canary::text("third"), conditional.clone()).await;
    expect_permanent(Operation::Put, ErrorKind::Conflict, result);
    expect_permanent(Operation::Get, ErrorKind::Denied, read(&backend, &key).await);
    let kept = account.server.admin("GET", "secret/data/write-only", None).await;
    assert_eq!(kept["data"]["metadata"]["version"], 2);
    conditional.condition = Condition::MustBeVersion(2.into());
    let written = backend.put(&key, canary::text("third"), conditional).await;
    assert_eq!(written.unwrap(), 3.into());

    // With permission to read metadata, but not to change it, nothing is written either.
    let more =
        format!(r#"{rules} path "secret/metadata/write-only" {{ capabilities = ["read"] }}"#);
    account.server.write_policy("write-only", &more).await;
    let result = backend.put(&key, canary::text("fourth"), options()).await;
    let error = expect_permanent(Operation::Put, ErrorKind::Denied, result);
    assert!(error.advice().contains("`patch` on `secret/metadata/write-only`"), "{error}");
    let kept = account.server.admin("GET", "secret/data/write-only", None).await;
    assert_eq!(kept["data"]["metadata"]["version"], 3);
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn a_mount_without_any_permission_is_denied() {
    let account = Account::with_policy("elsewhere", NOTHING).await;
    let mut config = account.config();
    config.mount = "no-such-mount".into();
    let (backend, key) = (open(config).await, path("key"));
    // The server does not tell a role without permissions what is mounted.
    expect_permanent(Operation::Get, ErrorKind::Denied, read(&backend, &key).await);
    expect_permanent(Operation::Put, ErrorKind::Denied, put(&backend, &key, "new").await);
    assert_eq!(account.logins(), 1);
}
