//! An attacker who can write the file, but has no key.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::*;

const COLUMNS: [&str; 11] = [
    "seq",
    "records",
    "time",
    "event",
    "tenant",
    "principal",
    "path",
    "body",
    "last_rule",
    "is_rule",
    "mac",
];
/// Where the rows of [`fill`] begin, and where they end.
const SEQS: [u64; 7] = [1, 2, 3, 4, 5, 8, 9];

/// A log of seven rows, among them rules at 1, 3 and 8, and a block of three records at 5.
fn fill(log: &mut dyn LogStore) -> Vec<Row> {
    let nothing = Draft { tenant: None, path: None, body: Vec::new(), ..draft("e", false) };
    append(
        log,
        &keys(),
        &[
            draft("rule.a", true),
            draft("read", false),
            draft("rule.b", true),
            nothing,
            three("read"),
            draft("rule.c", true),
            draft("list", false),
        ],
    )
}

pub(super) fn new_log(path: &Path) -> (SqliteLog, Vec<Row>) {
    let mut log = SqliteLog::open(path, true).unwrap();
    let rows = fill(&mut log);
    (log, rows)
}

/// A connection that does what an attacker could.
pub(super) fn raw(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection
}

pub(super) fn verify_error(
    log: &mut dyn LogStore,
    checkpoints: &[SignedCheckpoint],
) -> Option<String> {
    let error = verify(log, &keys(), checkpoints).err()?;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    Some(error.to_string())
}

fn rules_error(log: &mut dyn LogStore) -> Option<String> {
    let error = read_rules(log, &keys()).err()?;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    Some(error.to_string())
}

/// Every value that differs from `value` in one bit, or in being absent.
fn alter(value: &Value) -> Vec<Value> {
    let flip = |bytes: &[u8]| -> Vec<Vec<u8>> {
        (0..bytes.len() * 8)
            .map(|bit| {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped
            })
            .collect()
    };
    match value {
        Value::Null => vec![Value::Blob(Vec::new())],
        Value::Integer(number) => (0..64).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
        Value::Text(text) => {
            let longer = [text.as_bytes(), b"x"].concat();
            let others = flip(text.as_bytes()).into_iter().chain([longer]).map(Value::Blob);
            others.chain([Value::Null]).collect()
        }
        Value::Blob(bytes) => {
            let mut longer = bytes.clone();
            longer.push(0);
            flip(bytes).into_iter().chain([longer]).map(Value::Blob).collect()
        }
        Value::Real(_) => panic!("no column is a number with a fraction"),
    }
}

/// Alters each bit of a column, lets `check` look at the log, and restores the column.
fn alter_column(
    raw: &Connection,
    table: &str,
    column: &str,
    row: i64,
    mut check: impl FnMut(&Value),
) {
    let is_text = ["event", "tenant", "principal", "path"].contains(&column);
    let place = if is_text { "CAST(?1 AS TEXT)" } else { "?1" };
    let select = format!("SELECT {column} FROM {table} WHERE rowid = ?1");
    let update = format!("UPDATE {table} SET {column} = {place} WHERE rowid = ?2");
    let original: Value = raw.query_row(&select, [row], |row| row.get(0)).unwrap();
    for altered in alter(&original) {
        // The number of another row, or an absent value where one is required.
        if raw.execute(&update, (&altered, row)).is_err() {
            continue;
        }
        check(&altered);
        let moved = match (&altered, column) {
            (Value::Integer(seq), "seq") => *seq,
            _ => row,
        };
        assert_eq!(raw.execute(&update, (&original, moved)).unwrap(), 1);
    }
}

#[test]
fn every_bit_of_every_column_is_verified() {
    let (_directory, path) = temporary();
    let (mut log, _) = new_log(&path);
    let raw = raw(&path);
    for pruned in [false, true] {
        if pruned {
            append_and_prune(&mut log, &keys(), &[prune(3), draft("read", false)], Some(3));
        }
        let rows = read_all(&mut log);
        let mut flips = 0;
        for (index, row) in rows.iter().enumerate() {
            // A prune makes its own row and the first that is kept differ from other rows.
            if pruned && row.seq != 3 && row.event != PRUNED {
                continue;
            }
            for column in COLUMNS {
                let seq = i64::try_from(row.seq).unwrap();
                alter_column(&raw, "rows", column, seq, |altered| {
                    let found = verify_error(&mut log, &[]);
                    assert!(found.is_some(), "{column} of row {seq}: {altered:?}");
                    // Opening notices an altered rule, and an altered last row.
                    if row.is_rule || index == rows.len() - 1 {
                        let found = rules_error(&mut log);
                        assert!(found.is_some(), "{column} of rule {seq}: {altered:?}");
                    }
                    flips += 1;
                });
            }
        }
        for column in ["log_id", "first", "before_first"] {
            alter_column(&raw, "log", column, 1, |altered| {
                assert!(verify_error(&mut log, &[]).is_some(), "{column}: {altered:?}");
                // The MAC before the first row matters to that row alone, which need not be a rule.
                assert!(rules_error(&mut log).is_some(), "{column}: {altered:?}");
                flips += 1;
            });
        }
        assert!(flips > 1500, "{flips}");
        assert_eq!(verify_error(&mut log, &[]), None);
        assert_eq!(rules_error(&mut log), None);
    }
}

#[test]
fn a_removed_row_is_found() {
    for seq in SEQS {
        let (_directory, path) = temporary();
        let (mut log, rows) = new_log(&path);
        let checkpoint = checkpoint(&mut log, &keys());
        raw(&path).execute("DELETE FROM rows WHERE seq = ?1", [seq]).unwrap();
        assert!(verify_error(&mut log, std::slice::from_ref(&checkpoint)).is_some(), "{seq}");
        // Without a checkpoint, the log may well have ended with the row before.
        let found = verify_error(&mut log, &[]);
        assert_eq!(found.is_some(), seq != 9, "{seq}");
        if let Some(found) = found {
            let named = if seq == 1 {
                "begins with row 2"
            } else {
                &format!("row {seq} of the audit log is missing")
            };
            assert!(found.contains(named), "{found}");
        }
        let is_rule = rows.iter().any(|row| row.seq == seq && row.is_rule);
        assert!(!is_rule || rules_error(&mut log).is_some(), "{seq}");
    }
}

#[test]
fn swapped_rows_are_found() {
    let pairs = SEQS.iter().flat_map(|one| SEQS.map(|other| (*one, other)));
    for (one, other) in pairs.filter(|(one, other)| one < other) {
        let (_directory, path) = temporary();
        let (mut log, _) = new_log(&path);
        let raw = raw(&path);
        for (from, to) in [(one, 100), (other, one), (100, other)] {
            raw.execute("UPDATE rows SET seq = ?2 WHERE seq = ?1", (from, to)).unwrap();
        }
        let found = verify_error(&mut log, &[]).unwrap();
        assert!(found.contains(&format!("row {one}")), "{found}");
        assert!(found.contains("fails authentication"), "{found}");
    }
}

/// Without a checkpoint, no verification can find it: the log has looked like that once.
#[test]
fn a_cut_end_is_found_with_a_checkpoint() {
    for seq in SEQS {
        let last = seq - 1;
        let (_directory, path) = temporary();
        let (mut log, rows) = new_log(&path);
        let newest = checkpoint(&mut log, &keys());
        raw(&path).execute("DELETE FROM rows WHERE seq > ?1", [last]).unwrap();
        let found = verify_error(&mut log, &[newest]).unwrap();
        assert!(
            found.contains(&format!("row {} and those after it were cut off", last + 1)),
            "{found}"
        );
        let verification = verify(&mut log, &keys(), &[]).unwrap();
        assert_eq!(verification.last, last);
        let kept = rows.iter().filter(|row| row.is_rule && row.seq <= last).count();
        assert_eq!(read_rules(&mut log, &keys()).unwrap().1.len(), kept);
    }
}

#[test]
fn a_cut_beginning_is_found() {
    for (index, first) in SEQS.into_iter().enumerate().skip(1) {
        let (_directory, path) = temporary();
        let (mut log, rows) = new_log(&path);
        let raw = raw(&path);
        raw.execute("DELETE FROM rows WHERE seq < ?1", [first]).unwrap();
        assert!(verify_error(&mut log, &[]).unwrap().contains("begins with row"));
        // As a prune would leave it, but no row records one.
        let before_first = rows[index - 1].mac;
        raw.execute("UPDATE log SET first = ?1, before_first = ?2", (first, before_first)).unwrap();
        for found in [verify_error(&mut log, &[]), rules_error(&mut log)] {
            assert!(found.unwrap().contains("must begin with row 1"));
        }
    }
}

#[test]
fn a_beginning_that_is_cut_after_a_prune_is_found() {
    for first in [4, 5, 8, 9, 10, 11_u64] {
        let (_directory, path) = temporary();
        let (mut log, _) = new_log(&path);
        append_and_prune(&mut log, &keys(), &[prune(3), draft("read", false)], Some(3));
        let before_first = log.mac_of(first - 1).unwrap().unwrap();
        let raw = raw(&path);
        raw.execute("DELETE FROM rows WHERE seq < ?1", [first]).unwrap();
        raw.execute("UPDATE log SET first = ?1, before_first = ?2", (first, before_first)).unwrap();
        assert!(verify_error(&mut log, &[]).is_some(), "{first}");
        assert!(rules_error(&mut log).is_some(), "{first}");
    }
}

#[test]
fn a_log_without_its_rows_is_found() {
    let (_directory, path) = temporary();
    let (mut log, _) = new_log(&path);
    append_and_prune(&mut log, &keys(), &[prune(3)], Some(3));
    raw(&path).execute("DELETE FROM rows", []).unwrap();
    assert!(verify_error(&mut log, &[]).unwrap().contains("all rows"));
    raw(&path).execute("DELETE FROM log", []).unwrap();
    assert!(verify_error(&mut log, &[]).unwrap().contains("is empty"));
}

#[test]
fn a_forged_or_copied_row_is_found() {
    for after in 0..=7 {
        let (_directory, path) = temporary();
        let (mut log, rows) = new_log(&path);
        let head = log.head().unwrap();
        let (before, moved) = rows.split_at(after);
        let tail = before.last().map_or((0, START, 0), Row::tail);
        let forged =
            Chain::new(&Keys::new(&[9; 32]), &head.log_id).extend(tail, [draft("rule.x", true)]);
        let mut copied = rows[0].clone();
        copied.seq = tail.0 + 1;
        let raw = raw(&path);
        for inserted in [&forged[0], &copied] {
            raw.execute("DELETE FROM rows", []).unwrap();
            let mut all = before.to_vec();
            all.push(inserted.clone());
            all.extend(moved.iter().map(|row| Row { seq: row.seq + 1, ..row.clone() }));
            assert_eq!(log.append(0, &all, None).unwrap(), Appended::Done);
            let found = verify_error(&mut log, &[]).unwrap();
            // A copy of row 1 in its place is row 1; the one after it is wrong.
            let is_same = all.first() == rows.first() && after == 0;
            let first_wrong = if is_same { 2 } else { tail.0 + 1 };
            let named = format!("row {first_wrong} of the audit log fails");
            assert!(found.contains(&named), "{found}");
            assert!(rules_error(&mut log).is_some());
        }
    }
}

#[test]
fn a_replaced_log_is_found_with_a_checkpoint() {
    let (_directory, path) = temporary();
    let (mut log, _) = new_log(&path);
    let older = checkpoint(&mut log, &keys());
    append(&mut log, &keys(), &[draft("read", false)]);
    let newest = checkpoint(&mut log, &keys());
    assert_eq!(
        verify(&mut log, &keys(), &[newest.clone(), older.clone()]).unwrap().checkpoints_checked,
        2
    );

    // Another log under the same key, as long as the first.
    let (_other_directory, other_path) = temporary();
    let (mut other, _) = new_log(&other_path);
    append(&mut other, &keys(), &[draft("read", false)]);
    let found = verify_error(&mut other, std::slice::from_ref(&newest)).unwrap();
    assert!(found.contains("the log was replaced"), "{found}");

    // An older copy that a process with the key has continued.
    raw(&path).execute("DELETE FROM rows WHERE seq > 5", []).unwrap();
    append(&mut log, &keys(), &[draft("x", false), draft("y", false), draft("z", false)]);
    let found = verify_error(&mut log, &[newest, older]).unwrap();
    assert!(found.contains("row 9 of the audit log is not the one of the checkpoint"), "{found}");
    assert_eq!(verify_error(&mut log, &[]), None);
}

#[test]
fn a_checkpoint_that_is_not_signed_by_the_key_of_the_log_is_refused() {
    let (_directory, path) = temporary();
    let (mut log, _) = new_log(&path);
    let forged = checkpoint(&mut log, &Keys::new(&[9; 32]));
    assert!(verify_error(&mut log, &[forged]).unwrap().contains("not signed"));
}
