//! Passwords of a database, which the store replaces by itself.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::hashicorp::{Auth, HashicorpConfig};
use strongroom::{ErrorKind, Secret, SecretPath};
use strongroom_testkit::{openbao, postgres};
use tokio::time::sleep;

use crate::support::{LIMIT, LOOK_EVERY, asked, check, open, policy};

const PATH: &str = "db/orders";
const MADE: &str = "database/static-creds/orders";

/// A store that replaces the password of the user `orders` every five seconds.
async fn store_of(database: &postgres::Server) -> openbao::Server {
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

/// At the time when it was asked for, the store did not promise to have replaced it.
fn is_within_its_lease(secret: &Secret, asked_for: Instant) -> bool {
    let age = asked_for.saturating_duration_since(secret.read_at());
    // The cache's clock lags by 10 ms at most.
    age <= secret.lease().unwrap() + Duration::from_millis(10)
}

#[tokio::test]
async fn a_password_is_served_until_the_store_replaces_it_and_no_longer() {
    let database = postgres::Server::start().await;
    let mut store = store_of(&database).await;
    let audit = store.enable_audit().await;
    let auth = Auth::Token(store.root_token().into());
    let mut config = HashicorpConfig::new(store.address(), auth);
    let role = (SecretPath::parse(PATH).unwrap(), "database/orders".to_owned());
    config.static_roles = [role].into();
    let secrets = open(config, policy().cache_ttl(Duration::from_secs(300)));

    let first = secrets.get(PATH).await.unwrap();
    assert!(first.lease().unwrap() <= Duration::from_secs(5), "{:?}", first.lease());
    assert!(accepts(&database, &first));
    secrets.get(PATH).await.unwrap();
    assert_eq!(asked(&audit, MADE), 1);
    let begin = Instant::now();
    let next = loop {
        let asked_for = Instant::now();
        let secret = secrets.get(PATH).await.unwrap();
        assert!(is_within_its_lease(&secret, asked_for), "{secret:?} {:?}", secret.age());
        if secret.version() != first.version() {
            break secret;
        }
        assert!(begin.elapsed() < LIMIT, "the store replaces nothing");
        sleep(LOOK_EVERY).await;
    };
    assert!(!accepts(&database, &first) && accepts(&database, &next));

    // In an outage, too: the store's plugin ends with it, but a store that is merely cut off would
    // go on replacing passwords.
    store.kill();
    let begin = Instant::now();
    let error = loop {
        let asked_for = Instant::now();
        match secrets.get(PATH).await {
            Ok(secret) => assert!(is_within_its_lease(&secret, asked_for), "{secret:?}"),
            Err(error) => break error,
        }
        assert!(begin.elapsed() < LIMIT, "it is served for ever");
        sleep(LOOK_EVERY).await;
    };
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(secrets.get(PATH).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
