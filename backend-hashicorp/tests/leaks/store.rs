//! A real server, with and without TLS, and its failures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strongroom_backend_hashicorp::{
    AppRole, Auth, HashicorpBackend, HashicorpConfig, SETTINGS, SecretId,
};
use strongroom_core::{Backend, PutOptions, SecretPath, Setting, Settings, VersionSelector};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::{ApproleOptions, Credentials, Server};
use strongroom_testkit::planted;

use super::{open_and_use, use_all, witness_error};

pub(super) async fn run_all() {
    settings().await;
    let folder = tempfile::tempdir().unwrap();
    files(folder.path()).await;
    let server = Server::dev_tls().await;
    server.enable_approle("approle").await;
    let credentials = server.approle(&role()).await;
    valid_credentials(&server, &credentials).await;
    certificates(&server, &credentials).await;
    invalid_credentials(&server, &credentials).await;
    denied_requests(&server).await;
    panics(&server).await;
}

/// A role with a short token TTL.
fn role() -> ApproleOptions<'static> {
    ApproleOptions {
        token_ttl: Duration::from_secs(3),
        token_max_ttl: Duration::from_secs(6),
        ..ApproleOptions::default()
    }
}

fn app_role(credentials: &Credentials) -> Auth {
    let secret_id = SecretId::Text(credentials.secret_id.as_str().into());
    AppRole::new(&credentials.role_id, secret_id).into()
}

fn over_tls(server: &Server, auth: Auth) -> HashicorpConfig {
    let mut config = HashicorpConfig::new(server.address(), auth);
    config.ca_cert = Some(server.ca_file().into());
    config.renew_margin = Duration::from_secs(1);
    config
}

const WITH_PASSWORD: &str = concat!("https://user:", planted!("@127.0.0.1:1"));

/// Configurations from settings, each with an invalid credential.
async fn settings() {
    let good = [
        ("VAULT_ADDR", "https://127.0.0.1:1"),
        ("VAULT_ROLE_ID", "role"),
        ("VAULT_SECRET_ID", planted!("secretid")),
    ];
    for name in SETTINGS.iter().map(Setting::variable).chain([""]) {
        let mut settings = Settings::new();
        for (name, value) in good {
            settings.set(name, value);
        }
        if !name.is_empty() {
            settings.set(name, planted!(" two words"));
        }
        canary::witness(&settings);
        let config = HashicorpConfig::from_settings(&settings);
        // `Debug` may show the other settings, which are not credentials.
        if matches!(name, "" | "VAULT_ADDR" | "VAULT_TOKEN" | "VAULT_SECRET_ID") {
            canary::witness(&config);
            if let Err(error) = config {
                witness_error(&error);
            }
        }
    }
    for address in [planted!("://a"), planted!(""), WITH_PASSWORD] {
        let auth = Auth::Token(planted!("token").into());
        let config = HashicorpConfig::new(address, auth);
        canary::witness(&config);
        witness_error(&HashicorpBackend::open(config).await.unwrap_err());
    }
}

/// Files that contain a credential by mistake, or a malformed one.
async fn files(folder: &Path) {
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, content).unwrap();
        file
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{CANARY}\n-----END {label}-----\n");
    let key = file("key", pem("PRIVATE KEY").as_bytes());
    let cert = file("cert", pem("CERTIFICATE").as_bytes());
    let words = file("words", planted!(" two words").as_bytes());
    let binary = file("binary", &[CANARY.as_bytes(), &[0xff]].concat());
    for secret_id in [words.clone(), binary.clone(), folder.join("none")] {
        let auth = AppRole::new("role", SecretId::File(secret_id));
        open_and_use(HashicorpConfig::new("http://127.0.0.1:1", auth)).await;
    }
    let config =
        || HashicorpConfig::new("https://127.0.0.1:1", Auth::Token(planted!("token").into()));
    for ca in [&cert, &key, &words, &binary] {
        let mut config = config();
        config.ca_cert = Some(ca.clone());
        open_and_use(config).await;
    }
    for identity in [(&cert, &key), (&key, &cert), (&words, &binary)] {
        let mut config = config();
        config.client_cert = Some(identity.0.clone());
        config.client_key = Some(identity.1.clone());
        open_and_use(config).await;
    }
}

/// Valid credentials, for longer than several tokens live.
async fn valid_credentials(server: &Server, credentials: &Credentials) {
    let backend = HashicorpBackend::open(over_tls(server, app_role(credentials))).await.unwrap();
    let path = SecretPath::parse("leaks/valid").unwrap();
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(7) {
        use_all(&backend, &path).await;
    }
    let health = backend.health().await.unwrap();
    assert_ne!(health.details["token_logins"], "1");
    backend.close().await.unwrap();
    open_and_use(over_tls(server, Auth::Token(server.root_token().into()))).await;
    let wrapping = server.wrapped_secret_id(&role()).await;
    // The second backend finds the wrapping token used.
    for _ in 0..2 {
        let wrapping = SecretId::Text(wrapping.clone().into());
        let mut login = AppRole::new(&credentials.role_id, wrapping);
        login.wrapped = true;
        open_and_use(over_tls(server, login.into())).await;
    }
}

/// Connections that fail in TLS.
async fn certificates(server: &Server, credentials: &Credentials) {
    let mut config = over_tls(server, app_role(credentials));
    config.ca_cert = Some(server.other_ca_file().into());
    open_and_use(config).await;
    let mut config = over_tls(server, app_role(credentials));
    config.ca_cert = None;
    open_and_use(config).await;
    let mut config = over_tls(server, app_role(credentials));
    config.address = server.address().replace("https", "http");
    open_and_use(config).await;
    let mtls = Server::client_certs().await;
    let auth = || Auth::Token(planted!("token").into());
    open_and_use(over_tls(&mtls, auth())).await;
    let mut config = over_tls(&mtls, auth());
    config.client_cert = Some(mtls.client_cert_file().into());
    config.client_key = Some(mtls.client_key_file().into());
    open_and_use(config).await;
}

/// Tokens and secret ids that the server rejects from the beginning, or later.
async fn invalid_credentials(server: &Server, credentials: &Credentials) {
    let wrong = [
        Auth::Token(planted!("token").into()),
        AppRole::new(&credentials.role_id, SecretId::Text(planted!("secretid").into())).into(),
        AppRole::new("none", SecretId::Text(credentials.secret_id.as_str().into())).into(),
    ];
    for auth in wrong {
        open_and_use(over_tls(server, auth)).await;
    }
    let backend = HashicorpBackend::open(over_tls(server, app_role(credentials))).await.unwrap();
    let path = SecretPath::parse("leaks/revoked").unwrap();
    use_all(&backend, &path).await;
    server.admin("DELETE", "sys/auth/approle", None).await;
    use_all(&backend, &path).await;
    canary::witness(&backend);
    backend.close().await.unwrap();
    server.enable_approle("approle").await;
}

/// Requests that a policy, a missing mount, a quota or a seal rejects.
async fn denied_requests(server: &Server) {
    server.write_policy("nothing", "path \"none\" { capabilities = [\"deny\"] }").await;
    let options = ApproleOptions { name: "nothing", policies: &["nothing"], ..role() };
    let credentials = server.approle(&options).await;
    open_and_use(over_tls(server, app_role(&credentials))).await;
    for mount in ["none", "sys", "cubbyhole"] {
        let mut config = over_tls(server, Auth::Token(server.root_token().into()));
        config.mount = mount.into();
        open_and_use(config).await;
    }
    let mut config = over_tls(server, Auth::Token(server.root_token().into()));
    let path = SecretPath::parse("leaks/used").unwrap();
    config.static_roles.insert(path, "database/none".into());
    open_and_use(config).await;
    let quota = json!({ "path": "secret/", "rate": 1, "interval": "60s" });
    server.admin("POST", "sys/quotas/rate-limit/few", Some(quota)).await;
    open_and_use(over_tls(server, Auth::Token(server.root_token().into()))).await;
    server.admin("DELETE", "sys/quotas/rate-limit/few", None).await;
    server.seal().await;
    open_and_use(over_tls(server, Auth::Token(server.root_token().into()))).await;
    server.unseal().await;
}

/// Tasks that panic while they hold secrets and configurations.
async fn panics(server: &Server) {
    let credentials = server.approle(&role()).await;
    let config = over_tls(server, app_role(&credentials));
    let backend = Arc::new(HashicorpBackend::open(config.clone()).await.unwrap());
    let path = SecretPath::parse("leaks/panic").unwrap();
    backend.put(&path, canary::text("panic"), PutOptions::new()).await.unwrap();
    let (own, at) = (Arc::clone(&backend), path.clone());
    let task = tokio::spawn(async move {
        let secret = own.get(&at, &VersionSelector::Active).await.unwrap();
        panic!("a task panics with {secret:?}, {own:?} and {config:?}");
    });
    assert!(task.await.unwrap_err().is_panic());
    let own = Arc::clone(&backend);
    let task = tokio::spawn(async move {
        own.get(&path, &VersionSelector::Exact(99.into())).await.unwrap();
    });
    assert!(task.await.unwrap_err().is_panic());
    backend.close().await.unwrap();
}
