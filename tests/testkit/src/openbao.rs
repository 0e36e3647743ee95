//! Real OpenBao servers for tests, one for each call.
//!
//! ```no_run
//! # async fn example() {
//! use strongroom_testkit::openbao::{ApproleOptions, Server};
//!
//! let server = Server::dev().await;
//! server.enable_approle("approle").await;
//! let credentials = server.approle(&ApproleOptions::default()).await;
//! # drop(credentials); }
//! ```
//!
//! Servers listen on free loopback ports and share nothing. A server ends when its value is dropped
//! and when the test process ends, even if that is killed. A KV engine of version 2 is mounted at
//! `secret/`. Root tokens and secret ids contain the canary, so that tests find a leak of one.

mod admin;
mod agent;
mod approle;
mod audit;
mod certificates;
mod config;
mod jwt;

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::agent::Agent;
pub use self::approle::{ApproleOptions, Credentials};
pub use self::audit::AuditLog;
use self::certificates::Certificates;
use self::config::Kind;
pub use self::jwt::JwtIssuer;
use crate::certificates::Signed;
use crate::planted;
pub use crate::server::Paused;
use crate::server::{
    LIMIT, POLL_INTERVAL, PortTaken, Program, Supervised, free_port, require_tool,
};

/// Names the server's binary.
const BINARY: &str = "STRONGROOM_TEST_BAO";
/// The root token of every server that has one.
const ROOT_TOKEN: &str = planted!("root");
/// How often a start is attempted while its port is taken.
const START_ATTEMPTS: usize = 5;

/// A running OpenBao server.
pub struct Server {
    process: Supervised,
    address: String,
    certificates: Option<Certificates>,
    client: reqwest::Client,
    unseal_key: Option<String>,
    secret_ids: AtomicUsize,
}

impl Server {
    /// A development server: in memory, unsealed, over plain HTTP.
    pub async fn dev() -> Self {
        Self::start(Kind::Dev).await
    }

    /// A development server over TLS; see [`ca_file`](Self::ca_file).
    pub async fn dev_tls() -> Self {
        Self::start(Kind::DevTls).await
    }

    /// A development server over TLS that demands a client certificate; see
    /// [`client_cert_file`](Self::client_cert_file).
    pub async fn client_certs() -> Self {
        Self::start(Kind::ClientCerts).await
    }

    /// A server with its data on disk, which survives [`kill`](Self::kill): initialised with one key
    /// share, unsealed, active. Takes about 2 s, mostly for the election of a leader.
    pub async fn persistent() -> Self {
        let mut server = Self::uninitialised().await;
        server.initialise().await;
        server
    }

    /// A server with its data on disk that is not initialised.
    pub async fn uninitialised() -> Self {
        Self::start(Kind::Persistent).await
    }

    /// The base URL: scheme, loopback address and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A token with all permissions.
    #[must_use]
    pub fn root_token(&self) -> &'static str {
        ROOT_TOKEN
    }

    /// The authority that signed the server's certificate, in PEM.
    ///
    /// # Panics
    /// If the server has no TLS; so do the methods for the other files.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.certificates().ca
    }

    /// An authority that has not signed the server's certificate, in PEM.
    #[must_use]
    pub fn other_ca_file(&self) -> &Path {
        &self.certificates().other_ca
    }

    /// A client certificate, in PEM, that [`client_certs`](Self::client_certs) accepts.
    #[must_use]
    pub fn client_cert_file(&self) -> &Path {
        &self.certificates().client
    }

    /// The private key of the client certificate, in PEM.
    #[must_use]
    pub fn client_key_file(&self) -> &Path {
        &self.certificates().client_key
    }

    /// Signs another client certificate that [`client_certs`](Self::client_certs) accepts.
    ///
    /// # Panics
    /// If the server has no TLS.
    #[must_use]
    pub fn another_client(&self) -> Signed {
        self.certificates().authority.as_ref().expect("the authority is kept").client()
    }

    /// Initialises an [`uninitialised`](Self::uninitialised) server, unseals it and mounts the KV
    /// engine.
    pub async fn initialise(&mut self) {
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = self.admin("PUT", "sys/init", Some(shares)).await;
        self.unseal_key = made["keys_base64"][0].as_str().map(str::to_owned);
        self.unseal().await;
        let first = made["root_token"].as_str().expect("a root token").to_owned();
        self.replace_root_token(&first).await;
        let kv = json!({ "type": "kv", "options": { "version": "2" } });
        self.admin("POST", "sys/mounts/secret", Some(kv)).await;
        self.wait_until("the mount is ready", "secret/config", 200).await;
    }

    /// Seals the server: it answers 503 until [`unseal`](Self::unseal).
    pub async fn seal(&self) {
        self.admin("PUT", "sys/seal", None).await;
        self.wait_until("sealed", "sys/health", 503).await;
    }

    /// Unseals the server and waits until it is active.
    pub async fn unseal(&self) {
        let key = self.unseal_key.as_deref().expect("the server is initialised");
        self.admin("PUT", "sys/unseal", Some(json!({ "key": key }))).await;
        self.wait_until("active", "sys/health", 200).await;
    }

    /// Kills the server with `SIGKILL` and waits until the process has ended. Its port then refuses
    /// connections.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a killed server again on the same port. A server with its data on disk is then sealed;
    /// a development server is empty.
    pub async fn start_again(&mut self) {
        for _ in 0..START_ATTEMPTS {
            if self.start_process().await.is_ok() {
                return;
            }
            // An outgoing connection of another process may hold the port for a moment.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        panic!("the port of the killed server is taken");
    }

    /// Suspends the server (`SIGSTOP`) until the guard is dropped: it accepts connections and does not
    /// respond.
    #[must_use = "the server continues when this is dropped"]
    pub fn pause(&self) -> Paused<'_> {
        self.process.pause()
    }

    async fn start(kind: Kind) -> Self {
        for _ in 0..START_ATTEMPTS {
            let mut server = Self::new(kind);
            if server.start_process().await.is_ok() {
                return server;
            }
        }
        panic!("no free port for the server");
    }

    fn new(kind: Kind) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let certificates = kind.has_tls().then(|| Certificates::generate(directory.path()));
        let (port, other_port) = (free_port(), free_port());
        let arguments = config::write_config(kind, directory.path(), port, other_port);
        let program = Program {
            path: require_tool(BINARY),
            arguments,
            ready: kind.ready(),
            clash: "address already in use",
        };
        let scheme = if kind.has_tls() { "https" } else { "http" };
        Self {
            process: Supervised::new(directory, program),
            address: format!("{scheme}://127.0.0.1:{port}"),
            certificates,
            client: reqwest::Client::new(),
            unseal_key: None,
            secret_ids: AtomicUsize::new(0),
        }
    }

    /// Starts the process and waits until it responds.
    async fn start_process(&mut self) -> Result<(), PortTaken> {
        let log = self.process.start().await?;
        self.client = admin::client(self.certificates.as_ref());
        let begin = Instant::now();
        while self.send("GET", "sys/health", None).await.is_err() {
            assert!(begin.elapsed() < LIMIT, "the server does not respond");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        if let Some(printed) = log.split("Unseal Key: ").nth(1) {
            self.unseal_key = printed.lines().next().map(str::to_owned);
        }
        Ok(())
    }

    fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a server with TLS")
    }

    async fn wait_until(&self, what: &str, path: &str, status: u16) -> Value {
        let begin = Instant::now();
        loop {
            let (answered, body) = self.call("GET", path, None).await;
            if answered == status {
                return body;
            }
            assert!(begin.elapsed() < LIMIT, "not {what}: {path} answers {answered}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn reports_a_taken_port() {
        for kind in [Kind::Dev, Kind::Persistent] {
            let mut server = Server::new(kind);
            let taken = TcpListener::bind(server.address.split_once("://").unwrap().1).unwrap();
            server.start_process().await.unwrap_err();
            drop(taken);
            server.start_process().await.unwrap();
        }
    }

    #[tokio::test]
    #[should_panic(expected = "the server did not start")]
    async fn reports_a_server_that_cannot_start() {
        let mut server = Server::new(Kind::Dev);
        std::fs::write(server.process.directory().join("server.json"), "no JSON").unwrap();
        drop(server.start_process().await);
    }
}
