//! Rotates the password of a `deadpool` pool of PostgreSQL connections while clients query; no query fails.
//!
//! ```sh
//! DATABASE_ADMIN_URL=postgresql://postgres:password@localhost/postgres \
//!     cargo example rotating_deadpool --features rotation-deadpool
//! ```
#![expect(clippy::print_stdout, reason = "the user reads its output")]

mod postgres_demo;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::PoolConfig;
use strongroom::rotation::pool::deadpool::{RotatingManager, RotatingPool};
use tokio_postgres::NoTls;

use self::postgres_demo::PostgresDemo;

const CLIENTS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = PostgresDemo::start().await?;
    let manager = RotatingManager::new(demo.key.clone(), NoTls);
    let pool = manager.create_pool(PoolConfig::new(8))?;
    let done = Arc::new(AtomicBool::new(false));
    let one = || tokio::spawn(query(pool.clone(), Arc::clone(&done)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| one()).collect();
    demo.rotate().await?;

    done.store(true, Ordering::Relaxed);
    let mut queries = 0;
    for client in clients {
        queries += client.await??;
    }
    println!("{queries} queries, none failed; the pool at the end: {:?}", pool.status());
    pool.close();
    demo.end().await
}

/// Runs one query after the other and returns how many.
async fn query(pool: RotatingPool, done: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut queries = 0;
    while !done.load(Ordering::Relaxed) {
        let client = pool.get().await?;
        let statement = client.prepare_cached("SELECT pg_sleep(0.01)").await?;
        client.query(&statement, &[]).await?;
        queries += 1;
    }
    Ok(queries)
}
