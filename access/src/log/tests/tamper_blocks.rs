//! An attacker who changes blocks, or the indexes by which queries find rows.

use super::tamper::{new_log, raw, verify_error};
use super::*;

/// Puts other rows in the place of those from `seq` on that the new ones replace, with the MACs of the old.
fn replace(path: &std::path::Path, removed: &[u64], rows: &[Row]) {
    let raw = raw(path);
    for seq in removed {
        raw.execute("DELETE FROM rows WHERE seq = ?1", [seq]).unwrap();
    }
    for row in rows {
        let Row { seq, records, time, event, tenant, principal, path, body, .. } = row;
        let insert = "INSERT INTO rows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let values = rusqlite::params![
            seq,
            records,
            time,
            event,
            tenant,
            principal,
            path,
            body,
            row.last_rule,
            row.is_rule,
            row.mac
        ];
        raw.execute(insert, values).unwrap();
    }
}

/// A row with the place and the MAC of another one.
fn in_place_of(row: &Row, draft: Draft) -> Row {
    let Draft { records, time, event, tenant, principal, path, body, is_rule } = draft;
    Row { records, time, event, tenant, principal, path, body, is_rule, ..row.clone() }
}

#[test]
fn records_that_change_their_places_or_their_block_are_found() {
    let [a, b, c] = [("eve", Some("p/x"), "1"), ("bob", None, "2"), ("eve", Some("q"), "3")];
    let single = |own: &str| Draft { body: own.into(), ..draft("read", false) };
    let edits: [(&str, Vec<Draft>); 11] = [
        ("swapped", vec![block("read", &[b, a, c])]),
        ("a principal", vec![block("read", &[("bob", a.1, a.2), b, c])]),
        ("a path", vec![block("read", &[(a.0, Some("q"), a.2), b, c])]),
        ("a text", vec![block("read", &[a, b, (c.0, c.1, "4")])]),
        ("one less", vec![block("read", &[a, b])]),
        ("one more", vec![block("read", &[a, b, c, c])]),
        ("the count alone", vec![Draft { records: 2, ..three("read") }]),
        ("a row of one record", vec![Draft { records: 1, ..three("read") }]),
        ("split", vec![block("read", &[a, b]), single("3")]),
        ("split into rows", vec![single("1"), single("2"), single("3")]),
        ("of another tenant", vec![Draft { tenant: Some("b".into()), ..three("read") }]),
    ];
    for (name, drafts) in edits {
        let (_directory, path) = temporary();
        let (mut log, rows) = new_log(&path);
        assert_eq!(rows[4].body, three("read").body);
        let mut seq = 5;
        let edited: Vec<_> = drafts
            .into_iter()
            .map(|draft| {
                let row = Row { seq, ..in_place_of(&rows[4], draft) };
                seq += row.records;
                row
            })
            .collect();
        replace(&path, &[5], &edited);
        let found = verify_error(&mut log, &[]).expect(name);
        assert!(found.contains("row 5"), "{name}: {found}");
    }
}

#[test]
fn merged_and_dropped_blocks_are_found() {
    let six = [("eve", Some("p/x"), "1"), ("bob", None, "2"), ("eve", Some("q"), "3")].repeat(2);
    for (removed, kept) in [(&[1, 4][..], vec![block("b", &six)]), (&[1], vec![]), (&[4], vec![])] {
        let (_directory, path) = temporary();
        let mut log = SqliteLog::open(&path, true).unwrap();
        let rows = append(&mut log, &keys(), &[three("b"), three("b"), draft("c", false)]);
        verify(&mut log, &keys(), &[]).unwrap();
        let kept: Vec<_> = kept.into_iter().map(|draft| in_place_of(&rows[0], draft)).collect();
        replace(&path, removed, &kept);
        assert!(verify_error(&mut log, &[]).is_some(), "{removed:?}");
    }
}

/// A log of the same key that was continued in another way can have a block where the other one had an end.
#[test]
fn a_checkpoint_within_a_block_is_of_another_log() {
    on_each(|log, _| {
        let (keys, head) = (keys(), log.head().unwrap());
        let chain = Chain::new(&keys, &head.log_id);
        let short = chain.extend(head.tail(), [draft("a", true), draft("b", false)]);
        let (seq, mac, _) = short[1].tail();
        let text = sign_checkpoint(&keys, &head.log_id, seq, &mac, UNIX_EPOCH);
        let other = SignedCheckpoint::parse(&text).unwrap();
        append(log, &keys, &[draft("a", true), three("b")]);
        let own = checkpoint(log, &keys);
        for checkpoints in [vec![other.clone()], vec![other, own]] {
            let found = verify_error(log, &checkpoints).unwrap();
            assert!(found.contains("row 2 of the audit log is not the one"), "{found}");
        }
    });
}

/// SQLite answers a filtered read from an index, so a row that is missing there would be hidden.
#[test]
fn an_index_that_hides_a_row_is_found() {
    let by_path = RecordFilter {
        tenant: Some("acme".into()),
        path: Some(PathFilter::Exact("production/db".into())),
        ..RecordFilter::default()
    };
    for (index, columns, hidden) in [
        ("rows_by_path", "rows (tenant, path, seq) WHERE seq < 0", [1, 2, 3, 8, 9].as_slice()),
        ("blocks", "rows (tenant, seq) WHERE records > 9", &[10, 11]),
    ] {
        let (_directory, path) = temporary();
        let (mut log, _) = new_log(&path);
        append(&mut log, &keys(), &[block("b", &[("eve", Some("production/db"), "1"); 2])]);
        let query = |log: &mut SqliteLog| -> Vec<u64> {
            let page = log.records_between(0, 99, 99, &by_path).unwrap();
            page.iter().map(|record| record.seq).collect()
        };
        assert_eq!(query(&mut log), [1, 2, 3, 8, 9, 10, 11]);
        drop(log);
        let raw = raw(&path);
        // An index that an attacker has emptied, under the statement of the schema that fills it.
        raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
        raw.execute_batch(&format!(
            "PRAGMA writable_schema = ON;
             CREATE TABLE kept AS SELECT sql FROM sqlite_schema WHERE name = '{index}';
             DROP INDEX {index};
             CREATE INDEX {index} ON {columns};
             UPDATE sqlite_schema SET sql = (SELECT sql FROM kept) WHERE name = '{index}';
             DROP TABLE kept;"
        ))
        .unwrap();
        drop(raw);
        let mut log = SqliteLog::open(&path, false).unwrap();
        assert!(query(&mut log).iter().all(|seq| !hidden.contains(seq)), "{index} hides rows");
        assert!(verify_error(&mut log, &[]).unwrap().contains("an index"), "{index}");
    }
}
