//! A pool of `deadpool` whose PostgreSQL key is replaced while clients query, and no query fails.
//!
//! Run it with `DATABASE_ADMIN_URL=postgresql://postgres:password@localhost/postgres cargo run -p
//! strongroom-rotation --features deadpool,postgres --example rotating_deadpool`.
#![expect(clippy::print_stdout, reason = "it says what it does")]

mod demo;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::PoolConfig;
use strongroom_rotation::pool::deadpool::{RotatingManager, RotatingPool};
use tokio_postgres::NoTls;

use self::demo::Demo;

const CLIENTS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = Demo::start().await?;
    let manager = RotatingManager::new(demo.key.clone(), NoTls);
    let pool = manager.create_pool(PoolConfig::new(8))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let one = || tokio::spawn(query(pool.clone(), Arc::clone(&is_over)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| one()).collect();
    demo.rotate().await?;

    is_over.store(true, Ordering::Relaxed);
    let mut queries = 0;
    for client in clients {
        queries += client.await??;
    }
    println!("{queries} queries, none failed; the pool at the end: {:?}", pool.status());
    pool.close();
    demo.end().await
}

/// Runs one query after the other; how many.
async fn query(pool: RotatingPool, is_over: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut queries = 0;
    while !is_over.load(Ordering::Relaxed) {
        let client = pool.get().await?;
        let statement = client.prepare_cached("SELECT pg_sleep(0.01)").await?;
        client.query(&statement, &[]).await?;
        queries += 1;
    }
    Ok(queries)
}
