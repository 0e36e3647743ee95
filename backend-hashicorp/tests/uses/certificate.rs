//! Logins with a client certificate, and certificates that are renewed on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpConfig};
use strongroom_core::{Backend as _, ErrorKind};
use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::openbao::Server;
use tempfile::TempDir;

use crate::enable;
use crate::support::{LIMIT, config, open, path, read, root, write};

/// Files that a helper renews.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file atomically.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path("new"), content).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn write_client(&self, client: &Signed) {
        self.write("client.pem", &client.certificate);
        self.write("key.pem", &client.key);
    }

    fn config(&self, server: &Server, auth: Auth) -> HashicorpConfig {
        let mut config = config(server, auth);
        config.ca_cert = Some(self.path("ca.pem"));
        config.client_cert = Some(self.path("client.pem"));
        config.client_key = Some(self.path("key.pem"));
        config
    }
}

fn copy(files: &Files, name: &str, from: &Path) {
    files.write(name, fs::read(from).unwrap());
}

/// A server that demands client certificates, with files of a client that may log in with its own.
async fn prepare() -> (Server, Files) {
    let server = Server::client_certs().await;
    write(&server, "secret", "key", "kept").await;
    enable(&server, "cert", "cert").await;
    let ca = fs::read_to_string(server.ca_file()).unwrap();
    let role = json!({ "certificate": ca, "token_policies": "reader", "token_ttl": "4s" });
    server.admin("POST", "auth/cert/certs/app", Some(role)).await;
    let files = Files::new();
    copy(&files, "ca.pem", server.ca_file());
    copy(&files, "client.pem", server.client_cert_file());
    copy(&files, "key.pem", server.client_key_file());
    (server, files)
}

#[tokio::test]
async fn logs_in_with_the_certificate_of_the_connection() {
    let (server, files) = prepare().await;
    let mut config = files.config(&server, Auth::Cert);
    assert_eq!(read(&open(config.clone()).await, &path("key")).await.unwrap(), "kept");
    config.auth_role = Some("app".into());
    assert_eq!(read(&open(config.clone()).await, &path("key")).await.unwrap(), "kept");
    config.auth_role = Some("unknown".into());
    let error = read(&open(config).await, &path("key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.advice().contains("`HashicorpConfig::client_cert`"), "{error}");
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_without_a_gap() {
    let (server, files) = prepare().await;
    let backend = open(files.config(&server, Auth::Cert)).await;
    let begin = Instant::now();
    let mut renewed = false;
    // Tokens live for 4 s and are bound to the certificate of their login.
    while begin.elapsed() < Duration::from_secs(8) {
        assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
        if !renewed && begin.elapsed() > Duration::from_secs(1) {
            files.write_client(&server.another_client());
            renewed = true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(renewed);
    let health = backend.health().await.unwrap();
    assert!(health.details["token_logins"].parse::<u32>().unwrap() > 1, "{health:?}");
}

#[tokio::test]
async fn unusable_contents_leave_the_last_good_ones_in_use() {
    let (server, files) = prepare().await;
    let backend = open(files.config(&server, root(&server))).await;
    for (name, content) in [("key.pem", "no key"), ("client.pem", ""), ("ca.pem", "no authority")] {
        let before = fs::read(files.path(name)).unwrap();
        files.write(name, content);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1_200) {
            assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        files.write(name, before);
    }
    fs::remove_file(files.path("ca.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_renewed_authority_is_trusted_with_the_first_request_that_needs_it() {
    let (server, files) = prepare().await;
    // The authorities of the first bundle have not signed the server's certificate.
    copy(&files, "ca.pem", server.other_ca_file());
    let backend = open(files.config(&server, root(&server))).await;
    let error = read(&backend, &path("key")).await.unwrap_err();
    assert!(error.to_string().contains("not signed by an authority trusted here"), "{error}");
    // No second passes between the renewal and the request.
    copy(&files, "ca.pem", server.ca_file());
    let begin = Instant::now();
    loop {
        // A failed login is not repeated for a moment.
        match read(&backend, &path("key")).await {
            Ok(text) => break assert_eq!(text, "kept"),
            Err(error) => assert!(begin.elapsed() < LIMIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let other = Authority::new("Another authority");
    files.write("ca.pem", other.pem());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = read(&backend, &path("key")).await.unwrap_err();
    assert!(error.to_string().contains("not signed by an authority trusted here"), "{error}");
    copy(&files, "ca.pem", server.ca_file());
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept", "without a gap");
}
