//! Database passwords that the server rotates by itself.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::hashicorp::{Auth, HashicorpConfig};
use strongroom::{ErrorKind, Secret, SecretPath};
use strongroom_testkit::{openbao, postgres};
use tokio::time::sleep;

use crate::support::{LIMIT, POLL_INTERVAL, check, count_requests, open, policy};

const PATH: &str = "db/orders";
const STATIC_CREDS: &str = "database/static-creds/orders";

/// A server that rotates the password of the user `orders` every five seconds.
async fn start_store(database: &postgres::Server) -> openbao::Server {
    let store = openbao::Server::dev().await;
    let engine = json!({ "type": "database" });
    store.admin("POST", "sys/mounts/database", Some(engine)).await;
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
    store.admin("POST", "database/config/main", Some(connection)).await;
    database.sql("CREATE ROLE orders LOGIN PASSWORD 'initial'");
    let role = json!({ "db_name": "main", "username": "orders", "rotation_period": "5s" });
    store.admin("POST", "database/static-roles/orders", Some(role)).await;
    store
}

fn accepts(database: &postgres::Server, secret: &Secret) -> bool {
    let password = secret.field("password").unwrap();
    database.accepts("orders", password.expose_text().unwrap())
}

/// Whether the lease had not ended when the read began.
fn is_within_lease(secret: &Secret, read_began: Instant) -> bool {
    let age = read_began.saturating_duration_since(secret.read_at());
    // The cache's clock lags by 10 ms at most.
    age <= secret.lease().unwrap() + Duration::from_millis(10)
}

#[tokio::test]
async fn the_cache_serves_a_password_until_its_lease_ends() {
    let database = postgres::Server::start().await;
    let mut store = start_store(&database).await;
    let audit = store.enable_audit().await;
    let auth = Auth::Token(store.root_token().into());
    let mut config = HashicorpConfig::new(store.address(), auth);
    let role = (SecretPath::parse(PATH).unwrap(), "database/orders".to_owned());
    config.static_roles = [role].into();
    let secrets = open(config, policy().cache_ttl(Duration::from_secs(300))).await;

    let mut first = secrets.get(PATH).await.unwrap();
    // A busy machine may have got it just before its rotation: then take the next one.
    let mut reads = 1;
    while first.lease().unwrap() < Duration::from_secs(3) {
        sleep(POLL_INTERVAL).await;
        first = secrets.refresh(PATH).await.unwrap();
        reads += 1;
    }
    assert!(first.lease().unwrap() <= Duration::from_secs(5), "{:?}", first.lease());
    assert!(accepts(&database, &first));
    secrets.get(PATH).await.unwrap();
    assert_eq!(count_requests(&audit, STATIC_CREDS), reads);
    let begin = Instant::now();
    let next = loop {
        let read_began = Instant::now();
        let secret = secrets.get(PATH).await.unwrap();
        assert!(is_within_lease(&secret, read_began), "{secret:?} {:?}", secret.age());
        if secret.version() != first.version() {
            break secret;
        }
        assert!(begin.elapsed() < LIMIT, "the server does not rotate the password");
        sleep(POLL_INTERVAL).await;
    };
    assert!(!accepts(&database, &first) && accepts(&database, &next));

    // The same holds in an outage: a server that is cut off would continue to rotate passwords.
    store.kill();
    let begin = Instant::now();
    let error = loop {
        let read_began = Instant::now();
        match secrets.get(PATH).await {
            Ok(secret) => assert!(is_within_lease(&secret, read_began), "{secret:?}"),
            Err(error) => break error,
        }
        assert!(begin.elapsed() < LIMIT, "the password is served without an end");
        sleep(POLL_INTERVAL).await;
    };
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(secrets.get(PATH).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
