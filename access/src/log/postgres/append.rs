//! Appends rows.

use std::time::{Duration, Instant};

use strongroom_core::Result;
use strongroom_postgres::{ServerProcess, Session};
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Expect, LogConnection, LogSession, attempt_time};
use super::error::{CallError, from_failure, outcome_unknown, unreadable};
use super::query::{self, to_i64};
use crate::log::error::bad_append;
use crate::log::{Appended, Row};

/// How long a prune takes at most: it removes up to 50,000 records.
const PRUNE_TIME: Duration = Duration::from_secs(30);
/// One statement, so that no lock is held while this process is paused. It waits for the lock of the head's row, and
/// writes nothing if the log has moved meanwhile.
const INSERT: &str = "WITH ended AS (\
         UPDATE strongroom_access.head SET last = $2 WHERE id = 1 AND last = $1 RETURNING last) \
     INSERT INTO strongroom_access.rows \
         (seq, records, time, event, tenant, principal, path, body, last_rule, is_rule, mac) \
     SELECT new.* FROM ended, unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], \
         $9::text[], $10::bytea[], $11::bigint[], $12::boolean[], $13::bytea[]) AS new";

/// Appends rows, and finds out what came of it if the connection breaks.
pub(super) fn append(
    connection: &mut LogConnection,
    after: u64,
    rows: &[Row],
    prune_before: Option<u64>,
) -> Result<Appended> {
    let (begin, wait) = (Instant::now(), connection.wait());
    let more = prune_before.map_or(Duration::ZERO, |_| PRUNE_TIME);
    let (attempt, deadline) = (begin + attempt_time(wait) + more, begin + wait + more);
    // What serves the write. After a failure before it is known, nothing was written.
    let mut process = None;
    let run = async |log: &LogSession| {
        process = Some(log.process);
        match prune_before {
            None => insert(&log.session, after, rows).await,
            Some(before) => insert_and_prune(&log.session, after, rows, before).await,
        }
    };
    match connection.call_once(Expect::Log, attempt, run) {
        Ok(appended) => Ok(appended),
        Err(CallError::Log(error)) => Err(error),
        Err(CallError::Database(failure)) if failure.is_rolled_back() => {
            Err(from_failure(&failure))
        }
        Err(CallError::Database(failure)) => {
            let (Some(process), Some(last)) = (process, rows.last()) else {
                return Err(from_failure(&failure));
            };
            match resolve(connection, process, after, last, deadline) {
                Ok(Some(appended)) => Ok(appended),
                Ok(None) => Err(from_failure(&failure)),
                Err(_) => Err(outcome_unknown()),
            }
        }
    }
}

/// Finds out what came of a write whose connection broke: `Done`; `Moved`, if another writer has appended; `None` if
/// nothing was written.
fn resolve(
    connection: &mut LogConnection,
    process: ServerProcess,
    after: u64,
    last: &Row,
    deadline: Instant,
) -> Result<Option<Appended>, CallError> {
    connection.connect(Expect::Log, deadline)?;
    connection.call_once(Expect::Log, deadline, async |log| {
        let left = deadline.saturating_duration_since(Instant::now()) / 2;
        // Until its process has ended, the write may still happen.
        if !log.session.end_process(process, left).await? {
            return Err(outcome_unknown().into());
        }
        Ok(match query::mac_of(&log.session, last.last()).await? {
            Some(mac) if mac == last.mac => Some(Appended::Done),
            _ if ends_with(&log.session).await? == after => None,
            _ => Some(Appended::Moved),
        })
    })
}

/// The last record, by the head.
pub(super) async fn ends_with(session: &Session) -> Result<u64, CallError> {
    let sql = "SELECT last FROM strongroom_access.head WHERE id = 1";
    let row = session.client.query_typed_one(sql, &[]).await?;
    let last: i64 = row.try_get(0).map_err(unreadable)?;
    Ok(u64::try_from(last).map_err(unreadable)?)
}

async fn insert(session: &Session, after: u64, rows: &[Row]) -> Result<Appended, CallError> {
    let Some(last) = rows.last() else {
        let has_moved = ends_with(session).await? != after;
        return Ok(if has_moved { Appended::Moved } else { Appended::Done });
    };
    let columns = Columns::new(rows);
    let (after, last) = (to_i64(after), to_i64(last.last()));
    let values: [(&(dyn ToSql + Sync), Type); 13] = [
        (&after, Type::INT8),
        (&last, Type::INT8),
        (&columns.seq, Type::INT8_ARRAY),
        (&columns.records, Type::INT8_ARRAY),
        (&columns.time, Type::INT8_ARRAY),
        (&columns.event, Type::TEXT_ARRAY),
        (&columns.tenant, Type::TEXT_ARRAY),
        (&columns.principal, Type::TEXT_ARRAY),
        (&columns.path, Type::TEXT_ARRAY),
        (&columns.body, Type::BYTEA_ARRAY),
        (&columns.last_rule, Type::INT8_ARRAY),
        (&columns.is_rule, Type::BOOL_ARRAY),
        (&columns.mac, Type::BYTEA_ARRAY),
    ];
    match session.client.execute_typed(INSERT, &values).await? {
        0 => Ok(Appended::Moved),
        _ => Ok(Appended::Done),
    }
}

/// The columns of rows.
#[derive(Default)]
struct Columns<'a> {
    seq: Vec<i64>,
    records: Vec<i64>,
    time: Vec<i64>,
    event: Vec<&'a str>,
    tenant: Vec<Option<&'a str>>,
    principal: Vec<&'a str>,
    path: Vec<Option<&'a str>>,
    body: Vec<&'a [u8]>,
    last_rule: Vec<i64>,
    is_rule: Vec<bool>,
    mac: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.seq.push(to_i64(row.seq));
            columns.records.push(to_i64(row.records));
            columns.time.push(row.time);
            columns.event.push(&row.event);
            columns.tenant.push(row.tenant.as_deref());
            columns.principal.push(&row.principal);
            columns.path.push(row.path.as_deref());
            columns.body.push(&row.body);
            columns.last_rule.push(to_i64(row.last_rule));
            columns.is_rule.push(row.is_rule);
            columns.mac.push(&row.mac);
        }
        columns
    }
}

async fn insert_and_prune(
    session: &Session,
    after: u64,
    rows: &[Row],
    before: u64,
) -> Result<Appended, CallError> {
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", PRUNE_TIME.as_millis());
    session.client.batch_execute(&begin).await?;
    let appended = match insert(session, after, rows).await {
        Ok(Appended::Done) => prune(session, before).await.map(|()| Appended::Done),
        other => other,
    };
    let end = if matches!(&appended, Ok(Appended::Done)) { "COMMIT" } else { "ROLLBACK" };
    if let Ok(_) | Err(CallError::Log(_)) = &appended {
        session.client.batch_execute(end).await?;
    }
    appended
}

/// Removes the rows below a seq, within a transaction that holds the lock of the head's row.
async fn prune(session: &Session, before: u64) -> Result<(), CallError> {
    let first = "SELECT first FROM strongroom_access.head WHERE id = 1";
    let row = session.client.query_typed_one(first, &[]).await?;
    let first: i64 = row.try_get(0).map_err(unreadable)?;
    if to_i64(before) < first {
        return Err(bad_append().into());
    }
    let before_first = query::mac_of(session, before.saturating_sub(1)).await?;
    let before_first = before_first.ok_or_else(bad_append)?;
    let update = "UPDATE strongroom_access.head SET first = $1, before_first = $2 WHERE id = 1";
    let before = to_i64(before);
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&before, Type::INT8), (&&before_first[..], Type::BYTEA)];
    session.client.execute_typed(update, &values).await?;
    let delete = "DELETE FROM strongroom_access.rows WHERE seq < $1";
    session.client.execute_typed(delete, &[(&before, Type::INT8)]).await?;
    Ok(())
}
