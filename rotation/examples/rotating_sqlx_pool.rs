//! A pool of `sqlx` whose PostgreSQL key is replaced while clients query, and no query fails.
//!
//! Run it with `DATABASE_ADMIN_URL=postgresql://postgres:password@localhost/postgres cargo run -p
//! strongroom-rotation --features sqlx,postgres --example rotating_sqlx_pool`.
#![expect(clippy::print_stdout, reason = "it says what it does")]

mod demo;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgPoolOptions;
use strongroom_rotation::pool::sqlx::RotatingPgPool;

use self::demo::Demo;

const CLIENTS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = Demo::start().await?;
    let options = PgPoolOptions::new().max_connections(8);
    let pool = RotatingPgPool::connect(demo.key.clone(), options).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let one = || tokio::spawn(query(pool.clone(), Arc::clone(&is_over)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| one()).collect();
    demo.rotate().await?;

    is_over.store(true, Ordering::Relaxed);
    let mut queries = 0;
    for client in clients {
        queries += client.await??;
    }
    let open = pool.current()?.size();
    println!("{queries} queries, none failed; {open} connections are open at the end");
    pool.close().await;
    demo.end().await
}

/// Runs one query after the other; how many.
async fn query(pool: RotatingPgPool, is_over: Arc<AtomicBool>) -> Result<u64, sqlx::Error> {
    let mut queries = 0;
    while !is_over.load(Ordering::Relaxed) {
        sqlx::query("SELECT pg_sleep(0.01)").execute(&pool).await?;
        queries += 1;
    }
    Ok(queries)
}
