//! Static roles of a database engine: a real server rotates the passwords of a real database.

#![expect(clippy::unwrap_used, reason = "this is test code")]

use std::time::{Duration, SystemTime};

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig, SETTINGS};
use strongroom_core::{
    Backend, Capability, Error, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions,
    Secret, SecretKind, SecretPath, SecretValue, Settings, Version, VersionSelector,
};
use strongroom_testkit::{openbao, postgres};

const MOUNTS: [&str; 2] = ["database", "team/db"];

/// A server with a database engine at each of [`MOUNTS`], and the database.
struct Setup {
    store: openbao::Server,
    database: postgres::Server,
}

impl Setup {
    async fn new() -> Self {
        let (store, database) = tokio::join!(openbao::Server::dev(), postgres::Server::start());
        for mount in MOUNTS {
            let engine = json!({ "type": "database" });
            store.admin("POST", &format!("sys/mounts/{mount}"), Some(engine)).await;
            let connection = json!({
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "*",
                "connection_url": format!(
                    "postgresql://{{{{username}}}}:{{{{password}}}}@{}/postgres?sslmode=disable",
                    database.address()
                ),
                "username": database.user(),
                "password": database.password(),
            });
            store.admin("POST", &format!("{mount}/config/main"), Some(connection)).await;
        }
        Self { store, database }
    }

    /// Creates a static role, and the database user of that name.
    async fn add_role(&self, mount: &str, name: &str) {
        self.database.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD 'initial'"));
        let role = json!({ "db_name": "main", "username": name, "rotation_period": "1h" });
        self.store.admin("POST", &format!("{mount}/static-roles/{name}"), Some(role)).await;
    }

    async fn backend(&self, roles: &[(&str, &str)]) -> HashicorpBackend {
        self.backend_as(self.store.root_token(), roles).await
    }

    async fn backend_as(&self, token: &str, roles: &[(&str, &str)]) -> HashicorpBackend {
        let mut config = HashicorpConfig::new(self.store.address(), Auth::Token(token.into()));
        let roles = roles.iter().map(|(path, role)| (self::path(path), (*role).to_owned()));
        config.static_roles = roles.collect();
        HashicorpBackend::open(config).await.unwrap()
    }

    /// A backend with one static role, whose token has only the permissions of these rules.
    async fn backend_with(&self, rules: &str) -> HashicorpBackend {
        self.store.write_policy("narrow", rules).await;
        let token = json!({ "policies": ["narrow"], "no_default_policy": true });
        let made = self.store.admin("POST", "auth/token/create", Some(token)).await;
        let token = made.pointer("/auth/client_token").unwrap().as_str().unwrap();
        self.backend_as(token, &[("db/orders", "database/orders")]).await
    }

    fn accepts(&self, secret: &Secret) -> bool {
        self.database.accepts(&field(secret, "username"), &field(secret, "password"))
    }
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

fn field(secret: &Secret, name: &str) -> String {
    secret.field(name).unwrap().expose_text().unwrap().to_owned()
}

async fn read(backend: &impl Backend, at: &str) -> Result<Secret, Error> {
    backend.get(&path(at), &VersionSelector::Active).await
}

/// Rotates a password: the old one no longer works, and a read returns the new one.
async fn assert_rotation(setup: &Setup, backend: &impl Backend, at: &str) -> Secret {
    let before = read(backend, at).await.unwrap();
    assert!(setup.accepts(&before));
    backend.rotate(&path(at)).await.unwrap();
    let after = read(backend, at).await.unwrap();
    assert_eq!(field(&after, "username"), field(&before, "username"));
    assert_ne!(field(&after, "password"), field(&before, "password"));
    assert!(!setup.accepts(&before) && setup.accepts(&after));
    assert_ne!(after.version(), before.version());
    assert!(after.metadata().updated_at > before.metadata().updated_at);
    after
}

#[tokio::test]
async fn reads_the_credentials_of_a_static_role() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[("db/orders", "database/orders")]).await;
    let secret = read(&backend, "db/orders").await.unwrap();
    assert_eq!(field(&secret, "username"), "orders");
    assert!(setup.accepts(&secret) && !setup.database.accepts("orders", "initial"));

    let info = setup.store.admin("GET", "database/static-creds/orders", None).await;
    let rotated_at = info.pointer("/data/last_vault_rotation").unwrap().as_str().unwrap();
    assert_eq!(secret.version().to_string(), rotated_at);
    let metadata = secret.metadata();
    let age = SystemTime::now().duration_since(metadata.updated_at.unwrap()).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!(metadata.kind, SecretKind::DbCredential);
    assert_eq!(metadata.rotation_interval, Some(Duration::from_secs(3_600)));
    assert_eq!(metadata.expires_at, None);
    let lease = secret.lease().expect("the store says when it replaces the password");
    assert!(lease > Duration::from_secs(3_000) && lease <= Duration::from_secs(3_600), "{lease:?}");
    // The value contains only the user name and the password.
    assert_eq!(secret.field("ttl").unwrap_err().kind(), ErrorKind::FieldNotFound);
}

#[tokio::test]
async fn a_rotation_replaces_the_password() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    setup.add_role("team/db", "billing").await;
    let roles = [("db/orders", "database/orders"), ("db/billing", "team/db/billing")];
    let backend = setup.backend(&roles).await;
    let billing = read(&backend, "db/billing").await.unwrap();
    assert_rotation(&setup, &backend, "db/orders").await;
    assert_eq!(read(&backend, "db/billing").await.unwrap().version(), billing.version());
    assert_rotation(&setup, &backend, "db/billing").await;
}

#[tokio::test]
async fn parses_static_roles_from_settings() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    setup.add_role("team/db", "billing").await;
    let mut settings = Settings::new();
    settings.set("VAULT_ADDR", setup.store.address());
    settings.set("VAULT_TOKEN", setup.store.root_token());
    let roles = "db/orders=database/orders, billing = team/db/billing";
    settings.set("SECRETS_VAULT_STATIC_ROLES", roles);
    assert!(settings.variables().all(|name| SETTINGS.iter().any(|known| known.variable() == name)));
    let config = HashicorpConfig::from_settings(&settings).unwrap();
    let backend = HashicorpBackend::open(config).await.unwrap();
    assert_rotation(&setup, &backend, "db/orders").await;
    assert_rotation(&setup, &backend, "billing").await;
}

#[test]
fn rejects_malformed_static_roles_in_settings() {
    for (roles, problem) in [
        ("db/orders", "not a list such as `db/orders=database/orders`"),
        ("db//orders=database/orders", "a path that is invalid"),
        ("db/orders=orders", "what `db/orders` stands for is not a mount and a role"),
        ("db/orders=database/../orders", "is not a mount and a role"),
        ("a=database/a,b=database/b,a=database/c", "names `a` twice"),
    ] {
        let mut settings = Settings::new();
        settings.set("VAULT_ADDR", "https://127.0.0.1:1");
        settings.set("VAULT_TOKEN", "token");
        settings.set("SECRETS_VAULT_STATIC_ROLES", roles);
        let error = HashicorpConfig::from_settings(&settings).unwrap_err();
        let [only] = error.problems() else { panic!("not one problem: {error}") };
        assert!(only.contains("`SECRETS_VAULT_STATIC_ROLES`") && only.contains(problem), "{only}");
    }
}

#[tokio::test]
async fn a_static_role_supports_only_get_and_rotate() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[("db/orders", "database/orders")]).await;
    let (at, value) = (path("db/orders"), SecretValue::from("mine"));
    let version = read(&backend, "db/orders").await.unwrap().version().clone();
    for (operation, error) in [
        (Operation::Put, backend.put(&at, value, PutOptions::new()).await.unwrap_err()),
        (Operation::Delete, backend.delete(&at).await.unwrap_err()),
        (Operation::Undelete, backend.undelete(&at).await.unwrap_err()),
        (Operation::Destroy, backend.destroy(&at).await.unwrap_err()),
        (Operation::Versions, backend.versions(&at).await.unwrap_err()),
        (Operation::Rollback, backend.rollback(&at, &version).await.unwrap_err()),
        (Operation::Describe, backend.describe(&at).await.unwrap_err()),
        (Operation::Annotate, backend.annotate(&at, &MetadataPatch::default()).await.unwrap_err()),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!((error.operation(), error.path()), (Some(operation), Some(&at)));
        assert!(error.advice().contains("only `get` and `rotate`"), "{error}");
    }
    assert_eq!(read(&backend, "db/orders").await.unwrap().version(), &version);
    // No operation has reached the KV engine.
    assert_eq!(setup.store.call("GET", "secret/metadata/db/orders", None).await.0, 404);
}

#[tokio::test]
async fn a_static_role_has_no_earlier_versions() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[("db/orders", "database/orders")]).await;
    let now = read(&backend, "db/orders").await.unwrap().version().clone();
    for version in [now, Version::from(1), Version::new("long ago")] {
        let selector = VersionSelector::Exact(version);
        let error = backend.get(&path("db/orders"), &selector).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("keeps no versions"), "{error}");
    }
}

#[tokio::test]
async fn other_secrets_are_not_affected_by_static_roles() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[("db/orders", "database/orders")]).await;
    let other = path("db/other");
    backend.put(&other, SecretValue::from("mine"), PutOptions::new()).await.unwrap();
    for at in ["db/other", "db/none", "db/orders/below", "db"] {
        let error = backend.rotate(&path(at)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.advice().contains("`HashicorpConfig::static_roles`"), "{error}");
    }
    assert_eq!(read(&backend, "db/other").await.unwrap().expose_text().unwrap(), "mine");
    assert_eq!(read(&backend, "db/none").await.unwrap_err().kind(), ErrorKind::NotFound);
    let paths = [path("db/none"), path("db/orders"), other];
    let kinds = backend.get_many(&paths).await.into_iter();
    let kinds: Vec<_> = kinds.map(|read| read.map(|secret| secret.metadata().kind)).collect();
    assert_eq!(kinds[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(kinds[1].as_ref().unwrap(), &SecretKind::DbCredential);
    assert_eq!(kinds[2].as_ref().unwrap(), &SecretKind::default());
}

#[tokio::test]
async fn lists_contain_static_roles() {
    let setup = Setup::new().await;
    let roles = [("db/orders", "database/orders"), ("db/a/b", "database/none")];
    let backend = setup.backend(&roles).await;
    backend.put(&path("db/kv"), SecretValue::from("mine"), PutOptions::new()).await.unwrap();
    for (prefix, options, expected) in [
        (None, ListOptions::new(), vec!["db/a/b", "db/kv", "db/orders"]),
        (Some("db"), ListOptions::new(), vec!["db/a/b", "db/kv", "db/orders"]),
        (Some("db/a"), ListOptions::new(), vec!["db/a/b"]),
        (Some("db/orders"), ListOptions::new(), vec![]),
        (Some("d"), ListOptions::new(), vec![]),
        (None, ListOptions::new().kind(SecretKind::DbCredential), vec!["db/a/b", "db/orders"]),
        (None, ListOptions::new().kind(SecretKind::Custom), vec!["db/kv"]),
        (None, ListOptions::new().tag("team", "a"), vec![]),
    ] {
        let page = backend.list(prefix.map(path).as_ref(), &options).await.unwrap();
        let mut paths: Vec<_> = page.paths.iter().map(SecretPath::as_str).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected, "{prefix:?} {options:?}");
        assert!(page.next.is_none());
    }
}

#[tokio::test]
async fn the_error_names_the_missing_permission() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let reads = r#"path "database/static-creds/orders" { capabilities = ["read"] }"#;
    let backend = setup.backend_with(reads).await;
    let before = read(&backend, "db/orders").await.unwrap();
    let error = backend.rotate(&path("db/orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let advice = "grant `update` on `database/rotate-role/orders` to this role or token";
    assert_eq!(error.advice(), advice);
    assert_eq!(read(&backend, "db/orders").await.unwrap().version(), before.version());

    let rotates = r#"path "database/rotate-role/orders" { capabilities = ["update"] }"#;
    let backend = setup.backend_with(rotates).await;
    backend.rotate(&path("db/orders")).await.unwrap();
    let error = read(&backend, "db/orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let advice = "grant `read` on `database/static-creds/orders` to this role or token";
    assert_eq!(error.advice(), advice);
    assert!(!setup.accepts(&before));
}

#[tokio::test]
async fn the_error_names_the_missing_role_or_engine() {
    let setup = Setup::new().await;
    let backend = setup
        .backend(&[("role", "team/db/none"), ("mount", "none/orders"), ("kv", "secret/orders")])
        .await;
    for (at, kind, advice) in [
        ("role", ErrorKind::NotFound, "create the static role `team/db/static-roles/none`"),
        ("mount", ErrorKind::Config, "enable a database engine at `none`"),
        ("kv", ErrorKind::Config, "enable a database engine at `secret`"),
    ] {
        let reading = read(&backend, at).await.unwrap_err();
        let rotating = backend.rotate(&path(at)).await.unwrap_err();
        for error in [reading, rotating] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.advice().starts_with(advice), "{error}");
            assert!(
                error.advice().contains("`HashicorpConfig::static_roles`") && !error.is_temporary()
            );
        }
    }
}

#[tokio::test]
async fn does_not_write_to_a_kv_engine_configured_by_mistake() {
    let setup = Setup::new().await;
    let engine = json!({ "type": "kv", "options": { "version": "1" } });
    setup.store.admin("POST", "sys/mounts/kv", Some(engine)).await;
    let backend = setup.backend(&[("db/orders", "kv/orders")]).await;
    let error = read(&backend, "db/orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let error = backend.rotate(&path("db/orders")).await.unwrap_err();
    assert!(!error.is_temporary() && error.advice().contains("`HashicorpConfig::static_roles`"));
    assert_eq!(setup.store.call("LIST", "kv", None).await.0, 404);
}

#[tokio::test]
async fn a_rotation_that_fails_keeps_the_password() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[("db/orders", "database/orders")]).await;
    let before = read(&backend, "db/orders").await.unwrap();
    setup.database.sql("ALTER ROLE orders RENAME TO renamed");
    let error = backend.rotate(&path("db/orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_temporary());
    let kept = read(&backend, "db/orders").await.unwrap();
    assert_eq!(kept.version(), before.version());
    assert_eq!(field(&kept, "password"), field(&before, "password"));
    assert!(setup.database.accepts("renamed", &field(&kept, "password")));

    setup.database.sql("ALTER ROLE renamed RENAME TO orders");
    backend.rotate(&path("db/orders")).await.unwrap();
    let after = read(&backend, "db/orders").await.unwrap();
    assert!(!setup.accepts(&before) && setup.accepts(&after));
}

#[tokio::test]
async fn declares_rotation_only_with_static_roles() {
    let token = || Auth::Token("token".into());
    let mut config = HashicorpConfig::new("https://127.0.0.1:1", token());
    let can_rotate = async |config: &HashicorpConfig| {
        let backend = HashicorpBackend::open(config.clone()).await.unwrap();
        backend.info().capabilities.has(Capability::Rotate)
    };
    assert!(!can_rotate(&config).await);
    config.static_roles.insert(path("db/orders"), "database/orders".into());
    assert!(can_rotate(&config).await);
    let backend = HashicorpBackend::open(config).await.unwrap();
    assert!(backend.locate(&path("db/orders")).contains("static role `database/orders`"));
}

#[tokio::test]
async fn rotation_is_unsupported_without_static_roles() {
    let setup = Setup::new().await;
    setup.add_role("database", "orders").await;
    let backend = setup.backend(&[]).await;
    let error = backend.rotate(&path("db/orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(read(&backend, "db/orders").await.unwrap_err().kind(), ErrorKind::NotFound);
}
