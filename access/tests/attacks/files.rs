//! The log's file: replaced, removed, damaged, edited while it is open, or not writable.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use strongroom_access::{Access, AccessConfig, Action, Actor, AuditFailure, AuditMode, KeySource};
use strongroom_core::{Backend as _, ErrorKind, PutOptions, Tier};

use crate::support::{Host, PATIENCE, in_file, path, read, refusal, wait_until};

fn database(folder: &Path) -> std::path::PathBuf {
    folder.join("access.db")
}

/// Edits the file as another program would.
fn edit(folder: &Path, sql: &str) -> usize {
    Connection::open(database(folder)).unwrap().execute(sql, []).unwrap()
}

/// A forged row after the last one.
const FORGED: &str = "INSERT INTO rows SELECT seq + 1, 1, time, event, tenant, principal, path, body, seq, is_rule, mac \
                      FROM rows ORDER BY seq DESC LIMIT 1";

async fn host(config: AccessConfig) -> Host {
    let host = Host::open(config).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:*"]).await;
    host
}

fn decides(actor: &Actor) -> bool {
    actor.explain(Action::Read, &path("a")).rule.is_some()
}

#[tokio::test]
async fn decisions_stop_when_a_rule_is_forged_and_stay_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(in_file(folder.path())).await;
    let actor = host.actor("acme/a/b");
    assert!(decides(&actor));
    assert_eq!(edit(folder.path(), FORGED), 1);
    wait_until("decisions stop", || !decides(&actor)).await;
    for _ in 0..100 {
        assert!(!decides(&actor), "a decision on rules that cannot be read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(host.rules.tokens().is_ok());
    let grant = strongroom_access::NewGrant::new(
        strongroom_access::Subject::parse("agent:b").unwrap(),
        crate::support::scopes(&["secrets:read"]),
        "a test",
    );
    assert_eq!(host.rules.create_grant(grant).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!decides(&actor));
    assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    host.access.close().await;
    assert_eq!(Access::open(in_file(folder.path())).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn decisions_stop_when_the_end_of_the_log_is_cut_off_or_exchanged() {
    for sql in [
        "DELETE FROM rows WHERE seq = (SELECT max(seq) FROM rows)",
        "DELETE FROM rows",
        "UPDATE rows SET mac = zeroblob(32) WHERE seq = (SELECT max(seq) FROM rows)",
        "UPDATE log SET first = 2",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let host = host(in_file(folder.path())).await;
        host.grant("agent:b", &["secrets:read"]).await;
        let actor = host.actor("acme/a/b");
        assert!(decides(&actor));
        assert!(edit(folder.path(), sql) > 0);
        wait_until(sql, || !decides(&actor)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!decides(&actor), "{sql}");
        let refused = refusal(&host.guard(actor), "a").await;
        assert_eq!(refused, Some(ErrorKind::Unavailable), "{sql}");
    }
}

#[tokio::test]
async fn a_rule_that_was_edited_is_found_when_the_log_is_opened_and_when_it_is_verified() {
    for sql in [
        "UPDATE rows SET body = CAST(replace(CAST(body AS TEXT), 'secrets:read', 'secrets:*') AS BLOB) WHERE seq = 1",
        "UPDATE rows SET tenant = 'other' WHERE seq = 1",
        "UPDATE rows SET event = 'grant.deleted' WHERE seq = 1",
        "UPDATE rows SET is_rule = 0 WHERE seq = 1",
        "DELETE FROM rows WHERE seq = 1",
        "DELETE FROM rows WHERE seq = 2",
        "UPDATE rows SET time = time + 1 WHERE seq = 1",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::open(in_file(folder.path())).await;
        for name in ["agent:a", "agent:b", "agent:c"] {
            host.grant(name, &["secrets:read:a"]).await;
        }
        assert_eq!(edit(folder.path(), sql), 1, "{sql}");
        let error = host.access.verify_audit(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}");
        host.access.close().await;
        let error = Access::open(in_file(folder.path())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_key_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    host(in_file(folder.path())).await.access.close().await;
    let other = KeySource::Key("MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=".into());
    let error =
        Access::open(AccessConfig::with_key(database(folder.path()), other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    for wrong in ["", "AAAA", "not base64"] {
        let key = KeySource::Key(wrong.into());
        let error =
            Access::open(AccessConfig::with_key(database(folder.path()), key)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let key = folder.path().join("access.key");
    fs::rename(&key, folder.path().join("away")).unwrap();
    assert_eq!(Access::open(in_file(folder.path())).await.unwrap_err().kind(), ErrorKind::Config);
    assert!(!key.exists());
    fs::rename(folder.path().join("away"), &key).unwrap();
    Access::open(in_file(folder.path())).await.unwrap();
}

#[tokio::test]
async fn decisions_stop_when_the_file_is_removed_or_replaced() {
    for replaces in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let host = host(in_file(folder.path()).max_age(Duration::from_secs(1))).await;
        let actor = host.actor("acme/a/b");
        fs::rename(database(folder.path()), folder.path().join("away")).unwrap();
        if replaces {
            fs::copy(folder.path().join("away"), database(folder.path())).unwrap();
        }
        let agent = host.guard(actor.clone());
        assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Unavailable));
        wait_until("decisions stop", || !decides(&actor)).await;
        // With the file back in its place, they go on.
        fs::rename(folder.path().join("away"), database(folder.path())).unwrap();
        wait_until("decisions go on", || decides(&actor)).await;
        read(&agent, "a").await.unwrap();
        host.verify().await;
    }
}

#[tokio::test]
async fn what_waits_is_kept_while_the_log_cannot_be_written_and_reads_stop() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_file(folder.path())
        .max_age(Duration::from_secs(3600))
        .audit_mode(AuditMode::Batched(Duration::from_millis(200)));
    let host = host(config).await;
    let agent = host.agent("acme/a/b");
    fs::rename(database(folder.path()), folder.path().join("away")).unwrap();
    let mut queued = 0;
    let stopped = loop {
        match read(&agent, "a").await {
            Ok(_) => queued += 1,
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(stopped.kind(), ErrorKind::Unavailable);
    // Reads stop when the log cannot be written, not when the queue of 10,000 is full.
    assert!((1..5000).contains(&queued), "{queued}");
    let put = agent.put(&path("a"), "two".into(), PutOptions::new()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    let stored = host.store.describe(&path("acme/a")).await.unwrap();
    assert_eq!(stored.version, 1.into(), "a write without a record");
    fs::rename(folder.path().join("away"), database(folder.path())).unwrap();
    wait_until("the log is written again", || decides(&host.actor("acme/a/b"))).await;
    let written = async {
        loop {
            let rows = host.access.verify_audit(Vec::new()).await.unwrap().rows;
            if rows > queued {
                break rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, written).await.unwrap(), queued + 1);
    read(&agent, "a").await.unwrap();
}

#[tokio::test]
async fn reads_go_on_without_a_record_only_where_it_is_configured_and_never_with_an_approval() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_file(folder.path())
        .max_age(Duration::from_secs(3600))
        .audit_failure(AuditFailure::ContinueReads);
    let host = host(config).await;
    host.put("acme/k", Tier::Critical).await;
    host.appoint(&["ann"]).await;
    let actor = host.actor("acme/a/b");
    let agent = host.guard(actor.clone());
    let pending = actor.rules().request_approval(crate::support::request("k")).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    let once = strongroom_access::NewToken::new(
        crate::support::scopes(&["secrets:read"]),
        crate::support::soon(),
        "a test",
    );
    let (_, once) = host.rules.issue_token(once.max_uses(1)).await.unwrap();
    let once = host.bearer(&once);
    fs::rename(database(folder.path()), folder.path().join("away")).unwrap();
    read(&agent, "a").await.unwrap();
    let unavailable = Some(ErrorKind::Unavailable);
    assert_eq!(refusal(&agent, "k").await, unavailable);
    assert_eq!(refusal(&once, "a").await, unavailable);
    let both = agent.get_many(&[path("a"), path("k")]).await;
    assert!(both[0].is_ok() && both[1].is_err());
    let put = agent.put(&path("a"), "two".into(), PutOptions::new()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(refusal(&host.agent("acme/none/x"), "a").await, Some(ErrorKind::Denied));
    fs::rename(folder.path().join("away"), database(folder.path())).unwrap();
    assert_eq!((refusal(&agent, "k").await, refusal(&once, "a").await), (None, None));
    host.verify().await;
}

#[tokio::test]
async fn reads_wait_for_a_lock_that_another_process_holds_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(in_file(folder.path()).max_age(Duration::from_secs(60))).await;
    let other = Connection::open(database(folder.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let agent = host.agent("acme/a/b");
    let reading = tokio::spawn(async move { read(&agent, "a").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!reading.is_finished(), "a read without a record");
    other.execute_batch("COMMIT").unwrap();
    reading.await.unwrap().unwrap();
    host.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_go_on_while_another_process_holds_the_write_lock() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(in_file(folder.path()).max_age(Duration::from_secs(3))).await;
    let actor = host.actor("acme/a/b");
    let other = Connection::open(database(folder.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let agent = host.guard(actor.clone());
    let writer = tokio::spawn(async move {
        for _ in 0..4 {
            let put = agent.put(&path("a"), "two".into(), PutOptions::new()).await;
            assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    });
    // Four writes wait for 1.5 s each: twice the time for which the rules may be used.
    while !writer.is_finished() {
        assert!(decides(&actor), "the rules are stale although the log can be read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    writer.await.unwrap();
    other.execute_batch("COMMIT").unwrap();
    read(&host.guard(actor), "a").await.unwrap();
    host.verify().await;
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_others_can_access_are_refused() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    host(in_file(folder.path())).await.access.close().await;
    for name in ["access.db", "access.key"] {
        let file = folder.path().join(name);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            Access::open(in_file(folder.path())).await.unwrap_err().kind(),
            ErrorKind::Config
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("access.key"), elsewhere.path().join("access.key")).unwrap();
    symlink(database(folder.path()), database(elsewhere.path())).unwrap();
    assert_eq!(
        Access::open(in_file(elsewhere.path())).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}

#[cfg(unix)]
#[tokio::test]
async fn members_of_the_group_that_is_set_may_read_the_key() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    host(in_file(folder.path())).await.access.close().await;
    let key = folder.path().join("access.key");
    let group = fs::metadata(&key).unwrap().gid();
    let open = async |mode: u32, group: u32| {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        Access::open(in_file(folder.path()).group(group)).await
    };
    open(0o440, group).await.unwrap().close().await;
    for (mode, group) in [(0o440, group + 1), (0o444, group), (0o460, group)] {
        let error = open(mode, group).await.unwrap_err();
        assert!(error.to_string().contains("AccessConfig::group"), "{error}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_closed_log_has_no_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(in_file(folder.path())).await;
    let files = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        names
    };
    // A query and a verification have connections of their own.
    assert_eq!(host.count("grant.created").await, 1);
    host.verify().await;
    assert!(files().len() > 2, "the log is open: {:?}", files());
    host.access.close().await;
    assert_eq!(files(), ["access.db", "access.key"]);
}
