//! Rotates the password of a `sqlx` pool of PostgreSQL connections while clients query; no query fails.
//!
//! ```sh
//! DATABASE_ADMIN_URL=postgresql://postgres:password@localhost/postgres \
//!     cargo example rotating_sqlx_pool --features rotation-sqlx
//! ```
#![expect(clippy::print_stdout, reason = "the user reads its output")]

mod postgres_demo;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgPoolOptions;
use strongroom::rotation::pool::sqlx::RotatingPgPool;

use self::postgres_demo::PostgresDemo;

const CLIENTS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let demo = PostgresDemo::start().await?;
    let options = PgPoolOptions::new().max_connections(8);
    let pool = RotatingPgPool::connect(demo.key.clone(), options).await?;
    let done = Arc::new(AtomicBool::new(false));
    let one = || tokio::spawn(query(pool.clone(), Arc::clone(&done)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| one()).collect();
    demo.rotate().await?;

    done.store(true, Ordering::Relaxed);
    let mut queries = 0;
    for client in clients {
        queries += client.await??;
    }
    let open = pool.current()?.size();
    println!("{queries} queries, none failed; {open} connections are open at the end");
    pool.close().await;
    demo.end().await
}

/// Runs one query after the other and returns how many.
async fn query(pool: RotatingPgPool, done: Arc<AtomicBool>) -> Result<u64, sqlx::Error> {
    let mut queries = 0;
    while !done.load(Ordering::Relaxed) {
        sqlx::query("SELECT pg_sleep(0.01)").execute(&pool).await?;
        queries += 1;
    }
    Ok(queries)
}
