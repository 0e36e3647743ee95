//! What the pools do besides queries under load.

use futures_util::TryStreamExt as _;
use sqlx::{Executor as _, Row as _};
use strongroom_rotation::RotationPolicy;
use strongroom_testkit::canary;

use crate::fixture::{Fixture, Instance};
use crate::{BOUND, DRAIN_TIMEOUT, Pool};

async fn instance(fixture: &Fixture) -> Instance {
    fixture.instance(RotationPolicy::new().single_instance().drain_timeout(DRAIN_TIMEOUT)).await
}

fn pools(instance: &Instance) -> [Pool; 2] {
    [Pool::sqlx(&instance.key), Pool::deadpool(&instance.key)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pool_closes_the_connections_of_an_earlier_key() {
    let fixture = Fixture::start().await;
    let mut instance = instance(&fixture).await;
    let pools = pools(&instance);
    for pool in &pools {
        pool.execute("SELECT 1").await.unwrap();
    }
    fixture.wait_for("usename = 'orders_a'", 2).await;
    instance.rotate().await;
    fixture.wait_for("true", 0).await;
    for pool in &pools {
        pool.execute("SELECT 1").await.unwrap();
    }
    fixture.wait_for("usename = 'orders_b'", 2).await;
    instance.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_in_use_outlives_the_rotation_and_is_closed_when_it_is_returned() {
    let mut fixture = Fixture::start().await;
    fixture.end_sessions = true;
    let mut instance = instance(&fixture).await;
    let [Pool::Sqlx(sqlx), Pool::Deadpool(deadpool)] = pools(&instance) else { unreachable!() };
    let mut transaction = sqlx.begin().await.unwrap();
    let client = deadpool.get().await.unwrap();
    assert_eq!(client.generation(), 0);
    instance.key.rotate().await.unwrap();
    sqlx::query("SELECT 1").execute(&sqlx).await.unwrap();
    deadpool.get().await.unwrap().batch_execute("SELECT 1").await.unwrap();
    // The key is not revoked, and so no session is ended, while these are in use.
    sqlx::query("SELECT 1").execute(&mut *transaction).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    transaction.commit().await.unwrap();
    drop(client);
    fixture.wait_for("usename = 'orders_a'", 0).await;
    fixture.wait_for("usename = 'orders_b'", 2).await;
    // The rotation that is under way ends first.
    instance.rotate().await;
    instance.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pools_still_log_in_when_the_engine_is_shut_down() {
    let fixture = Fixture::start().await;
    let instance = instance(&fixture).await;
    let pools = pools(&instance);
    instance.engine.shutdown().await;
    drop(instance);
    for pool in &pools {
        pool.execute("SELECT 1").await.unwrap();
        pool.forget_idle().await;
        pool.execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_that_nothing_replaced_is_an_error_without_the_password() {
    let fixture = Fixture::start().await;
    let instance = instance(&fixture).await;
    let pools = pools(&instance);
    fixture.server.sql("ALTER ROLE orders_a PASSWORD NULL");
    for pool in &pools {
        let error = pool.execute("SELECT 1").await.unwrap_err();
        assert!(error.contains("28P01"), "{error}");
        canary::witness(&error);
    }
    let [Pool::Sqlx(sqlx), Pool::Deadpool(deadpool)] = &pools else { unreachable!() };
    canary::witness(&(sqlx, deadpool));
    instance.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_sqlx_is_an_executor_and_closes_its_connections() {
    let fixture = Fixture::start().await;
    let instance = instance(&fixture).await;
    let [Pool::Sqlx(pool), _] = pools(&instance) else { unreachable!() };
    let rows: Vec<i32> =
        sqlx::query_scalar("SELECT generate_series(1, 100)").fetch_all(&pool).await.unwrap();
    assert!(rows.into_iter().eq(1..=100));
    // The rows before an error come before it.
    let mut rows = pool.fetch("SELECT 10 / (3 - n) FROM generate_series(1, 3) AS n");
    let first = rows.try_next().await.unwrap().unwrap();
    assert_eq!(first.get::<i32, _>(0), 5);
    assert_eq!(rows.try_next().await.unwrap().unwrap().get::<i32, _>(0), 10);
    assert!(rows.try_next().await.is_err());
    drop(rows);
    let columns = pool.prepare(sqlx::SqlStr::from_static("SELECT 1 AS one")).await.unwrap();
    assert_eq!(sqlx::Statement::columns(&columns).len(), 1);
    let mut transaction = sqlx::Acquire::begin(&pool).await.unwrap();
    transaction.execute("CREATE TEMPORARY TABLE t (n int)").await.unwrap();
    transaction.rollback().await.unwrap();
    tokio::time::timeout(BOUND, pool.close()).await.unwrap();
    assert!(pool.is_closed());
    assert!(matches!(pool.acquire().await, Err(sqlx::Error::PoolClosed)));
    fixture.wait_for("true", 0).await;
    instance.engine.shutdown().await;
}
