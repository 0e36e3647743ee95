//! A process that is killed with `SIGKILL` while it appends.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// Holds the path of the log in the child.
const LOG: &str = "STRONGROOM_TEST_ACCESS_LOG";
const KILLS: u64 = 20;
/// How many acknowledged appends the parent waits for before it kills.
const APPENDS: usize = 30;

/// What the children of the tests below do: append for ever, and print each seq that is on disk.
#[test]
fn child() {
    let Some(path) = std::env::var_os(LOG) else { return };
    let mut log = SqliteLog::open(Path::new(&path), true).unwrap();
    println!();
    for step in 0_u64.. {
        let rows = append(&mut log, &keys(), &batch("a", step % 5 == 0));
        println!("seq {}", rows[2].seq);
    }
}

/// Five records, of which three are a block.
fn batch(event: &str, is_rule: bool) -> [Draft; 3] {
    [draft(event, is_rule), three("block"), draft("b", false)]
}

fn spawn(path: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::tests::crash::child", "--nocapture", "--test-threads=1"])
        .env(LOG, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// The last acknowledged seq of the next `count` whole lines.
fn wait_for(output: &mut impl std::io::BufRead, count: usize) -> Option<u64> {
    let seqs = output.lines().map_while(|line| {
        line.ok()?.strip_prefix("seq ").map_or(Some(None), |seq| Some(seq.parse().ok()))
    });
    seqs.flatten().take(count).last()
}

#[test]
fn a_killed_writer_loses_no_acknowledged_row() {
    let (_directory, path) = temporary();
    let mut kept = 0;
    for kill in 0..KILLS {
        let (mut child, mut output) = spawn(&path);
        let seen = wait_for(&mut output, 1 + usize::try_from(kill).unwrap() % APPENDS);
        child.kill().unwrap();
        child.wait().unwrap();
        // The pipe still holds what it acknowledged after that; the last line may be incomplete.
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut rest).unwrap();
        let whole = rest.rsplitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default();
        let acknowledged = wait_for(&mut &*whole, usize::MAX).max(seen).unwrap();
        let mut log = SqliteLog::open(&path, false).unwrap();
        let verification = verify(&mut log, &keys(), &[]).unwrap();
        assert!(verification.last >= acknowledged && acknowledged > kept, "{verification:?}");
        assert_eq!(verification.last % 5, 0, "a batch is whole or absent");
        read_rules(&mut log, &keys()).unwrap();
        kept = verification.last;
        append(&mut log, &keys(), &batch("parent", true));
    }
}

#[test]
fn two_processes_and_this_one_leave_no_gap() {
    let (_directory, path) = temporary();
    let mut log = SqliteLog::open(&path, true).unwrap();
    let mut children = [spawn(&path), spawn(&path)];
    for _ in 0..APPENDS {
        append(&mut log, &keys(), &[draft("parent", true)]);
        assert!(children.iter_mut().all(|(_, output)| wait_for(output, 1).is_some()));
    }
    assert!(log.changed().unwrap());
    for (child, _) in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let verification = verify(&mut log, &keys(), &[]).unwrap();
    let rows = read_all(&mut log);
    assert_eq!(verification.rows, rows.iter().map(|row| row.records).sum::<u64>());
    assert_eq!(rows.iter().filter(|row| row.event == "parent").count(), APPENDS);
    assert!(rows.iter().filter(|row| row.event == "b").count() >= 2 * APPENDS);
}
