//! Two alternating roles of a PostgreSQL server, for one run of an example.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use strongroom::rotation::{
    ManagedKey, PostgresIssuer, PostgresIssuerConfig, RotatingKey, RotationEngine, RotationPolicy,
};
use strongroom::{Backend as _, MemoryBackend, PutOptions, SecretPath};
use tokio_postgres::{Client, NoTls};

const HELP: &str = "set DATABASE_ADMIN_URL to the URL of a PostgreSQL server on this machine, such as \
    `postgresql://postgres:password@localhost/postgres`, with a role that may create roles; the example \
    creates two roles and drops them at the end";

pub(crate) struct PostgresDemo {
    admin: Client,
    roles: [String; 2],
    pub(crate) engine: RotationEngine,
    pub(crate) key: RotatingKey,
}

impl PostgresDemo {
    /// Creates the roles and adds their key to an engine.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let admin_url = env::var("DATABASE_ADMIN_URL").context(HELP)?;
        let (scheme, rest) = admin_url.split_once("://").context(HELP)?;
        let (_, host) = rest.split_once('@').context(HELP)?;
        let (admin, connection) = tokio_postgres::connect(&admin_url, NoTls).await?;
        tokio::spawn(connection);

        let id = uuid::Uuid::new_v4().simple().to_string();
        let roles = ["a", "b"].map(|suffix| format!("demo_{}_{suffix}", &id[..8]));
        let [first, second] = &roles;
        let password = uuid::Uuid::new_v4().simple();
        let sql =
            format!("CREATE ROLE {first} LOGIN PASSWORD '{password}'; CREATE ROLE {second} LOGIN");
        admin.batch_execute(&sql).await?;
        let first_key = format!("{scheme}://{first}:{password}@{host}");

        // A service uses a durable store instead.
        let store = Arc::new(MemoryBackend::new());
        for (path, url) in [("db/administrator", admin_url.as_str()), ("db/demo", &*first_key)] {
            store.put(&SecretPath::parse(path)?, url.into(), PutOptions::new()).await?;
        }
        let mut config = PostgresIssuerConfig::new(first, second);
        config.end_sessions = true;
        let issuer = PostgresIssuer::new(Arc::clone(&store), "db/administrator", &config)?;
        let engine = RotationEngine::new(store).observer(|event| println!("  {event}"));
        let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::from_secs(5));
        let key = engine.add(ManagedKey::new("db/demo", issuer).policy(policy)).await?;
        Ok(Self { admin, roles, engine, key })
    }

    /// Rotates three times, at intervals of one second.
    pub(crate) async fn rotate(&self) -> anyhow::Result<()> {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let generation = self.key.rotate().await?;
            println!("generation {generation} is in use");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Drops the roles. The caller has closed their connections.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.engine.shutdown().await;
        let [first, second] = &self.roles;
        Ok(self.admin.batch_execute(&format!("DROP ROLE {first}, {second}")).await?)
    }
}
