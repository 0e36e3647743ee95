//! Tests of the PostgreSQL servers that other tests rely on.

#![expect(clippy::unwrap_used, reason = "this is test code")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_testkit::canary;
use strongroom_testkit::postgres::Server;
use strongroom_testkit::process::{self, Role};

const LIMIT: Duration = Duration::from_secs(120);

/// The number of processes with a working directory in this directory or below.
fn processes_in(directory: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let places = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    places.filter(|place| place.starts_with(directory)).count()
}

/// Whether a System V segment of shared memory exists.
fn is_segment(id: &str) -> bool {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    segments.lines().any(|line| line.split_whitespace().nth(1) == Some(id))
}

#[tokio::test]
async fn a_server_runs_sql() {
    let server = Server::start().await;
    assert_eq!(server.sql("SELECT 1, 'one' UNION SELECT 2, 'two' ORDER BY 1"), "1|one\n2|two");
    server.sql("CREATE TABLE kept (number integer); INSERT INTO kept VALUES (7)");
    assert_eq!(server.sql("SELECT number FROM kept"), "7");
}

#[tokio::test]
async fn a_killed_server_starts_again_with_its_data() {
    let mut server = Server::start().await;
    server.sql("CREATE DATABASE other");
    server.sql_in("other", "CREATE TABLE kept (number integer); INSERT INTO kept VALUES (7)");
    server.kill();
    server.start_again().await;
    assert_eq!(server.sql_in("other", "SELECT number FROM kept"), "7");
}

#[tokio::test]
#[should_panic(expected = "syntax error")]
async fn reports_failed_sql() {
    Server::start().await.sql("SELEKT 1");
}

#[tokio::test]
async fn a_login_needs_the_current_password() {
    let server = Server::start().await;
    assert!(server.accepts(server.user(), server.password()));
    assert!(!server.accepts("orders", "first"));
    server.sql("CREATE ROLE orders LOGIN PASSWORD 'first'");
    assert!(server.accepts("orders", "first") && !server.accepts("orders", "second"));
    server.sql("ALTER ROLE orders PASSWORD 'second'");
    assert!(!server.accepts("orders", "first") && server.accepts("orders", "second"));
}

#[tokio::test]
#[should_panic(expected = "the login failed for another reason")]
async fn reports_a_login_that_fails_for_another_reason() {
    let server = Server::start().await;
    server.sql("CREATE ROLE orders PASSWORD 'first'");
    let _ = server.accepts("orders", "first");
}

#[tokio::test]
async fn servers_share_nothing() {
    let (one, other) = tokio::join!(Server::start(), Server::start());
    one.sql("CREATE ROLE orders LOGIN PASSWORD 'first'");
    assert!(!other.accepts("orders", "first"));
    assert_ne!(one.password(), other.password());
    assert!(!other.accepts(one.user(), one.password()));
}

#[tokio::test]
async fn the_password_is_not_shown() {
    let server = Server::start().await;
    assert!(canary::find(server.password().as_bytes()).is_some());
    let shown = format!("{server:?}");
    assert_eq!(canary::find(shown.as_bytes()), None);
    assert!(shown.contains(&server.address().to_string()) && server.address().ip().is_loopback());
}

/// The server does not run as root, and the user that it runs as cannot enter this directory.
#[tokio::test]
async fn starts_programs_in_a_private_directory() {
    let only_owner = Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new().permissions(only_owner).tempdir().unwrap();
    let link = directory.path().join("postgres");
    symlink(std::env::var_os("STRONGROOM_TEST_POSTGRES").unwrap(), &link).unwrap();
    let server = Server::start_from(link).await;
    assert!(server.accepts(server.user(), server.password()));
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let server = Server::start().await;
    let (address, data) = (server.address(), PathBuf::from(server.sql("SHOW data_directory")));
    assert!(processes_in(&data) > 1 && TcpStream::connect(address).is_ok());
    drop(server);
    assert!(!data.parent().unwrap().exists());
    wait_until_gone(&data, &address.to_string());
}

/// The next test runs this in a child and kills it; it does nothing in the test process.
#[tokio::test]
async fn child() {
    if process::role().is_none() {
        return;
    }
    let server = Server::start().await;
    let data = PathBuf::from(server.sql("SHOW data_directory"));
    let lock = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let segment = lock.lines().nth(6).and_then(|line| line.split_whitespace().last()).unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n@ {} {segment} {}", server.address(), data.display()).unwrap();
    // A session that is busy while its server is killed.
    server.sql("SELECT pg_sleep(600)");
}

#[test]
fn no_server_outlives_a_killed_test_process() {
    let mut child = Role::in_test("owner", "child").unwrap().inherit_stderr().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with('@')).unwrap();
    let [_, address, segment, data] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let data = Path::new(data);
    assert!(processes_in(data) > 1 && TcpStream::connect(address).is_ok() && is_segment(segment));
    child.kill().unwrap();
    wait_until_gone(data, address);
    let begin = Instant::now();
    while is_segment(segment) || data.parent().unwrap().exists() {
        assert!(begin.elapsed() < LIMIT, "shared memory or the directory is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_until_gone(data: &Path, address: &str) {
    let begin = Instant::now();
    while processes_in(data) > 0 || TcpStream::connect(address).is_ok() {
        assert!(begin.elapsed() < LIMIT, "a process of the server is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
