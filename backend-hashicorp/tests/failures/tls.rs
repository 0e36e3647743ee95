//! The certificates that the backend trusts, and those that the server requires.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;
use strongroom_backend_hashicorp::{AppRole, Auth, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom_core::{Backend as _, ErrorKind, Operation, Result};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::certificates::Authority;
use strongroom_testkit::issuer::{Issuer, Options, Tls};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::stub::{Reply, Stub};
use tempfile::TempDir;

use crate::support::{config, config_for, expect_permanent, open, path, read, root, shared, write};

async fn read_with(config: HashicorpConfig) -> Result<String> {
    read(&open(config).await, &path("key")).await
}

/// Every request fails because of a certificate.
async fn assert_rejected(config: HashicorpConfig, says: &str) {
    let backend = open(config).await;
    for _ in 0..2 {
        let result = read(&backend, &path("key")).await;
        let error = expect_permanent(Operation::Get, ErrorKind::Unavailable, result);
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = expect_permanent(Operation::Health, ErrorKind::Unavailable, backend.health().await);
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn trusts_only_the_given_authority() {
    let server = Server::dev_tls().await;
    write(&server, "secret", "key", "kept").await;
    let with = |ca_cert: Option<&Path>| {
        let mut config = config(&server, root(&server));
        config.ca_cert = ca_cert.map(Path::to_owned);
        config
    };
    assert_eq!(read_with(with(Some(server.ca_file()))).await.unwrap(), "kept");
    assert_rejected(with(Some(server.other_ca_file())), "not signed by an authority trusted here")
        .await;
    assert_rejected(with(None), "not signed by an authority trusted here").await;

    // One file may hold several, with other text between them.
    let directory = TempDir::new().unwrap();
    let both = [server.other_ca_file(), server.ca_file()].map(|file| fs::read(file).unwrap());
    let file = write_file(&directory, "both.pem", &both.join(&b"\n# text\n"[..]));
    assert_eq!(read_with(with(Some(&file))).await.unwrap(), "kept");

    let mut plain = with(None);
    plain.address = server.address().replace("https:", "http:");
    assert_rejected(plain.clone(), "begin `HashicorpConfig::address` with `https`").await;
    plain.auth = Some(AppRole::new("role", SecretId::Text(CANARY.into())).into());
    assert_rejected(plain, "begin `HashicorpConfig::address` with `https`").await;
}

#[tokio::test]
async fn rejects_a_certificate_for_another_name() {
    let server = Server::dev_tls().await;
    let (_, to) = server.address().split_once("://").unwrap();
    let by_another_name = forward(to.parse().unwrap());
    let mut config = config_for(&format!("https://{by_another_name}"), root(&server));
    config.ca_cert = Some(server.ca_file().to_owned());
    assert_rejected(config, "for another name").await;
}

#[tokio::test]
async fn the_error_of_an_expired_certificate_says_so() {
    let authority = Authority::new("An authority");
    let mut options = Options::default();
    options.tls = Some(Tls::new(&authority.expired_server(&["127.0.0.1"])));
    let server = Issuer::start(options);
    let directory = TempDir::new().unwrap();
    let mut config = config_for(&server.base(), Auth::Token(CANARY.into()));
    config.ca_cert = Some(write_file(&directory, "ca.pem", authority.pem().as_bytes()));
    assert_rejected(config, "has expired, or is not valid yet").await;
}

#[tokio::test]
async fn sends_the_client_certificate() {
    let server = Server::client_certs().await;
    write(&server, "secret", "key", "kept").await;
    let with = |identity: Option<(PathBuf, PathBuf)>| {
        let mut config = config(&server, root(&server));
        config.ca_cert = Some(server.ca_file().to_owned());
        (config.client_cert, config.client_key) = identity.unzip();
        config
    };
    assert_eq!(read_with(with(Some(identity(&server)))).await.unwrap(), "kept");
    assert_rejected(with(None), "demands a client certificate").await;
    let mut wrong = with(Some(identity(&server)));
    wrong.ca_cert = Some(server.other_ca_file().to_owned());
    assert_rejected(wrong, "not signed by an authority trusted here").await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_rejected() {
    let (server, other) = tokio::join!(Server::client_certs(), Server::client_certs());
    let mut config = config(&server, root(&server));
    config.ca_cert = Some(server.ca_file().to_owned());
    (config.client_cert, config.client_key) = Some(identity(&other)).unzip();
    assert_rejected(config, "does not accept the client certificate").await;
}

#[tokio::test]
async fn the_error_of_a_server_without_tls_says_so() {
    let (server, _) = shared().await;
    let address = server.address().replace("http:", "https:");
    assert_rejected(config_for(&address, root(server)), "does not speak TLS").await;
}

#[tokio::test]
async fn the_error_of_a_server_that_expects_tls_says_so() {
    let server = Server::dev_tls().await;
    let address = server.address().replace("https:", "http:");
    assert_rejected(config_for(&address, root(&server)), "the server expects TLS").await;
}

#[tokio::test]
async fn open_rejects_unusable_certificate_files() {
    let server = Server::client_certs().await;
    let directory = TempDir::new().unwrap();
    let (cert, key) = identity(&server);
    let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
    let none = directory.path().join("none.pem");
    let empty = write_file(&directory, "empty.pem", b"");
    let text = write_file(&directory, "text.pem", CANARY.as_bytes());
    let garbage = write_file(&directory, "garbage.pem", garbage.as_bytes());
    let other_key = {
        let other = Server::client_certs().await;
        write_file(&directory, "other-key.pem", &fs::read(other.client_key_file()).unwrap())
    };
    let config = || config(&server, root(&server));
    for file in [&none, &empty, &text, &garbage, &key] {
        let mut config = config();
        config.ca_cert = Some(file.clone());
        assert_unusable(config, "`HashicorpConfig::ca_cert`").await;
    }
    for (cert, key) in [
        (&cert, &none),
        (&none, &key),
        (&cert, &empty),
        (&empty, &key),
        (&text, &key),
        (&cert, &text),
        (&garbage, &key),
        (&cert, &cert),
        (&cert, &other_key),
    ] {
        let mut config = config();
        config.ca_cert = Some(server.ca_file().to_owned());
        config.client_cert = Some(cert.clone());
        config.client_key = Some(key.clone());
        assert_unusable(config, "`HashicorpConfig::client_").await;
    }
    // All problems at once.
    let mut config = config();
    config.ca_cert = Some(empty.clone());
    (config.client_cert, config.client_key) = (Some(none), Some(empty));
    config.mount = "a//b".into();
    let error =
        expect_permanent(Operation::Open, ErrorKind::Config, HashicorpBackend::open(config).await);
    assert_eq!(error.problems().len(), 3, "{error}");
}

async fn assert_unusable(config: HashicorpConfig, names: &str) {
    let error =
        expect_permanent(Operation::Open, ErrorKind::Config, HashicorpBackend::open(config).await);
    assert!(error.to_string().contains(names), "{error}");
}

/// Forwards from a loopback address that is not in any certificate.
fn forward(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || std::io::copy(&mut from, &mut to));
    };
    thread::spawn(move || {
        for client in listener.incoming().map_while(std::result::Result::ok) {
            let server = TcpStream::connect(to).unwrap();
            copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            copy(server, client);
        }
    });
    address
}

fn identity(server: &Server) -> (PathBuf, PathBuf) {
    (server.client_cert_file().to_owned(), server.client_key_file().to_owned())
}

fn write_file(directory: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let file = directory.path().join(name);
    fs::write(&file, content).unwrap();
    file
}

/// A standby that redirects all requests to a node, and a configuration that follows it.
fn standby_of(node: &str, authority: &Authority) -> (Stub, TempDir, HashicorpConfig) {
    let location = node.to_owned();
    let tls = Tls::new(&authority.server(&["localhost"]));
    let standby = Stub::with_tls(tls, move |request| {
        Reply::new(307, "").header("Location", &format!("{location}{}", request.target))
    });
    let directory = TempDir::new().unwrap();
    let address = standby.url().replace("127.0.0.1", "localhost");
    let mut config = config_for(&address, Auth::Token(CANARY.into()));
    config.ca_cert = Some(write_file(&directory, "ca.pem", authority.pem().as_bytes()));
    config.follow_redirects = true;
    (standby, directory, config)
}

/// The active node: it has one secret.
fn active_node(tls: Tls) -> Stub {
    Stub::with_tls(tls, |request| match request.target.as_str() {
        "/v1/secret/data/key" => Reply::json(
            200,
            &json!({ "data": {
            "data": { "value": format!("{CANARY}kept") }, "metadata": { "version": 1 },
        } }),
        ),
        "/v1/auth/token/lookup-self" => Reply::json(200, &json!({ "data": { "ttl": 0 } })),
        _ => Reply::json(404, &json!({ "errors": [] })),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_a_redirect_to_a_node_with_a_certificate_for_the_same_name() {
    let authority = Authority::new("Authority");
    // Its own address is not in the certificate.
    let active = active_node(Tls::new(&authority.server(&["localhost"])));
    let (standby, _directory, mut config) = standby_of(&active.url(), &authority);
    let backend = open(config.clone()).await;
    for _ in 0..2 {
        assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
    }
    assert!(
        active.requests().iter().all(|request| request.header("x-vault-token") == Some(CANARY))
    );
    assert_eq!(standby.requests().len(), active.requests().len());

    config.follow_redirects = false;
    assert_rejected(config, "redirects are not followed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_no_redirect_to_a_server_of_another_name_or_without_tls() {
    let authority = Authority::new("Authority");
    // It is trusted, but for another name.
    let other = active_node(Tls::new(&authority.server(&["127.0.0.1", "other.example.com"])));
    let (_standby, _directory, config) = standby_of(&other.url(), &authority);
    assert_rejected(config, "is for another name").await;
    assert_eq!(other.requests().len(), 0);

    let plain = Stub::new(|_| Reply::new(200, ""));
    let (_standby, _directory, config) = standby_of(&plain.url(), &authority);
    assert_rejected(config, "redirects are not followed").await;
    assert_eq!(plain.requests().len(), 0);
}
