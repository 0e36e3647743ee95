//! Tests of the LocalStack that other tests rely on.

#![expect(clippy::unwrap_used, reason = "this is test code")]

mod scripts;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom_testkit::canary;
use strongroom_testkit::localstack::Server;
use strongroom_testkit::process::{self, Role};

use crate::scripts::{DEFINITIONS, DOCUMENTED, READ_TIMEOUT, ROUND_TRIP};

const LIMIT: Duration = Duration::from_secs(120);

fn accepts_connections(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// An address of this machine that other machines reach, if it has one. Finding it sends nothing.
fn external_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[tokio::test]
async fn keeps_secrets_and_listens_on_loopback_only() {
    let server = Server::start().await;
    let read = server.boto3(ROUND_TRIP);
    let expected =
        ["hello", r"b'\xff\x00a'", r"b'\xff\x00bc'", r"b'\xff\x00'", "b'hello'", "000000000000"];
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    assert!(canary::find(server.secret_key().as_bytes()).is_some());

    let address = server.address();
    assert_eq!(server.endpoint(), format!("http://{address}"));
    assert!(address.ip().is_loopback() && accepts_connections(address));
    if let Some(other) = external_address() {
        assert!(
            !accepts_connections(SocketAddr::new(other, address.port())),
            "other machines reach the server"
        );
    }

    let missing = "client.get_secret_value(SecretId='missing')";
    let panic = std::panic::catch_unwind(|| server.boto3(missing)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("ResourceNotFoundException"), "{message}");

    let paused = server.pause();
    assert_eq!(server.boto3(READ_TIMEOUT), "ReadTimeoutError\n");
    drop(paused);
    assert_eq!(server.boto3("print(len(client.list_secrets()['SecretList']))"), "2\n");
}

#[tokio::test]
async fn behaves_as_aws_documents() {
    let server = Server::start().await;
    let prelude = format!("function = '{}'\n{DEFINITIONS}", server.rotation_function());
    for (script, expected) in DOCUMENTED {
        let printed = server.boto3(&format!("{prelude}{script}"));
        assert_eq!(printed, expected.trim_start(), "{script}");
    }
}

/// Runs a server in a child that the next test kills; does nothing in the test process itself.
#[tokio::test]
async fn child() {
    if process::role().is_none() {
        return;
    }
    let server = Server::start().await;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n@ {}", server.address()).unwrap();
    std::io::stdin().lines().for_each(drop);
}

/// Whether a process, or the one that it was forked from, has the directory as an argument.
fn is_used(directory: &Path) -> bool {
    let argument = format!("{}\0", directory.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut arguments = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    arguments.any(|arguments| String::from_utf8_lossy(&arguments).contains(&argument))
}

#[test]
fn nothing_outlives_a_killed_test_process() {
    let own = tempfile::tempdir().unwrap();
    let role = Role::in_test("owner", "child").unwrap().env("TMPDIR", own.path());
    let mut child = role.inherit_stderr().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with('@')).unwrap();
    let address = line.trim_start_matches("@ ").parse().unwrap();
    let directory = fs::read_dir(own.path()).unwrap().next().unwrap().unwrap().path();
    assert!(accepts_connections(address) && is_used(&directory));
    child.kill().unwrap();
    let begin = Instant::now();
    while accepts_connections(address) || is_used(&directory) || directory.exists() {
        assert!(begin.elapsed() < LIMIT, "a process or its directory is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
