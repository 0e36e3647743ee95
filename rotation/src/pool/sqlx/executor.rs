//! Queries on a pool, as `sqlx` has them for its own.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Acquire, Describe, Either, Error, Execute, Executor, Postgres, SqlStr, Transaction};
use tokio::sync::mpsc;

use super::RotatingPgPool;

impl<'p> Executor<'p> for &'_ RotatingPgPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        // The rows borrow from the connection, so a future owns both and hands each row over.
        let (sender, receiver) = mpsc::channel(1);
        let query = async move {
            let mut connection = match pool.acquire().await {
                Ok(connection) => connection,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            let mut rows = connection.fetch_many(query);
            while let Some(row) = rows.next().await {
                if sender.send(row).await.is_err() {
                    return;
                }
            }
        };
        let rows = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|row| (row, receiver))
        });
        stream::select(rows.map(Some), query.map(|()| None).into_stream())
            .filter_map(std::future::ready)
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}

impl<'a> Acquire<'a> for &'_ RotatingPgPool {
    type Database = Postgres;
    type Connection = PoolConnection<Postgres>;

    fn acquire(self) -> BoxFuture<'a, Result<Self::Connection, Error>> {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await })
    }

    fn begin(self) -> BoxFuture<'a, Result<Transaction<'a, Postgres>, Error>> {
        let pool = self.clone();
        Box::pin(async move { pool.begin().await })
    }
}
