//! Tests of the connection pools, against a real server. The process ends if a password shows in anything
//! that is logged.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod behaviour;
mod fixture;
mod load;
mod rotation;

use std::time::Duration;

use futures_util::FutureExt as _;
use strongroom_rotation::RotatingKey;
use strongroom_rotation::pool::deadpool::{RotatingManager, RotatingPool};
use strongroom_rotation::pool::sqlx::RotatingPgPool;
use tokio_postgres::NoTls;

use self::load::Query;

/// How many connections each pool may have.
const CONNECTIONS: u32 = 16;
/// How long anything may take that ends by itself, on a busy machine.
const BOUND: Duration = Duration::from_secs(120);
/// How long a revocation waits for connections of the old key.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(40);

/// What the tests do with either pool.
#[derive(Clone)]
enum Pool {
    Sqlx(RotatingPgPool),
    Deadpool(RotatingPool),
}

impl Pool {
    fn sqlx(key: &RotatingKey) -> Self {
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
        Self::Sqlx(RotatingPgPool::connect_lazy(key.clone(), options).unwrap())
    }

    fn deadpool(key: &RotatingKey) -> Self {
        let config = deadpool_postgres::PoolConfig::new(CONNECTIONS as usize);
        let manager = RotatingManager::new(key.clone(), NoTls);
        Self::Deadpool(manager.create_pool(config).unwrap())
    }

    /// Runs one statement on one connection. An error includes its causes.
    async fn execute(&self, sql: &'static str) -> Result<(), String> {
        match self {
            Self::Sqlx(pool) => {
                let done = sqlx::query(sql).execute(pool).await;
                done.map(drop).map_err(|error| format!("{error:?}"))
            }
            Self::Deadpool(pool) => {
                let client = pool.get().await.map_err(|error| format!("{error:?}"))?;
                client.batch_execute(sql).await.map_err(|error| format!("{error:?}"))
            }
        }
    }

    /// Has the next statement log in, unless another one gave a connection back meanwhile.
    async fn forget_idle(&self) {
        match self {
            Self::Sqlx(pool) => {
                if let Some(idle) = pool.current().unwrap().try_acquire() {
                    idle.close().await.unwrap();
                }
            }
            Self::Deadpool(pool) => drop(pool.retain(|_, _| false)),
        }
    }

    fn query(&self, sql: &'static str) -> Query {
        let pool = self.clone();
        Box::new(move || {
            let pool = pool.clone();
            async move { pool.execute(sql).await }.boxed()
        })
    }

    /// The same, with a login every other time.
    fn query_after_login(&self, sql: &'static str) -> Query {
        let pool = self.clone();
        Box::new(move || {
            let pool = pool.clone();
            async move {
                if fastrand::bool() {
                    pool.forget_idle().await;
                }
                pool.execute(sql).await
            }
            .boxed()
        })
    }
}
