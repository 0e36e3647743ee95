//! The file of checkpoints, and a log that was put back or replaced.

use std::fs;
use std::path::Path;
use std::time::Duration;

use strongroom_access::{Access, AccessConfig, SignedCheckpoint};
use strongroom_core::{Error, ErrorKind};

use crate::support::{Host, in_file, wait_until};

const HOUR: Duration = Duration::from_secs(3_600);

fn config(folder: &Path, interval: Duration) -> AccessConfig {
    in_file(folder).checkpoints(folder.join("checkpoints"), interval)
}

fn kept(folder: &Path) -> Vec<SignedCheckpoint> {
    let text = fs::read_to_string(folder.join("checkpoints")).unwrap();
    let (checkpoints, malformed) = SignedCheckpoint::parse_all(&text);
    assert_eq!(malformed, 0);
    checkpoints
}

/// Opens the rules, adds a grant and closes them. Returns the number of the last record.
async fn add(folder: &Path) -> u64 {
    let host = Host::open(config(folder, HOUR)).await;
    host.grant("agent:a", &["secrets:read"]).await;
    let last = host.last().await;
    host.access.close().await;
    last
}

async fn refusal(folder: &Path) -> Error {
    Access::open(config(folder, HOUR)).await.unwrap_err()
}

#[tokio::test]
async fn a_log_that_was_put_back_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (now, then) = (folder.path().join("access.db"), folder.path().join("yesterday.db"));
    let first = add(folder.path()).await;
    fs::copy(&now, &then).unwrap();
    let second = add(folder.path()).await;
    assert!(second > first);
    assert_eq!(kept(folder.path()).len(), 2, "one at each end");
    fs::rename(&now, folder.path().join("today.db")).unwrap();
    fs::rename(&then, &now).unwrap();
    let error = refusal(folder.path()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("older copy"), "{error}");
    fs::rename(folder.path().join("today.db"), &now).unwrap();
    assert!(add(folder.path()).await > second, "the right log opens again");
}

/// A process that does not know the file extends an older copy, and the MAC of the checkpoint is written into the row with
/// its number.
#[tokio::test]
async fn an_older_copy_that_was_extended_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (now, then) = (folder.path().join("access.db"), folder.path().join("yesterday.db"));
    add(folder.path()).await;
    fs::copy(&now, &then).unwrap();
    let last = add(folder.path()).await;
    let mac = |file: &Path| -> Vec<u8> {
        let log = rusqlite::Connection::open(file).unwrap();
        log.query_row("SELECT mac FROM rows WHERE seq = ?1", [last], |row| row.get(0)).unwrap()
    };
    let true_mac = mac(&now);
    fs::rename(&then, &now).unwrap();
    let host = Host::open(in_file(folder.path())).await;
    for agent in ["x", "y", "z"] {
        host.grant(&format!("agent:{agent}"), &["secrets:read"]).await;
    }
    assert!(host.last().await > last);
    host.access.close().await;
    assert_ne!(mac(&now), true_mac);
    assert_eq!(refusal(folder.path()).await.kind(), ErrorKind::Corrupt);
    let log = rusqlite::Connection::open(&now).unwrap();
    let edit = "UPDATE rows SET mac = ?1 WHERE seq = ?2";
    assert_eq!(log.execute(edit, (&true_mac, last)).unwrap(), 1);
    drop(log);
    assert_eq!(refusal(folder.path()).await.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_log_that_was_replaced_by_a_new_one_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path()).await;
    fs::remove_file(folder.path().join("access.db")).unwrap();
    let error = refusal(folder.path()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("the log was replaced"), "{error}");
}

#[tokio::test]
async fn a_verification_takes_the_checkpoints_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = add(folder.path()).await;
    let host = Host::open(config(folder.path(), HOUR)).await;
    host.grant("agent:b", &["secrets:read"]).await;
    let found = host.access.verify_audit(Vec::new()).await.unwrap();
    assert_eq!((found.checkpoints_checked, found.last_checkpointed), (1, Some(first)));
    // One that this log's key has not signed.
    let file = folder.path().join("checkpoints");
    let forge = |last: u64| {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&format!("\n{last}\n"), "\n1000\n")).unwrap();
    };
    forge(first);
    let error = host.access.verify_audit(Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let last = host.last().await;
    host.access.close().await;
    forge(last);
    assert_eq!(refusal(folder.path()).await.kind(), ErrorKind::Corrupt);
    fs::write(&file, "no checkpoint").unwrap();
    let error = refusal(folder.path()).await;
    assert!(error.to_string().contains("no checkpoint"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_whose_write_was_interrupted_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path()).await;
    let file = folder.path().join("checkpoints");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{}", &text[..text.len() / 2])).unwrap();
    let last = add(folder.path()).await;
    let host = Host::open(config(folder.path(), HOUR)).await;
    let found = host.access.verify_audit(Vec::new()).await.unwrap();
    assert_eq!((found.checkpoints_checked, found.last_checkpointed), (2, Some(last)));
    host.access.close().await;
}

#[tokio::test]
async fn checkpoints_are_written_at_each_interval_in_which_records_were_added() {
    let folder = tempfile::tempdir().unwrap();
    let second = Duration::from_secs(1);
    let host = Host::open(config(folder.path(), second)).await;
    for count in 1..=2 {
        host.grant("agent:a", &["secrets:read"]).await;
        let written = || kept(folder.path()).len() >= count;
        wait_until("a checkpoint", written).await;
    }
    let before = kept(folder.path()).len();
    tokio::time::sleep(2 * second).await;
    assert_eq!(kept(folder.path()).len(), before, "nothing was added");
    host.access.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused_at_once_and_stops_nothing_later() {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    {
        let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
        assert!(pipe.unwrap().success());
    }
    for file in [
        "none/checkpoints",
        "",
        #[cfg(unix)]
        "pipe",
    ] {
        let wrong = in_file(folder.path()).checkpoints(folder.path().join(file), HOUR);
        let error = Access::open(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("checkpoints"), "{error}");
    }
    let in_memory = AccessConfig::in_memory().checkpoints(folder.path().join("file"), HOUR);
    assert_eq!(Access::open(in_memory).await.unwrap_err().kind(), ErrorKind::Config);

    let second = Duration::from_secs(1);
    let host = Host::open(config(folder.path(), second)).await;
    let file = folder.path().join("checkpoints");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    host.grant("agent:a", &["secrets:read"]).await;
    tokio::time::sleep(2 * second).await;
    host.grant("agent:b", &["secrets:read"]).await;
    fs::remove_dir(&file).unwrap();
    let last = host.last().await;
    host.access.close().await;
    let host = Host::open(config(folder.path(), HOUR)).await;
    let found = host.access.verify_audit(Vec::new()).await.unwrap();
    assert_eq!(found.last_checkpointed, Some(last), "the one at the end covers the others");
    host.access.close().await;
}

#[tokio::test]
async fn a_log_that_must_exist_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let error = Access::open(in_file(folder.path()).create(false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    Access::open(in_file(folder.path())).await.unwrap().close().await;
    Access::open(in_file(folder.path()).create(false)).await.unwrap().close().await;
}
