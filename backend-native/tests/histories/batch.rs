//! Writes of one process that share a transaction, and the transaction fails.

use std::time::{Duration, Instant};

use strongroom_core::{Backend as _, ErrorKind, PutOptions, Version};
use strongroom_testkit::postgres::Server;
use tokio_postgres::NoTls;

use crate::processes::LIMIT;
use crate::writer::{open, path};

/// Makes the commit fail of each transaction that writes a second version of a secret.
const FAIL_SECOND_VERSIONS: &str = "
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END';
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON strongroom_native.versions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.version = 2) EXECUTE FUNCTION fail();
";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";

#[tokio::test]
async fn a_write_has_no_conflict_with_one_that_was_rolled_back() {
    let server = Server::start().await;
    let (user, password) = (server.user(), server.password());
    let url = format!("postgresql://{user}:{password}@{}/postgres", server.address());
    let backend = open(&url).await;
    backend.put(&path(0), "first".into(), PutOptions::new()).await.unwrap();
    server.sql(FAIL_SECOND_VERSIONS);

    // While another session holds the lock of all writes, a write waits in the writer, and two further ones behind it.
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT FROM strongroom_native.state FOR UPDATE").await.unwrap();
    let (other, shared) = (path(1), path(0));
    let ahead = backend.put(&other, "ahead".into(), PutOptions::new());
    let first = backend.put(&shared, "second".into(), PutOptions::new());
    let if_first = PutOptions::new().must_be_version(Version::from(1));
    let second = backend.put(&shared, "third".into(), if_first);
    let behind = async {
        let begun = Instant::now();
        while server.sql(WAITING) != "1" {
            assert!(begun.elapsed() < LIMIT, "no write waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let release = async { client.batch_execute("COMMIT").await.unwrap() };
        tokio::join!(first, second, release)
    };
    let (ahead, (first, second, ())) = tokio::join!(ahead, behind);
    drop(client);
    connection.await.unwrap().unwrap();
    ahead.unwrap();
    // The first one has failed, so version 1 is active as long as the second one runs.
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
}
