//! Connections that break or stall, locks that stay, and a server that is killed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use strongroom_testkit::proxy::Proxy;

use super::*;

/// The longest wait for a condition, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn proxy() -> Proxy {
    let _runtime = runtime().enter();
    Proxy::new(server().address())
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "a condition does not hold in time");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_url_with_several_hosts_leads_to_the_first_that_answers() {
    let database = Database::new();
    let address = server().address();
    let mut log = PostgresLog::open(&database.at(&format!("127.0.0.1:1,{address}")), true).unwrap();
    append(&mut log, &keys(), &[draft("a", true)]);
    // One that accepts connections and gives no answer.
    let stalled = proxy();
    stalled.stall();
    let location = database.at(&format!("{},{address}", stalled.address()));
    let mut log = PostgresLog::open(&location, false).unwrap();
    assert_eq!(read_all(&mut log).len(), 1);
}

#[test]
fn a_writer_waits_for_a_lock_no_longer_than_it_may() {
    let database = Database::new();
    let mut log = database.open().limit_wait(Duration::from_millis(600)).unwrap();
    append(&mut log, &keys(), &[draft("a", true)]);
    let head = log.head().unwrap();
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("b", true)]);
    let release = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            database.sql(
                "DO $$ BEGIN PERFORM FROM strongroom_access.head FOR UPDATE; \
                 PERFORM pg_advisory_lock(1); PERFORM pg_sleep(5); END $$",
            );
            release.store(true, Ordering::SeqCst);
        });
        wait_until(|| {
            database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "0"
        });
        let error = log.append(1, &rows, None).unwrap_err();
        assert!(!release.load(Ordering::SeqCst), "the lock was held");
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error}");
        // Readers do not wait.
        assert_eq!(log.head().unwrap(), head);
    });
    assert_eq!(log.append(1, &rows, None).unwrap(), Appended::Done);
}

/// Appends a row, on the condition that the log ends where it did.
fn try_append(log: &mut PostgresLog, event: &str) -> Result<(Row, Appended)> {
    let head = log.head()?;
    let mut rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft(event, true)]);
    let appended = log.append(head.tail().0, &rows, None)?;
    Ok((rows.remove(0), appended))
}

#[test]
fn a_write_that_arrives_after_its_writer_gave_up_is_not_reported_as_failed() {
    let database = Database::new();
    let proxy = proxy();
    let location = database.at(&proxy.address().to_string());
    let mut log =
        PostgresLog::open(&location, true).unwrap().limit_wait(Duration::from_secs(1)).unwrap();
    append(&mut log, &keys(), &[draft("a", true)]);
    let head = log.head().unwrap();
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("late", true)]);
    proxy.stall();
    let error = log.append(1, &rows, None).unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error}");
    assert!(error.to_string().contains("may be written or not"), "{error}");
    // The proxy passes on what it holds, although the client has gone.
    proxy.pass();
    let mut other = database.open();
    wait_until(|| other.head().unwrap().tail().0 == 2);
    assert!(log.changed().unwrap(), "the writer finds its own row as one of others");
    append(&mut log, &keys(), &[draft("b", true)]);
    assert_eq!(verify(&mut other, &keys(), &[]).unwrap().rows, 3);
}

#[test]
fn a_writer_whose_connections_are_cut_knows_what_it_has_written() {
    const CUTS: u64 = 60;
    const CONNECTIONS: usize = 6;
    let database = Database::new();
    let proxy = proxy();
    let location = database.at(&proxy.address().to_string());
    let mut log = PostgresLog::open(&location, true).unwrap();
    let (mut done, mut failed, mut late) = (Vec::new(), Vec::new(), 0);
    thread::scope(|scope| {
        let (begins, cuts) = std::sync::mpsc::channel::<u64>();
        let proxy = &proxy;
        scope.spawn(move || {
            for number in cuts {
                // Before the server has the write, while it works on it, or after it has answered.
                // A machine under load needs longer for each.
                let longest = 6_000 * (1 + number / CUTS);
                thread::sleep(Duration::from_micros(number * 131 % longest));
                proxy.reset_existing();
            }
        });
        let begin = Instant::now();
        let mut number = 0;
        while number < CUTS || done.len() < 6 || proxy.connections() < CONNECTIONS {
            assert!(begin.elapsed() < PATIENCE, "{number}, of which {} writes", done.len());
            // After a connection that failed, none is tried for a while.
            let Ok(head) = log.head() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let event = format!("write-{number}");
            let mut rows =
                Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft(&event, true)]);
            begins.send(number).unwrap();
            number += 1;
            match log.append(head.tail().0, &rows, None) {
                Ok(Appended::Done) => done.push(rows.remove(0)),
                // One whose outcome was not known was written after all, since the head was read.
                Ok(Appended::Moved) => late += 1,
                Err(error) => failed.push((event, error)),
            }
        }
    });
    let mut log = database.open();
    let rows = read_all(&mut log);
    assert_eq!(verify(&mut log, &keys(), &[]).unwrap().rows, u64::try_from(rows.len()).unwrap());
    for row in &done {
        assert_eq!(rows.iter().filter(|other| other.event == row.event).count(), 1);
        assert!(rows.contains(row));
    }
    let is_unknown = |error: &Error| error.to_string().contains("may be written or not");
    assert!(late <= failed.iter().filter(|(_, error)| is_unknown(error)).count());
    for (event, error) in &failed {
        assert!(error.is_temporary(), "{error}");
        let written = rows.iter().filter(|row| row.event == *event).count();
        assert!(written == 0 || is_unknown(error) && written == 1, "{written} times: {error}");
    }
}

#[test]
fn a_killed_server_loses_no_acknowledged_row_and_is_found_again() {
    let mut server = runtime().block_on(Server::start());
    let url = format!(
        "postgresql://{}:{}@{}/postgres",
        server.user(),
        server.password(),
        server.address()
    );
    let location = DatabaseLocation { url: url.into(), ca_cert: None };
    let mut log = PostgresLog::open(&location, true).unwrap();
    let mut acknowledged = Vec::new();
    for kill in 0..3 {
        let killed = AtomicBool::new(false);
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = Vec::new();
                let begin = Instant::now();
                while begin.elapsed() < PATIENCE {
                    match try_append(&mut log, &format!("kill-{kill}")) {
                        Ok((row, Appended::Done)) => {
                            written.push(row);
                            count.store(written.len(), Ordering::SeqCst);
                        }
                        Ok((_, Appended::Moved)) => {}
                        Err(error) => {
                            assert!(error.is_temporary(), "{error}");
                            if killed.load(Ordering::SeqCst) {
                                break;
                            }
                        }
                    }
                }
                written
            });
            wait_until(|| count.load(Ordering::SeqCst) > 3);
            killed.store(true, Ordering::SeqCst);
            server.kill();
            acknowledged.extend(writer.join().unwrap());
        });
        runtime().block_on(server.start_again());
        wait_until(|| log.head().is_ok());
        let rows = read_all(&mut log);
        assert!(acknowledged.iter().all(|row| rows.contains(row)));
        verify(&mut log, &keys(), &[]).unwrap();
    }
}
