//! Two alternating roles of a PostgreSQL server, for one run of an example.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use strongroom_core::{Backend as _, MemoryBackend, PutOptions, SecretPath};
use strongroom_rotation::{
    ManagedKey, PostgresIssuer, PostgresIssuerConfig, RotatingKey, RotationEngine, RotationPolicy,
};
use tokio_postgres::{Client, NoTls};

const HELP: &str = "set DATABASE_ADMIN_URL to the URL of a PostgreSQL server on this machine, such as \
    `postgresql://postgres:password@localhost/postgres`, with a role that may create roles; the example \
    creates two roles and drops them in the end";

pub(crate) struct Demo {
    admin: Client,
    roles: [String; 2],
    pub(crate) engine: RotationEngine,
    pub(crate) key: RotatingKey,
}

impl Demo {
    /// Creates the roles, and has an engine rotate the key that they share.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let admin_url = env::var("DATABASE_ADMIN_URL").context(HELP)?;
        let (scheme, rest) = admin_url.split_once("://").context(HELP)?;
        let (_, place) = rest.split_once('@').context(HELP)?;
        let (admin, connection) = tokio_postgres::connect(&admin_url, NoTls).await?;
        tokio::spawn(connection);

        let id = uuid::Uuid::new_v4().simple().to_string();
        let roles = ["a", "b"].map(|turn| format!("demo_{}_{turn}", &id[..8]));
        let [one, other] = &roles;
        let password = uuid::Uuid::new_v4().simple();
        let sql =
            format!("CREATE ROLE {one} LOGIN PASSWORD '{password}'; CREATE ROLE {other} LOGIN");
        admin.batch_execute(&sql).await?;
        let first_key = format!("{scheme}://{one}:{password}@{place}");

        // A service uses a persistent store instead of memory.
        let store = Arc::new(MemoryBackend::new());
        for (path, url) in [("db/administrator", admin_url.as_str()), ("db/demo", &*first_key)] {
            store.put(&SecretPath::parse(path)?, url.into(), PutOptions::new()).await?;
        }
        let mut config = PostgresIssuerConfig::new(one, other);
        config.end_sessions = true;
        let issuer = PostgresIssuer::new(Arc::clone(&store), "db/administrator", &config)?;
        let engine = RotationEngine::new(store).observer(|event| println!("  {event}"));
        let policy = RotationPolicy::new().single_instance().drain_timeout(Duration::from_secs(5));
        let key = engine.add(ManagedKey::new("db/demo", issuer).policy(policy)).await?;
        Ok(Self { admin, roles, engine, key })
    }

    /// Rotates a few times, a second apart.
    pub(crate) async fn rotate(&self) -> anyhow::Result<()> {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let generation = self.key.rotate().await?;
            println!("generation {generation} is in use");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Drops the roles, whose connections are closed.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.engine.shutdown().await;
        let [one, other] = &self.roles;
        Ok(self.admin.batch_execute(&format!("DROP ROLE {one}, {other}")).await?)
    }
}
