//! A store in PostgreSQL that several processes share.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use secrecy::SecretString;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, PutOptions, SecretPath, VersionSelector,
};
use strongroom_testkit::postgres::Server;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn url(server: &Server) -> SecretString {
    let (user, password) = (server.user(), server.password());
    format!("postgresql://{user}:{password}@{}/postgres", server.address()).into()
}

fn config(server: &Server) -> NativeConfig {
    let mut config = NativeConfig::new(KeySource::Key(KEY.into()));
    config.url = Some(url(server));
    config
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

async fn read(store: &NativeBackend, name: &str) -> String {
    let secret = store.get(&path(name), &VersionSelector::Active).await.unwrap();
    secret.value().expose_text().unwrap().to_owned()
}

async fn write(store: &NativeBackend, name: &str, value: &str) {
    store.put(&path(name), value.into(), PutOptions::new()).await.unwrap();
}

#[tokio::test]
async fn hosts_share_a_store_that_the_first_write_creates() {
    let server = Server::start().await;
    let one = NativeBackend::open(config(&server)).await.unwrap();
    let other = NativeBackend::open(config(&server)).await.unwrap();
    let missing = one.get(&path("a"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    write(&one, "a", "first").await;
    assert_eq!(read(&other, "a").await, "first");
    write(&other, "a", "second").await;
    assert_eq!(read(&one, "a").await, "second");
    assert_eq!(one.versions(&path("a")).await.unwrap().len(), 2);
    let page = one.list(None, &ListOptions::default()).await.unwrap();
    assert_eq!(page.paths, [path("a")]);
    let check = one.verify().await.unwrap();
    assert_eq!((check.secrets, check.versions, check.damaged), (1, 2, 0), "{check:?}");
    let health = one.health().await.unwrap();
    assert_eq!(health.details["state"], check.state.to_string());
    one.close().await.unwrap();
    assert_eq!(read(&other, "a").await, "second");
}
