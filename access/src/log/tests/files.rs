//! The file of a log: what is refused, and what a host notices.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;

use super::*;

fn refuse(path: &std::path::Path) -> String {
    let error = SqliteLog::open(path, true).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

#[test]
fn a_missing_log_is_created_only_if_asked_for() {
    let (directory, path) = temporary();
    let missing = || SqliteLog::open(&path, false).map(drop).unwrap_err();
    assert_eq!(missing().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    fs::write(&path, "").unwrap();
    assert_eq!(missing().kind(), ErrorKind::NotFound);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    fs::remove_file(&path).unwrap();
    append(&mut SqliteLog::open(&path, true).unwrap(), &keys(), &[draft("a", true)]);
    let mut log = SqliteLog::open(&path, true).unwrap();
    assert_eq!(read_all(&mut log).len(), 1);
    assert!(refuse(&directory.path().join("no/audit.db")).contains("does not exist"));
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_access_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, path) = temporary();
    let mut log = SqliteLog::open(&path, true).unwrap();
    append(&mut log, &keys(), &[draft("a", true)]);
    let files: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refuse(&path).contains("chmod 600"), "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    SqliteLog::open(&path, false).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_is_refused() {
    let (directory, path) = temporary();
    drop(SqliteLog::open(&path, true).unwrap());
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(refuse(&link).contains("not a link"));
    fs::remove_file(&link).unwrap();
    fs::hard_link(&path, &link).unwrap();
    assert!(refuse(&path).contains("hard link"));
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    assert!(refuse(&link).contains("not a regular file"));
    // A link to the folder is resolved.
    let folder = directory.path().join("folder");
    std::os::unix::fs::symlink(directory.path(), &folder).unwrap();
    SqliteLog::open(&folder.join("audit.db"), false).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_of_another_program_is_refused_unchanged() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, _) = temporary();
    let (database, text, byte) = (
        directory.path().join("foreign.db"),
        directory.path().join("text"),
        directory.path().join("byte"),
    );
    Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    fs::write(
        &text,
        "not a database, but longer than the header of one, which has one hundred bytes".repeat(2),
    )
    .unwrap();
    fs::write(&byte, "x").unwrap();
    for path in [database, text, byte] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(refuse(&path).contains("not an audit log"));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_log_of_a_newer_release_or_with_an_altered_schema_is_refused() {
    for (change, kind) in [
        ("PRAGMA user_version = 2", ErrorKind::Unsupported),
        ("PRAGMA application_id = 5", ErrorKind::Config),
        ("CREATE TABLE other (x)", ErrorKind::Corrupt),
        ("DROP INDEX rule_rows", ErrorKind::Corrupt),
        (
            "CREATE TRIGGER hide AFTER INSERT ON rows BEGIN DELETE FROM rows; END",
            ErrorKind::Corrupt,
        ),
    ] {
        let (_directory, path) = temporary();
        drop(SqliteLog::open(&path, true).unwrap());
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let error = SqliteLog::open(&path, true).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{change}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_was_removed_or_replaced_is_noticed() {
    for replace in [false, true] {
        let (directory, path) = temporary();
        let mut log = SqliteLog::open(&path, true).unwrap();
        let rows = append(&mut log, &keys(), &[draft("a", true)]);
        fs::rename(&path, directory.path().join("moved.db")).unwrap();
        if replace {
            fs::write(&path, "").unwrap();
        }
        let next = Row { seq: 2, ..rows[0].clone() };
        for error in [
            log.head().map(drop).unwrap_err(),
            log.changed().map(drop).unwrap_err(),
            log.append(1, &[next], None).map(drop).unwrap_err(),
            verify(&mut log, &keys(), &[]).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(!error.is_temporary(), "{error}");
        }
    }
}

#[test]
fn a_full_disk_leaves_the_log_whole_and_usable() {
    let (_directory, path) = temporary();
    let mut log = SqliteLog::open(&path, true).unwrap();
    append(&mut log, &keys(), &[draft("a", true)]);
    let pages: i64 =
        log.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |log: &mut SqliteLog, pages: i64| {
        log.connection()
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    };
    limit(&mut log, pages + 1);
    let large = Draft { body: vec![b'x'; 20_000], ..draft("large", false) };
    for _ in 0..3 {
        let head = log.head().unwrap();
        let rows = Chain::new(&keys(), &head.log_id)
            .extend(head.tail(), [draft("small", true), large.clone()]);
        let error = log.append(1, &rows, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(verify(&mut log, &keys(), &[]).unwrap().last, 1);
    }
    // A small row still fits, and more once there is space.
    append(&mut log, &keys(), &[draft("small", true)]);
    limit(&mut log, 1_000_000);
    append(&mut log, &keys(), &[large]);
    assert_eq!(verify(&mut log, &keys(), &[]).unwrap().last, 3);
    assert_eq!(read_all(&mut SqliteLog::open(&path, false).unwrap()).len(), 3);
}

#[test]
fn a_write_lock_that_stays_taken_is_an_error_that_passes() {
    let (_directory, path) = temporary();
    let mut log = SqliteLog::open(&path, true).unwrap();
    log.connection().busy_timeout(Duration::ZERO).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let head = log.head().unwrap();
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("a", true)]);
    let error = log.append(0, &rows, None).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(log.append(0, &rows, None).unwrap(), Appended::Done);
}

#[test]
fn filtered_reads_use_an_index() {
    use crate::log::sqlite::explain;
    let (_directory, path) = temporary();
    let mut log = SqliteLog::open(&path, true).unwrap();
    let tenant = RecordFilter { tenant: Some("t".into()), ..RecordFilter::default() };
    let path = RecordFilter { path: Some(PathFilter::Exact("p".into())), ..tenant.clone() };
    let below = RecordFilter { path: Some(PathFilter::Below("p".into())), ..tenant.clone() };
    let principal = RecordFilter { principal: Some("p".into()), ..tenant.clone() };
    let range = &["INTEGER PRIMARY KEY (rowid>? AND rowid<?)"][..];
    let blocks = "INDEX blocks (tenant=? AND seq>? AND seq<?)";
    for (filter, indexes) in [
        (RecordFilter::default(), range),
        (tenant, range),
        (below, range),
        (path, &["INDEX rows_by_path (tenant=? AND path=? AND seq>? AND seq<?)", blocks]),
        (
            principal,
            &["INDEX rows_by_principal (tenant=? AND principal=? AND seq>? AND seq<?)", blocks],
        ),
    ] {
        let plan = explain(&mut log, &filter);
        assert!(indexes.iter().all(|index| plan.contains(index)), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
