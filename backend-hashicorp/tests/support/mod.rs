//! Shared by the tests of failures: one server for all tests, an account on it for each test, and
//! checks of every error.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, Auth, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom_core::{Backend as _, Error, PutOptions, Result, SecretPath, VersionSelector};
use strongroom_testkit::canary::{self, CANARY};
pub(crate) use strongroom_testkit::errors::{
    check, expect_error, expect_permanent, expect_transient,
};
use strongroom_testkit::openbao::{ApproleOptions, AuditLog, Credentials, Server};
use tokio::sync::OnceCell;

/// How long a test waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The development server of this test binary, with its audit log.
pub(crate) async fn shared() -> &'static (Server, AuditLog) {
    static SHARED: OnceCell<(Server, AuditLog)> = OnceCell::const_new();
    let start = || async {
        let server = Server::dev().await;
        let audit = server.enable_audit().await;
        (server, audit)
    };
    SHARED.get_or_init(start).await
}

/// An `AppRole` auth method on the shared server, mounted under the name of the test.
pub(crate) struct Account {
    pub(crate) server: &'static Server,
    pub(crate) audit: &'static AuditLog,
    pub(crate) name: &'static str,
    pub(crate) credentials: Credentials,
}

impl Account {
    /// An account with all capabilities on `secret/`.
    pub(crate) async fn new(name: &'static str) -> Self {
        Self::with(name, ApproleOptions::default()).await
    }

    /// An account with this policy and `default`.
    pub(crate) async fn with_policy(name: &'static str, rules: &str) -> Self {
        shared().await.0.write_policy(name, rules).await;
        Self::with(name, ApproleOptions { policies: &["default", name], ..Default::default() })
            .await
    }

    /// An account with these options, but with this name and mount.
    pub(crate) async fn with(name: &'static str, options: ApproleOptions<'_>) -> Self {
        let (server, audit) = shared().await;
        server.enable_approle(name).await;
        let options = ApproleOptions { mount: name, name, ..options };
        Self { server, audit, name, credentials: server.approle(&options).await }
    }

    /// The path of a secret that no other test uses.
    pub(crate) fn path(&self) -> SecretPath {
        path(self.name)
    }

    /// Writes the secret of this account as root.
    pub(crate) async fn write(&self, rest: &str) {
        write(self.server, "secret", self.name, rest).await;
    }

    pub(crate) fn config(&self) -> HashicorpConfig {
        let secret_id = SecretId::Text(self.credentials.secret_id.clone().into());
        let mut config = config(self.server, self.login(secret_id));
        config.auth_mount = Some(self.name.into());
        config
    }

    pub(crate) fn login(&self, secret_id: SecretId) -> AppRole {
        AppRole::new(self.credentials.role_id.clone(), secret_id)
    }

    /// The number of logins of this account that have succeeded.
    pub(crate) fn logins(&self) -> usize {
        self.issued_tokens().len()
    }

    /// Revokes the token of the last login.
    pub(crate) async fn revoke(&self) {
        let tokens = self.issued_tokens();
        let accessor = tokens.last().unwrap()["response"]["auth"]["accessor"].clone();
        let accessor = json!({ "accessor": accessor });
        self.server.admin("POST", "auth/token/revoke-accessor", Some(accessor)).await;
    }

    /// Revokes the tokens of all logins.
    pub(crate) async fn revoke_all(&self) {
        let tokens = format!("sys/leases/revoke-prefix/auth/{}/login", self.name);
        self.server.admin("POST", &tokens, Some(json!({ "sync": true }))).await;
    }

    /// The API path of the role, or of something below it.
    pub(crate) fn role(&self, rest: &str) -> String {
        format!("auth/{0}/role/{0}{rest}", self.name)
    }

    /// Creates another secret id.
    pub(crate) async fn another_secret_id(&self) -> String {
        let options = ApproleOptions { mount: self.name, name: self.name, ..Default::default() };
        self.server.secret_id(&options).await
    }

    /// Creates another secret id, and returns a wrapping token for it.
    pub(crate) async fn wrapped_secret_id(&self) -> String {
        let options = ApproleOptions { mount: self.name, name: self.name, ..Default::default() };
        self.server.wrapped_secret_id(&options).await
    }

    /// Creates the role again, with the same credentials and without limits.
    pub(crate) async fn restore(&self) {
        self.restore_in("").await;
    }

    /// Creates the role in a namespace, which ends in `/`.
    pub(crate) async fn restore_in(&self, namespace: &str) {
        let Credentials { role_id, secret_id } = &self.credentials;
        for (rest, body) in [
            ("", json!({ "token_policies": ["full"] })),
            ("/role-id", json!({ "role_id": role_id })),
            ("/custom-secret-id", json!({ "secret_id": secret_id })),
        ] {
            let path = [namespace, &self.role(rest)].concat();
            self.server.admin("POST", &path, Some(body)).await;
        }
    }

    /// The audit entries of the logins that have issued a token.
    fn issued_tokens(&self) -> Vec<Value> {
        let mut logins = self.audit.successes(&format!("auth/{}/login", self.name));
        logins.retain(|entry| entry["response"]["auth"].is_object());
        logins
    }
}

/// Writes `{"value": CANARY + rest}` as root into a KV engine of version 2.
pub(crate) async fn write(server: &Server, mount: &str, path: &str, rest: &str) {
    let body = json!({ "data": { "value": format!("{CANARY}{rest}") } });
    server.admin("POST", &format!("{mount}/data/{path}"), Some(body)).await;
}

/// Mounts a KV engine as root.
pub(crate) async fn mount_kv(server: &Server, mount: &str, version: &str) {
    let kv = json!({ "type": "kv", "options": { "version": version } });
    server.admin("POST", &format!("sys/mounts/{mount}"), Some(kv)).await;
}

/// A configuration with timeouts that leave a busy machine time for dozens of connections.
pub(crate) fn config(server: &Server, auth: impl Into<Auth>) -> HashicorpConfig {
    config_for(server.address(), auth)
}

/// The same for any address.
pub(crate) fn config_for(address: &str, auth: impl Into<Auth>) -> HashicorpConfig {
    let mut config = HashicorpConfig::new(address, auth);
    config.connect_timeout = Duration::from_secs(10);
    config.timeout = Duration::from_secs(20);
    config
}

/// Authenticates as root.
pub(crate) fn root(server: &Server) -> Auth {
    Auth::Token(server.root_token().into())
}

pub(crate) async fn open(config: HashicorpConfig) -> HashicorpBackend {
    canary::watch();
    HashicorpBackend::open(config).await.unwrap()
}

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// Reads a secret and returns the text after the canary.
pub(crate) async fn read(backend: &HashicorpBackend, path: &SecretPath) -> Result<String> {
    let secret = backend.get(path, &VersionSelector::Active).await?;
    let text = secret.expose_text()?;
    Ok(text.strip_prefix(CANARY).unwrap().to_owned())
}

pub(crate) async fn put(backend: &HashicorpBackend, path: &SecretPath, rest: &str) -> Result<()> {
    backend.put(path, canary::text(rest), PutOptions::default()).await.map(drop)
}

/// Reads until a read succeeds, within [`LIMIT`].
pub(crate) async fn read_until_success(backend: &HashicorpBackend, path: &SecretPath) -> String {
    let begin = Instant::now();
    loop {
        match read(backend, path).await {
            Ok(text) => return text,
            Err(error) => {
                check(&error);
                assert!(begin.elapsed() < LIMIT, "reads do not recover: {error}");
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Reads until a read fails, within [`LIMIT`]; the error.
pub(crate) async fn read_until_error(backend: &HashicorpBackend, path: &SecretPath) -> Error {
    let begin = Instant::now();
    loop {
        if let Err(error) = read(backend, path).await {
            return error;
        }
        assert!(begin.elapsed() < LIMIT, "reads do not fail");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
