//! What all logs do alike. The files beside this one test what only one kind of log can suffer.

mod blocks;
mod crash;
mod files;
#[cfg(feature = "postgres")]
mod postgres;
mod tamper;
mod tamper_blocks;

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use strongroom_core::ErrorKind;
use tempfile::TempDir;

use super::block::BlockWriter;
use super::chain::Chain;
use super::checkpoint::{SignedCheckpoint, sign_checkpoint};
use super::keys::Keys;
use super::memory::MemoryLog;
use super::rules::read_rules;
use super::sqlite::SqliteLog;
use super::verify::verify;
use super::{
    Appended, Draft, Head, LogStore, PRUNED, PathFilter, Record, RecordFilter, Result, Row, RowMac,
    START,
};

fn keys() -> Keys {
    Keys::new(&[7; 32])
}

fn draft(event: &str, is_rule: bool) -> Draft {
    Draft {
        records: 1,
        time: 1_790_000_000_000,
        event: event.into(),
        tenant: Some("acme".into()),
        principal: "person:acme/eve".into(),
        path: Some("production/db".into()),
        body: br#"{"ok":true}"#.to_vec(),
        is_rule,
    }
}

/// A record of a block: its principal, its path, and what its body has for itself.
type Entry<'a> = (&'a str, Option<&'a str>, &'a str);

/// A block like the rows of [`draft`].
fn block(event: &str, entries: &[Entry<'_>]) -> Draft {
    let mut block = BlockWriter::new();
    for (principal, path, own) in entries {
        let template = || Ok::<_, ()>((br#"{"id":""#.to_vec(), br#""}"#.to_vec()));
        block.push(principal, *path, own.as_bytes(), (), template).unwrap();
    }
    let (principal, path) = (String::new(), None);
    Draft { records: block.records(), principal, path, body: block.finish(), ..draft(event, false) }
}

/// A block of three records.
fn three(event: &str) -> Draft {
    block(event, &[("eve", Some("p/x"), "1"), ("bob", None, "2"), ("eve", Some("q"), "3")])
}

fn prune(before: u64) -> Draft {
    Draft { body: format!(r#"{{"before":{before}}}"#).into(), ..draft(PRUNED, true) }
}

/// Appends as the appender does: reads where the log ends, builds the rows, and again if it has moved.
fn append(store: &mut dyn LogStore, keys: &Keys, drafts: &[Draft]) -> Vec<Row> {
    append_and_prune(store, keys, drafts, None)
}

fn append_and_prune(
    store: &mut dyn LogStore,
    keys: &Keys,
    drafts: &[Draft],
    prune_before: Option<u64>,
) -> Vec<Row> {
    loop {
        let head = store.head().unwrap();
        let rows = Chain::new(keys, &head.log_id).extend(head.tail(), drafts.iter().cloned());
        if store.append(head.tail().0, &rows, prune_before).unwrap() == Appended::Done {
            return rows;
        }
    }
}

fn read_all(store: &mut dyn LogStore) -> Vec<Row> {
    store.rows_after(0, usize::MAX).unwrap()
}

/// A checkpoint of the log as it is now.
fn checkpoint(store: &mut dyn LogStore, keys: &Keys) -> SignedCheckpoint {
    let head = store.head().unwrap();
    let (seq, mac, _) = head.tail();
    SignedCheckpoint::parse(&sign_checkpoint(keys, &head.log_id, seq, &mac, UNIX_EPOCH)).unwrap()
}

fn temporary() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    (directory, path)
}

/// Runs a test on each kind of log, with two handles to the same one.
fn on_each(test: impl Fn(&mut dyn LogStore, &mut dyn LogStore)) {
    let mut memory = MemoryLog::new().unwrap();
    test(&mut memory.clone(), &mut memory);
    let (_directory, path) = temporary();
    let mut file = SqliteLog::open(&path, true).unwrap();
    test(&mut SqliteLog::open(&path, false).unwrap(), &mut file);
    #[cfg(feature = "postgres")]
    {
        use super::postgres::PostgresLog;
        let database = postgres::Database::new().location();
        let mut log = PostgresLog::open(&database, true).unwrap();
        test(&mut PostgresLog::open(&database, false).unwrap(), &mut log);
    }
}

#[test]
fn an_empty_log_verifies() {
    on_each(|log, _| {
        let head = log.head().unwrap();
        assert_eq!((head.first, head.before_first, head.last), (1, START, None));
        assert_eq!(head.tail(), (0, START, 0));
        let of_nothing = checkpoint(log, &keys());
        let verification = verify(log, &keys(), &[of_nothing]).unwrap();
        assert_eq!((verification.first, verification.last, verification.rows), (1, 0, 0));
        assert_eq!(read_rules(log, &keys()).unwrap().1, []);
    });
}

#[test]
fn rows_are_read_as_they_were_appended() {
    on_each(|log, other| {
        let nothing = Draft { tenant: None, path: None, body: Vec::new(), ..draft("b", true) };
        let rows = append(log, &keys(), &[draft("a", false), nothing, draft("c", false)]);
        assert_eq!(read_all(other), rows);
        assert_eq!(other.rows_after(1, 1).unwrap(), rows[1..2]);
        assert_eq!(other.rows_after(u64::MAX, 1).unwrap(), []);
        assert_eq!(other.head().unwrap().last, Some((3, rows[2].mac, 2)));
        let macs: Vec<Option<RowMac>> = (0..5).map(|seq| other.mac_of(seq).unwrap()).collect();
        let [a, b, c] = [0, 1, 2].map(|index: usize| Some(rows[index].mac));
        assert_eq!(macs, [Some(START), a, b, c, None]);
    });
}

#[test]
fn an_append_writes_nothing_if_another_writer_was_first() {
    on_each(|log, other| {
        let head = log.head().unwrap();
        let late = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("late", true)]);
        let rows = append(other, &keys(), &[draft("early", true)]);
        assert_eq!(log.append(0, &late, None).unwrap(), Appended::Moved);
        assert_eq!(log.append(2, &[], None).unwrap(), Appended::Moved);
        assert_eq!(log.append(1, &[], None).unwrap(), Appended::Done);
        assert_eq!(read_all(log), rows);
    });
}

#[test]
fn a_handle_notices_the_appends_of_others_alone() {
    on_each(|log, other| {
        assert!(!log.changed().unwrap());
        append(log, &keys(), &[draft("a", false)]);
        assert!(!log.changed().unwrap());
        append(other, &keys(), &[draft("b", false)]);
        append(log, &keys(), &[draft("c", false)]);
        assert!(log.changed().unwrap());
        assert!(!log.changed().unwrap());
    });
}

#[test]
fn rows_that_do_not_continue_the_log_are_refused() {
    on_each(|log, _| {
        let rows = append(log, &keys(), &[draft("a", false), draft("b", false)]);
        let head = log.head().unwrap();
        let chain = Chain::new(&keys(), &head.log_id);
        let mut extend = |draft: Draft, before| {
            let rows = chain.extend(head.tail(), [draft]);
            log.append(2, &rows, before).unwrap_err()
        };
        let not_a_rule = Draft { is_rule: false, ..prune(2) };
        for (draft, before) in [
            (draft("c", false), Some(2)),
            (prune(2), None),
            (prune(2), Some(1)),
            (prune(4), Some(4)),
            (prune(0), Some(0)),
            (not_a_rule, Some(2)),
            (Draft { body: b"{}".to_vec(), ..prune(2) }, Some(2)),
            (Draft { records: 0, ..draft("c", false) }, None),
        ] {
            assert_eq!(extend(draft, before).kind(), ErrorKind::Internal);
        }
        assert_eq!(log.append(2, &rows, None).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(read_all(log), rows);
    });
}

#[test]
fn a_pruned_log_verifies_and_is_pruned_again() {
    on_each(|log, other| {
        let keys = keys();
        append(log, &keys, &[draft("a", true), draft("b", false), draft("c", true)]);
        let old = checkpoint(log, &keys);
        for before in [3, 3, 5, 7] {
            append_and_prune(log, &keys, &[prune(before), draft("d", false)], Some(before));
            append(other, &keys, &[draft("e", true)]);
            let rows = read_all(other);
            assert_eq!(rows[0].seq, before);
            let checkpoints = [old.clone(), checkpoint(log, &keys)];
            let verification = verify(other, &keys, &checkpoints).unwrap();
            assert_eq!((verification.first, verification.last), (before, rows[rows.len() - 1].seq));
            assert_eq!(verification.rows, u64::try_from(rows.len()).unwrap());
            // The checkpoint of row 3 is checked while that or the MAC of the row before the first is kept.
            assert_eq!(verification.checkpoints_checked, if before <= 4 { 2 } else { 1 });
            assert_eq!(verification.last_checkpointed, Some(verification.last));
            let rules: Vec<_> = rows.into_iter().filter(|row| row.is_rule).collect();
            assert_eq!(read_rules(log, &keys).unwrap().1, rules);
        }
        let earlier = log.head().unwrap();
        let rows = Chain::new(&keys, &earlier.log_id).extend(earlier.tail(), [prune(2)]);
        let refused = log.append(earlier.tail().0, &rows, Some(2)).unwrap_err();
        assert_eq!((refused.kind(), log.head().unwrap()), (ErrorKind::Internal, earlier));
    });
}

#[test]
fn a_prune_can_keep_its_own_row_alone() {
    on_each(|log, _| {
        append(log, &keys(), &[draft("a", true), draft("b", true)]);
        let kept = append_and_prune(log, &keys(), &[prune(3)], Some(3));
        assert_eq!(read_all(log), kept);
        assert_eq!(verify(log, &keys(), &[]).unwrap().first, 3);
        assert_eq!(read_rules(log, &keys()).unwrap().1, kept);
    });
}

#[test]
fn writers_on_threads_leave_no_gap() {
    const EACH: usize = 40;
    let (_directory, path) = temporary();
    drop(SqliteLog::open(&path, true).unwrap());
    let memory = MemoryLog::new().unwrap();
    let kinds: &[Box<dyn Fn() -> Box<dyn LogStore> + Sync>] = &[
        Box::new(move || Box::new(memory.clone())),
        Box::new(move || Box::new(SqliteLog::open(&path, false).unwrap())),
        #[cfg(feature = "postgres")]
        {
            let database = postgres::Database::new().location();
            let open = move || super::postgres::PostgresLog::open(&database, true).unwrap();
            Box::new(move || Box::new(open()))
        },
    ];
    for open in kinds {
        std::thread::scope(|scope| {
            for event in ["a", "b", "c"] {
                scope.spawn(move || {
                    let mut log = open();
                    for number in 0..EACH {
                        append(
                            &mut *log,
                            &keys(),
                            &[draft(event, number % 7 == 0), draft(event, false)],
                        );
                    }
                });
            }
        });
        let mut log = open();
        let rows = read_all(&mut *log);
        assert_eq!(rows.len(), 6 * EACH);
        for event in ["a", "b", "c"] {
            assert_eq!(rows.iter().filter(|row| row.event == event).count(), 2 * EACH);
        }
        assert_eq!(verify(&mut *log, &keys(), &[]).unwrap().rows, 240);
        assert_eq!(read_rules(&mut *log, &keys()).unwrap().1.len(), 18);
    }
}

/// Counts the rows that pass.
struct Counting(MemoryLog, usize);

impl LogStore for Counting {
    fn head(&mut self) -> Result<Head> {
        self.0.head()
    }

    fn rows_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        let rows = self.0.rows_after(seq, limit)?;
        self.1 += rows.len();
        Ok(rows)
    }

    fn rules_after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>> {
        let rows = self.0.rules_after(seq, limit)?;
        self.1 += rows.len();
        Ok(rows)
    }

    fn row_with(&mut self, seq: u64) -> Result<Option<Row>> {
        self.1 += 1;
        self.0.row_with(seq)
    }

    fn records_between(
        &mut self,
        after: u64,
        last: u64,
        limit: usize,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>> {
        let records = self.0.records_between(after, last, limit, filter)?;
        self.1 += records.len();
        Ok(records)
    }

    fn mac_of(&mut self, seq: u64) -> Result<Option<RowMac>> {
        self.1 += 1;
        self.0.mac_of(seq)
    }

    fn append(&mut self, after: u64, rows: &[Row], before: Option<u64>) -> Result<Appended> {
        self.0.append(after, rows, before)
    }

    fn changed(&mut self) -> Result<bool> {
        self.0.changed()
    }

    fn check_indexes(&mut self) -> Result<()> {
        self.0.check_indexes()
    }
}

#[test]
fn reading_the_rules_of_a_long_log_costs_what_the_rules_cost() {
    let mut log = Counting(MemoryLog::new().unwrap(), 0);
    let drafts: Vec<_> = (0..5000).map(|number| draft("a", number % 2500 == 100)).collect();
    append(&mut log, &keys(), &drafts);
    let (head, rules) = read_rules(&mut log, &keys()).unwrap();
    assert_eq!((head.tail().0, rules.len()), (5000, 2));
    assert_eq!(log.1, 6, "each rule and the last row, and the MAC before it");
}

#[test]
fn more_rows_than_a_page_are_verified() {
    let mut log = MemoryLog::new().unwrap();
    let drafts: Vec<_> = (0..2000).map(|_| draft("a", true)).collect();
    append(&mut log, &keys(), &drafts);
    let early = checkpoint(&mut log, &keys());
    append(&mut log, &keys(), &[draft("a", true)]);
    let verification = verify(&mut log, &keys(), &[early]).unwrap();
    assert_eq!((verification.rows, verification.last_checkpointed), (2001, Some(2000)));
    assert_eq!(read_rules(&mut log, &keys()).unwrap().1.len(), 2001);
    assert!(verify(&mut log, &Keys::new(&[8; 32]), &[]).is_err(), "of another key");
}
