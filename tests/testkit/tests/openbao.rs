//! Tests of the OpenBao servers that other tests use.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is test code")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use serde_json::json;
use strongroom_testkit::canary;
use strongroom_testkit::openbao::{ApproleOptions, Credentials, Server};
use strongroom_testkit::process::{self, Role};

const LIMIT: Duration = Duration::from_secs(120);

fn client() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([]).timeout(LIMIT)
}

fn trusting(ca_file: &Path) -> ClientBuilder {
    let ca = Certificate::from_pem(&std::fs::read(ca_file).unwrap()).unwrap();
    client().tls_certs_only([ca])
}

async fn health(server: &Server, client: ClientBuilder) -> reqwest::Result<u16> {
    let url = format!("{}/v1/sys/health", server.address());
    Ok(client.build()?.get(url).send().await?.status().as_u16())
}

async fn write(server: &Server, text: &str) {
    let body = json!({ "data": { "value": text } });
    server.admin("POST", "secret/data/kept", Some(body)).await;
}

async fn read(server: &Server) -> String {
    let body = server.admin("GET", "secret/data/kept", None).await;
    body["data"]["data"]["value"].as_str().unwrap().to_owned()
}

async fn login(server: &Server, credentials: &Credentials) -> (u16, serde_json::Value) {
    let Credentials { role_id, secret_id } = credentials;
    let body = json!({ "role_id": role_id, "secret_id": secret_id });
    server.call("POST", "auth/approle/login", Some(body)).await
}

#[tokio::test]
async fn a_development_server_serves_requests() {
    let server = Server::dev().await;
    assert_eq!(health(&server, client()).await.unwrap(), 200);
    write(&server, "hello").await;
    assert_eq!(read(&server).await, "hello");
    assert!(canary::find(server.root_token().as_bytes()).is_some());
    assert_eq!(server.call("GET", "secret/data/none", None).await.0, 404);
}

#[tokio::test]
async fn servers_share_nothing() {
    let (one, other) = tokio::join!(Server::dev(), Server::dev());
    write(&one, "hello").await;
    assert_eq!(other.call("GET", "secret/data/kept", None).await.0, 404);
}

#[tokio::test]
async fn data_on_disk_survives_a_kill() {
    let mut server = Server::uninitialised().await;
    assert_eq!(health(&server, client()).await.unwrap(), 501);
    server.initialise().await;
    write(&server, "kept").await;
    let address = server.address().to_owned();
    server.kill();
    assert!(health(&server, client()).await.unwrap_err().is_connect());
    server.start_again().await;
    assert_eq!(server.address(), address);
    assert_eq!(health(&server, client()).await.unwrap(), 503);
    server.unseal().await;
    assert_eq!(read(&server).await, "kept");
}

#[tokio::test]
async fn a_persistent_server_is_ready_immediately() {
    let server = Server::persistent().await;
    write(&server, "hello").await;
    assert_eq!(read(&server).await, "hello");
}

#[tokio::test]
async fn a_killed_development_server_restarts_empty() {
    let mut server = Server::dev().await;
    write(&server, "lost").await;
    server.kill();
    server.start_again().await;
    assert_eq!(server.call("GET", "secret/data/kept", None).await.0, 404);
    server.seal().await;
    server.unseal().await;
}

#[tokio::test]
async fn a_sealed_server_returns_503_until_it_is_unsealed() {
    let server = Server::dev().await;
    write(&server, "kept").await;
    server.seal().await;
    assert_eq!(server.call("GET", "secret/data/kept", None).await.0, 503);
    server.unseal().await;
    assert_eq!(read(&server).await, "kept");
}

#[tokio::test]
async fn a_paused_server_responds_once_it_is_resumed() {
    let server = Server::dev().await;
    let with_short_timeout = || client().timeout(Duration::from_millis(100));
    let paused = server.pause();
    assert!(health(&server, with_short_timeout()).await.unwrap_err().is_timeout());
    paused.resume();
    assert_eq!(health(&server, client()).await.unwrap(), 200);
    drop(server.pause());
    assert_eq!(health(&server, client()).await.unwrap(), 200);
}

#[tokio::test]
async fn clients_trust_the_server_with_its_authority_only() {
    let server = Server::dev_tls().await;
    assert_eq!(health(&server, trusting(server.ca_file())).await.unwrap(), 200);
    assert!(health(&server, trusting(server.other_ca_file())).await.is_err());
    assert!(health(&server, client()).await.is_err());
    write(&server, "hello").await;
    assert_eq!(read(&server).await, "hello");
}

#[tokio::test]
async fn the_server_requires_a_client_certificate() {
    let server = Server::client_certs().await;
    let files = [server.client_cert_file(), server.client_key_file()];
    let pem = files.map(|file| std::fs::read(file).unwrap()).concat();
    let identity = || Identity::from_pem(&pem).unwrap();
    let with = |ca_file| trusting(ca_file).identity(identity());
    assert_eq!(health(&server, with(server.ca_file())).await.unwrap(), 200);
    assert!(health(&server, with(server.other_ca_file())).await.is_err());
    assert!(health(&server, trusting(server.ca_file())).await.is_err());
    assert_ne!(server.kv(&["put", "secret/kept", "value=hello"]), "");
    assert_eq!(read(&server).await, "hello");
}

#[tokio::test]
async fn the_audit_log_records_logins() {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let credentials = server.approle(&ApproleOptions::default()).await;
    let audit = server.enable_audit().await;
    let (status, body) = login(&server, &credentials).await;
    assert_eq!(status, 200);
    let wrong = Credentials { secret_id: "wrong".to_owned(), ..credentials.clone() };
    assert_eq!(login(&server, &wrong).await.0, 400);
    let logins = audit.successes("auth/approle/login");
    let [login] = logins.as_slice() else { panic!("not one login: {logins:?}") };
    assert_eq!(login["response"]["auth"]["accessor"], body["auth"]["accessor"]);
    assert!(login["time"].is_string());
    assert_eq!(login["request"]["operation"], "update");
    assert_eq!(canary::find(format!("{:?}", audit.entries()).as_bytes()), None);
}

#[tokio::test]
async fn roles_have_the_requested_limits() {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let options = ApproleOptions {
        token_ttl: Duration::from_secs(7),
        token_num_uses: 3,
        secret_id_num_uses: 1,
        ..ApproleOptions::default()
    };
    let credentials = server.approle(&options).await;
    assert!(canary::find(credentials.secret_id.as_bytes()).is_some());
    let (_, first) = login(&server, &credentials).await;
    assert_eq!(first["auth"]["lease_duration"], 7);
    assert_eq!(first["auth"]["num_uses"], 3);
    assert_eq!(first["auth"]["policies"], json!(["default", "full"]));
    assert_eq!(login(&server, &credentials).await.0, 400);
    let further = Credentials { secret_id: server.secret_id(&options).await, ..credentials };
    assert_eq!(login(&server, &further).await.0, 200);
    let batch = ApproleOptions { name: "batch", token_type: "batch", ..ApproleOptions::default() };
    let (_, batch) = login(&server, &server.approle(&batch).await).await;
    assert_eq!(batch["auth"]["token_type"], "batch");
}

#[tokio::test]
async fn a_wrapped_secret_id_unwraps_once() {
    let server = Server::dev().await;
    server.enable_approle("approle").await;
    let options = ApproleOptions::default();
    let credentials = server.approle(&options).await;
    let token = json!({ "token": server.wrapped_secret_id(&options).await });
    let unwrapped = server.admin("POST", "sys/wrapping/unwrap", Some(token.clone())).await;
    let secret_id = unwrapped["data"]["secret_id"].as_str().unwrap().to_owned();
    assert!(canary::find(secret_id.as_bytes()).is_some());
    assert_ne!(secret_id, credentials.secret_id);
    assert_eq!(login(&server, &Credentials { secret_id, ..credentials }).await.0, 200);
    assert_eq!(server.call("POST", "sys/wrapping/unwrap", Some(token)).await.0, 400);
}

#[tokio::test]
async fn the_kv_command_reads_what_it_has_written() {
    let server = Server::dev().await;
    let written = server.kv(&["put", "-format=json", "secret/kept", "value=a = \"b\"\n"]);
    assert!(written.contains("\"version\": 1"), "{written}");
    assert_eq!(server.kv(&["get", "-field=value", "secret/kept"]), "a = \"b\"\n");
    assert_eq!(read(&server).await, "a = \"b\"\n");
}

/// Starts two servers in a child process that the next test kills; does nothing in the test process.
#[tokio::test]
async fn child() {
    if process::role().is_none() {
        return;
    }
    let (running, stopped) = tokio::join!(Server::dev(), Server::client_certs());
    let _paused = stopped.pause();
    let directory = stopped.ca_file().parent().unwrap().display();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n@ {} {} {directory}", running.address(), stopped.address()).unwrap();
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn no_server_outlives_a_killed_test_process() {
    let mut child = Role::in_test("owner", "child").unwrap().inherit_stderr().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with('@')).unwrap();
    let [_, running, stopped, directory] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let listens = |address: &str| TcpStream::connect(address.rsplit('/').next().unwrap()).is_ok();
    assert!(listens(running) && listens(stopped) && Path::new(directory).exists());
    child.kill().unwrap();
    let begin = Instant::now();
    while listens(running) || listens(stopped) || Path::new(directory).exists() {
        assert!(begin.elapsed() < LIMIT, "a server or its directory still exists");
        std::thread::sleep(Duration::from_millis(5));
    }
}
