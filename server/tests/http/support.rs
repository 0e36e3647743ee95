//! A server over an embedded store, and clients with tokens.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use strongroom::access::{
    Access, AccessConfig, NewToken, Rules, Scope, SpiffeTemplate, TenantName,
};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{Backend, SecretsManager};
use strongroom_server::{Server, ServerConfig};
use strongroom_testkit::canary;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::described;

/// How long a test waits for a condition on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ALL: &str = "secrets:*";
/// The ids of workloads.
const TEMPLATE: &str = "spiffe://example.org/agent/{tenant}/{agent}/{role}";

/// A server that runs until it is dropped or stopped.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) access: Access,
    pub(crate) secrets: SecretsManager,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _folder: Option<TempDir>,
}

/// The interpreter with the packages of `tests/requirements.txt`; `cargo xtask test` names it.
pub(crate) fn python() -> OsString {
    std::env::var_os("STRONGROOM_TEST_PYTHON").unwrap()
}

pub(crate) fn config() -> ServerConfig {
    let mut config = ServerConfig::new();
    config.listen.set_port(0);
    config
}

pub(crate) fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

/// Opens the embedded store in a folder.
pub(crate) async fn open_store(folder: &Path) -> NativeBackend {
    let mut native = NativeConfig::new(KeySource::KeyFile(folder.join("key")));
    native.path = Some(folder.join("secrets.db"));
    NativeBackend::open(native).await.unwrap()
}

impl Running {
    /// A server over an embedded store.
    pub(crate) async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub(crate) async fn start_with(config: ServerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path()).await;
        Self { _folder: Some(folder), ..Self::over(store, config).await }
    }

    pub(crate) async fn over(store: impl Backend, config: ServerConfig) -> Self {
        Self::with_secrets(SecretsManager::with_backend(store), config).await
    }

    pub(crate) async fn with_secrets(secrets: SecretsManager, config: ServerConfig) -> Self {
        let template = SpiffeTemplate::parse(TEMPLATE).unwrap();
        let access = AccessConfig::in_memory().template(template);
        let access = Access::open(access).await.unwrap();
        let server = Server::bind(config, secrets.clone(), access.clone()).await.unwrap();
        let (url, metrics) = (server.url(), server.metrics_address());
        let (stop, stopped) = oneshot::channel();
        let run = server.run(async {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        });
        let (stop, task) = (Some(stop), tokio::spawn(run));
        Self { url, metrics, access, secrets, stop, task, _folder: None }
    }

    pub(crate) fn rules(&self, name: &str) -> Rules {
        self.access.administrator("test", &tenant(name)).unwrap()
    }

    /// A client of the tenant `acme` with a token of these scopes.
    pub(crate) async fn client(&self, scopes: &[&str]) -> Client {
        self.client_of("acme", scopes).await
    }

    pub(crate) async fn client_of(&self, tenant: &str, scopes: &[&str]) -> Client {
        let scopes = scopes.iter().map(|scope| Scope::parse(scope).unwrap());
        let end = SystemTime::now() + Duration::from_secs(3_600);
        let (_, token) =
            self.rules(tenant).issue_token(NewToken::new(scopes, end, "a test")).await.unwrap();
        Client { http: reqwest::Client::new(), url: self.url.clone(), token }
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// A client with a token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: SecretString,
}

impl Client {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.http.request(method, url).bearer_auth(self.token.expose_secret())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let answer = Answer::of(self.request(Method::GET, path).send().await.unwrap()).await;
        described::check(&Method::GET, path, &answer);
        answer
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method.clone(), path).json(&body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        described::check(&method, path, &answer);
        answer
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, &format!("/v1/secrets/{path}"), body).await
    }
}

/// A response with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let etag = headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let bytes = response.bytes().await.unwrap();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        assert_eq!(headers["cache-control"], "no-store");
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], status);
            assert!(!body["advice"].as_str().unwrap().is_empty(), "no next step: {body}");
            assert_eq!(canary::find(&bytes), None);
        }
        Self { status, etag, headers, body }
    }

    /// The kind of a problem.
    pub(crate) fn kind(&self) -> &str {
        let name = self.body["type"].as_str().unwrap_or_default();
        name.strip_prefix("urn:strongroom:problem:").unwrap_or("no problem")
    }
}
