//! A server with two alternating roles, and an engine over them.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Backend as _, MemoryBackend, PutOptions, SecretPath};
use strongroom_rotation::{
    ManagedKey, PostgresIssuer, PostgresIssuerConfig, RotatingKey, RotationEngine, RotationEvent,
    RotationPolicy, RotationStep,
};
use strongroom_testkit::postgres::Server;
use strongroom_testkit::{canary, planted};
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::BOUND;

const PATH: &str = "db/orders";
const PASSWORD: &str = planted!("pools");

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) store: Arc<MemoryBackend>,
    /// Whether a revocation ends the sessions of the old role.
    pub(crate) end_sessions: bool,
}

/// One instance of a service.
pub(crate) struct Instance {
    pub(crate) engine: RotationEngine,
    pub(crate) key: RotatingKey,
    events: broadcast::Receiver<RotationEvent>,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        canary::watch();
        let server = Server::start().await;
        server.sql(&format!("CREATE ROLE orders_a LOGIN PASSWORD '{PASSWORD}'"));
        server.sql("CREATE ROLE orders_b LOGIN");
        server.sql(&format!("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD '{PASSWORD}'"));
        server.sql("GRANT orders_a, orders_b TO keeper WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
        server.sql("GRANT pg_signal_backend TO keeper");
        let store = Arc::new(MemoryBackend::new());
        for (path, role) in [("db/administrator", "keeper"), (PATH, "orders_a")] {
            let host = server.address();
            let url =
                format!("postgresql://{role}:{PASSWORD}@{host}/postgres?application_name=app");
            let path = SecretPath::parse(path).unwrap();
            store.put(&path, url.into(), PutOptions::new()).await.unwrap();
        }
        Self { server, store, end_sessions: false }
    }

    pub(crate) async fn instance(&self, policy: RotationPolicy) -> Instance {
        let mut config = PostgresIssuerConfig::new("orders_a", "orders_b");
        config.end_sessions = self.end_sessions;
        let issuer =
            PostgresIssuer::new(Arc::clone(&self.store), "db/administrator", &config).unwrap();
        let engine = RotationEngine::new(Arc::clone(&self.store));
        let events = engine.events();
        let key = engine.add(ManagedKey::new(PATH, issuer).policy(policy)).await.unwrap();
        Instance { engine, key, events }
    }

    /// How many connections the pools have.
    pub(crate) fn connections(&self) -> u64 {
        self.count("true")
    }

    pub(crate) fn now(&self) -> String {
        self.server.sql("SELECT clock_timestamp()")
    }

    /// Waits until only connections are left that logged in since `begin` as the role of this key.
    pub(crate) async fn only_current(&self, key: &RotatingKey, begin: &str) {
        let role = if key.acquire().expose_text().unwrap().contains("orders_a:") {
            "orders_a"
        } else {
            "orders_b"
        };
        let earlier = format!("usename <> '{role}' OR backend_start < '{begin}'");
        self.wait_for(&earlier, 0).await;
    }

    /// Waits until as many connections of the pools fulfil a condition.
    pub(crate) async fn wait_for(&self, condition: &str, count: u64) {
        let all = async {
            while self.count(condition) != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(BOUND, all).await.unwrap();
    }

    fn count(&self, condition: &str) -> u64 {
        let ask = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'app' AND ({condition})"
        );
        self.server.sql(&ask).parse().unwrap()
    }
}

impl Instance {
    /// Rotates, and waits until the old key is revoked, which needs all connections of that key to be closed.
    pub(crate) async fn rotate(&mut self) {
        self.key.rotate().await.unwrap();
        let finished = async {
            loop {
                match self.events.recv().await.unwrap().step {
                    RotationStep::Finished { .. } => break,
                    RotationStep::Failed { error }
                    | RotationStep::RevocationFailed { error, .. } => panic!("{error}"),
                    _ => {}
                }
            }
        };
        timeout(BOUND, finished).await.unwrap();
    }

    /// Waits until this instance uses a key of this generation.
    pub(crate) async fn wait_for_generation(&self, generation: u64) {
        let mut state = self.key.watch();
        let switched = state.wait_for(|state| state.generation >= generation);
        timeout(BOUND, switched).await.unwrap().unwrap();
    }
}
