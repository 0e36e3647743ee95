//! Servers that are down, sealed, suspended or cut off, and the recovery.

use std::time::{Duration, Instant};

use strongroom_backend_hashicorp::{AppRole, HashicorpBackend, SecretId};
use strongroom_core::{Backend as _, ErrorKind, HealthStatus, Operation};
use strongroom_testkit::openbao::{ApproleOptions, Server};
use strongroom_testkit::proxy::Proxy;

use crate::support::{
    Account, LIMIT, check, config, config_for, expect_permanent, expect_transient, open, path,
    read, read_until_success, root, write,
};

/// A timeout that a test can wait for.
const TIMEOUT: Duration = Duration::from_millis(300);

async fn server_state(backend: &HashicorpBackend) -> (HealthStatus, String) {
    let health = backend.health().await.unwrap();
    (health.status, health.details["state"].clone())
}

/// Waits until the server is active and the backend is authenticated.
async fn wait_until_active(backend: &HashicorpBackend) {
    let begin = Instant::now();
    loop {
        match backend.health().await {
            Ok(health) if health.status == HealthStatus::Ready => {
                assert_eq!(health.details["state"], "active");
                return;
            }
            Ok(health) => assert!(begin.elapsed() < LIMIT, "not ready: {health:?}"),
            // The timeout is short for a busy machine.
            Err(error) => {
                check(&error);
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert!(begin.elapsed() < LIMIT, "not ready: {error}");
            }
        }
    }
}

fn sealed() -> (HealthStatus, String) {
    (HealthStatus::Unavailable, "sealed".to_owned())
}

fn active() -> (HealthStatus, String) {
    (HealthStatus::Ready, "active".to_owned())
}

#[tokio::test]
async fn the_token_survives_a_restart_of_the_server() {
    let mut server = Server::persistent().await;
    server.enable_approle("approle").await;
    let credentials = server.approle(&ApproleOptions::default()).await;
    let secret_id = SecretId::Text(credentials.secret_id.into());
    let auth = AppRole::new(credentials.role_id, secret_id);
    write(&server, "secret", "key", "kept").await;
    let (backend, key) = (open(config(&server, auth)).await, path("key"));
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");

    server.kill();
    expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, &key).await);
    let error = expect_transient(Operation::Health, ErrorKind::Unavailable, backend.health().await);
    assert!(error.to_string().contains("cannot be reached"), "{error}");

    server.start_again().await;
    let error =
        expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, &key).await);
    assert!(error.to_string().contains("the server is sealed"), "{error}");
    assert_eq!(server_state(&backend).await, sealed());

    server.unseal().await;
    assert_eq!(read_until_success(&backend, &key).await, "kept");
    let health = backend.health().await.unwrap();
    assert_eq!(health.status, HealthStatus::Ready);
    assert_eq!(health.details["token_logins"], "1");
}

#[tokio::test]
async fn reads_recover_after_an_unseal() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    let (backend, key) = (open(config(&server, root(&server))).await, path("key"));
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");
    assert_eq!(server_state(&backend).await, active());
    let fresh = open(config(&server, root(&server))).await;
    server.seal().await;
    for backend in [&backend, &fresh] {
        let error =
            expect_transient(Operation::Get, ErrorKind::Unavailable, read(backend, &key).await);
        assert!(error.to_string().contains("the server is sealed"), "{error}");
        assert_eq!(server_state(backend).await, sealed());
    }
    server.unseal().await;
    for backend in [&backend, &fresh] {
        assert_eq!(read_until_success(backend, &key).await, "kept");
        assert_eq!(server_state(backend).await, active());
    }
}

#[tokio::test]
async fn reads_recover_once_the_server_is_initialised() {
    let mut server = Server::uninitialised().await;
    let (backend, key) = (open(config(&server, root(&server))).await, path("key"));
    expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, &key).await);
    let uninitialised = (HealthStatus::Unavailable, "uninitialised".to_owned());
    assert_eq!(server_state(&backend).await, uninitialised);
    server.initialise().await;
    write(&server, "secret", "key", "new").await;
    assert_eq!(read_until_success(&backend, &key).await, "new");
    assert_eq!(server_state(&backend).await, active());
}

#[tokio::test]
async fn a_backend_can_start_before_its_server() {
    let mut server = Server::dev().await;
    server.kill();
    let (backend, key) = (open(config(&server, root(&server))).await, path("key"));
    for _ in 0..2 {
        let error =
            expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, &key).await);
        assert!(error.to_string().contains("cannot be reached"), "{error}");
        expect_transient(Operation::Health, ErrorKind::Unavailable, backend.health().await);
    }
    server.start_again().await;
    write(&server, "secret", "key", "new").await;
    assert_eq!(read_until_success(&backend, &key).await, "new");
}

#[tokio::test]
async fn a_suspended_server_causes_a_timeout() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    let mut config = config(&server, root(&server));
    config.timeout = TIMEOUT;
    let (backend, fresh, key) = (open(config.clone()).await, open(config).await, path("key"));
    assert_eq!(read_until_success(&backend, &key).await, "kept");

    let paused = server.pause();
    for backend in [&backend, &fresh] {
        let begin = Instant::now();
        let error = expect_transient(Operation::Get, ErrorKind::Timeout, read(backend, &key).await);
        assert!(error.to_string().contains("no response within"), "{error}");
        assert!((TIMEOUT..LIMIT / 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        expect_transient(Operation::Health, ErrorKind::Timeout, backend.health().await);
    }
    paused.resume();
    for backend in [&backend, &fresh] {
        assert_eq!(read_until_success(backend, &key).await, "kept");
        wait_until_active(backend).await;
    }
}

#[tokio::test]
async fn a_broken_connection_is_a_transient_error() {
    let account = Account::new("broken-connections").await;
    account.write("kept").await;
    let address = account.server.address().split_once("://").unwrap().1.parse().unwrap();
    let proxy = Proxy::new(address);
    let mut config = account.config();
    config.address = format!("http://{}", proxy.address());
    let (backend, key) = (open(config).await, account.path());
    assert_eq!(read(&backend, &key).await.unwrap(), "kept");

    // The backend replaces a broken idle connection.
    proxy.reset_existing();
    assert_eq!(read_until_success(&backend, &key).await, "kept");

    proxy.refuse();
    proxy.reset_existing();
    for _ in 0..2 {
        expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, &key).await);
    }
    expect_transient(Operation::Health, ErrorKind::Unavailable, backend.health().await);
    proxy.pass();
    assert_eq!(read_until_success(&backend, &key).await, "kept");
    assert_eq!(account.logins(), 1);
}

#[tokio::test]
async fn a_stalled_connection_attempt_causes_a_connect_timeout() {
    let server = Server::dev_tls().await;
    write(&server, "secret", "key", "kept").await;
    let proxy = Proxy::new(server.address().split_once("://").unwrap().1.parse().unwrap());
    proxy.stall();
    let address = format!("https://{}", proxy.address());
    let mut config = config_for(&address, root(&server));
    config.ca_cert = Some(server.ca_file().to_owned());
    config.connect_timeout = TIMEOUT;
    config.timeout = LIMIT;
    let (backend, key) = (open(config).await, path("key"));
    let begin = Instant::now();
    let error = expect_transient(Operation::Get, ErrorKind::Timeout, read(&backend, &key).await);
    assert!(error.to_string().contains("no connection within"), "{error}");
    assert!((TIMEOUT..LIMIT / 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    proxy.pass();
    assert_eq!(read_until_success(&backend, &key).await, "kept");
}

#[tokio::test]
async fn a_closed_backend_sends_no_requests() {
    let mut server = Server::dev().await;
    let backend = open(config(&server, root(&server))).await;
    server.kill();
    backend.close().await.unwrap();
    expect_permanent(Operation::Get, ErrorKind::Closed, read(&backend, &path("key")).await);
    expect_permanent(Operation::Health, ErrorKind::Closed, backend.health().await);
}
