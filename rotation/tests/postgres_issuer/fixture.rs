//! A server with two alternating roles, and an administrator with the least privileges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use strongroom_core::{
    Backend as _, MemoryBackend, PutOptions, SecretPath, SecretValue, VersionSelector,
};
use strongroom_rotation::{PostgresIssuer, PostgresIssuerConfig};
use strongroom_testkit::postgres::Server;
use strongroom_testkit::{canary, planted};

/// Where the store holds the administrator's URL.
pub(crate) const ADMIN: &str = "db/administrator";
/// Where the store holds the key.
pub(crate) const PATH: &str = "db/orders";
/// The password that the first role has in the beginning.
pub(crate) const FIRST: &str = planted!("/first:@%?#");
const ADMIN_PASSWORD: &str = planted!(" admin's");

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) store: Arc<MemoryBackend>,
    pub(crate) roles: [&'static str; 2],
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::of(["orders_a", "orders_b"]).await
    }

    /// The same with roles of these names. The first one can log in.
    pub(crate) async fn of(roles: [&'static str; 2]) -> Self {
        canary::watch();
        let server = Server::start().await;
        let [one, other] = roles.map(quote_identifier);
        let (first, admin) = (FIRST, ADMIN_PASSWORD.replace('\'', "''"));
        server.sql(&format!("CREATE ROLE {one} LOGIN PASSWORD '{first}'"));
        server.sql(&format!("CREATE ROLE {other} LOGIN"));
        server.sql(&format!("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD '{admin}'"));
        server.sql(&format!(
            "GRANT {one}, {other} TO keeper WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
        ));
        let fixture = Self { server, store: Arc::new(MemoryBackend::new()), roles };
        fixture.store_admin_url(&fixture.admin_url()).await;
        fixture
    }

    /// The administrator's URL in the beginning.
    pub(crate) fn admin_url(&self) -> SecretValue {
        self.url("keeper", ADMIN_PASSWORD)
    }

    pub(crate) async fn store_admin_url(&self, url: &SecretValue) {
        self.put(ADMIN, url.clone()).await;
    }

    pub(crate) async fn put(&self, path: &str, value: SecretValue) {
        let path = SecretPath::parse(path).unwrap();
        self.store.put(&path, value, PutOptions::new()).await.unwrap();
    }

    /// The key that the store holds now.
    pub(crate) async fn stored_key(&self) -> SecretValue {
        let path = SecretPath::parse(PATH).unwrap();
        let secret = self.store.get(&path, &VersionSelector::Active).await.unwrap();
        secret.field("key").unwrap()
    }

    /// A key for this server.
    pub(crate) fn url(&self, role: &str, password: &str) -> SecretValue {
        url(&self.server.address().to_string(), role, password)
    }

    /// The key in the beginning.
    pub(crate) fn first(&self) -> SecretValue {
        self.url(self.roles[0], FIRST)
    }

    pub(crate) fn issuer(&self) -> PostgresIssuer {
        self.issuer_with(|_| {})
    }

    pub(crate) fn issuer_with(
        &self,
        change: impl FnOnce(&mut PostgresIssuerConfig),
    ) -> PostgresIssuer {
        let [one, other] = self.roles;
        let mut config = PostgresIssuerConfig::new(one, other);
        change(&mut config);
        let issuer = PostgresIssuer::new(Arc::clone(&self.store), ADMIN, &config).unwrap();
        canary::witness(&(&config, &issuer));
        issuer
    }

    /// Whether a key opens a connection.
    pub(crate) fn accepts(&self, key: &SecretValue) -> bool {
        let (role, password) = credentials(key);
        self.server.accepts(&role, &password)
    }

    /// The comment of a role, as the server stores it.
    pub(crate) fn comment(&self, role: &str) -> Vec<u8> {
        let name = role.replace('\'', "''");
        let ask = format!(
            "SELECT encode(convert_to(shobj_description(oid, 'pg_authid'), 'UTF8'), 'hex') \
             FROM pg_authid WHERE rolname = '{name}'"
        );
        let digits = self.server.sql(&ask);
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// Whether a role has a password.
    pub(crate) fn has_password(&self, role: &str) -> bool {
        let name = role.replace('\'', "''");
        let ask = format!("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = '{name}'");
        self.server.sql(&ask) == "t"
    }

    /// Replaces the lines of `pg_hba.conf`.
    pub(crate) fn admit(&self, lines: &[&str]) {
        let file = self.server.sql("SHOW hba_file");
        let rows: Vec<_> = lines.iter().map(|line| format!("('{line}')")).collect();
        self.server.sql(&format!("COPY (VALUES {}) TO '{file}'", rows.join(",")));
        self.reload();
    }

    /// Reloads the server's configuration, and waits until new sessions have it: they inherit it from the
    /// server's first process with the time at which that loaded it.
    pub(crate) fn reload(&self) {
        let loaded_at = || self.server.sql("SELECT pg_conf_load_time()");
        let (before, begin) = (loaded_at(), Instant::now());
        self.server.sql("SELECT pg_reload_conf()");
        while loaded_at() == before {
            assert!(begin.elapsed() < Duration::from_secs(60), "the server has not reloaded");
        }
    }
}

pub(crate) fn url(host: &str, role: &str, password: &str) -> SecretValue {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (role, password) = (encoded(role), encoded(password));
    format!(
        "postgresql://{role}:{password}@{host}/postgres?application_name=o%72ders&sslmode=prefer"
    )
    .into()
}

/// Role and password of a key.
pub(crate) fn credentials(key: &SecretValue) -> (String, String) {
    let text = key.expose_text().unwrap();
    let (credentials, _) = text.split_once("//").unwrap().1.split_once('@').unwrap();
    let (role, password) = credentials.split_once(':').unwrap();
    let decoded = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    (decoded(role), decoded(password))
}

pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
