//! Reads rows.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};
use strongroom_core::{Error, Result};

use super::error::from_sqlite;
use crate::log::block::Page;
use crate::log::error::corrupt;
use crate::log::{PathFilter, RecordFilter, Row};

/// The columns in the order in which [`read_row`] reads them.
const SELECT: &str = "SELECT seq, records, time, event, tenant, principal, path, body, last_rule, is_rule, mac \
                      FROM rows";

/// The rows that begin after a record, or the rules among them.
pub(super) fn rows_after(
    connection: &Connection,
    only_rules: bool,
    after: u64,
    limit: usize,
) -> Result<Vec<Row>> {
    // The planner would rather scan all rows in the order of their seq than trust this small index.
    let rows = if only_rules { "INDEXED BY rule_rows WHERE is_rule = 1 AND" } else { "WHERE" };
    let sql = format!("{SELECT} {rows} seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql).map_err(from_sqlite)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query((to_i64(after), limit)).map_err(from_sqlite)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(from_sqlite)? {
        rows.push(read_row(row)?);
    }
    Ok(rows)
}

/// The last row that begins with a record or before it.
pub(super) fn row_before(connection: &Connection, seq: u64) -> Result<Option<Row>> {
    let sql = format!("{SELECT} WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1");
    let mut statement = connection.prepare_cached(&sql).map_err(from_sqlite)?;
    let found = statement.query_row([to_i64(seq)], |row| Ok(read_row(row)));
    found.optional().map_err(from_sqlite)?.transpose()
}

/// SQLite's integers end at 2^63 - 1, and so do the numbers of records.
fn to_i64(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// A statement that finds the rows that may have records of a page, and its values.
pub(super) struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    pub(super) fn new(after: u64, last: u64, filter: &RecordFilter) -> Self {
        let mut values = Values(vec![
            Value::Integer(to_i64(after.saturating_add(1))),
            Value::Integer(to_i64(last)),
        ]);
        // The first row may have begun before.
        let start = "seq >= coalesce((SELECT max(seq) FROM rows WHERE seq <= ?1), ?1)";
        let mut all = vec![start.to_owned(), "seq <= ?2".to_owned()];
        if let Some(tenant) = &filter.tenant {
            all.push(format!("tenant = {}", values.text(tenant)));
        }
        if !filter.events.is_empty() {
            let events: Vec<_> = filter.events.iter().map(|event| values.text(event)).collect();
            all.push(format!("event IN ({})", events.join(", ")));
        }
        if let Some(from) = filter.from {
            all.push(format!("time >= {}", values.bind(Value::Integer(from))));
        }
        if let Some(to) = filter.to {
            all.push(format!("time < {}", values.bind(Value::Integer(to))));
        }
        let all = all.join(" AND ");
        let own = filter.own_conditions(|text| values.text(text));
        let sql = if has_exact_index(filter) {
            // Both parts are in the order of their seq, so that SQLite merges them.
            format!(
                "{SELECT} WHERE {all} AND records = 1 AND {own} \
                 UNION ALL {SELECT} INDEXED BY blocks WHERE {all} AND records > 1 ORDER BY seq"
            )
        } else if own.is_empty() {
            format!("{SELECT} NOT INDEXED WHERE {all} ORDER BY seq")
        } else {
            format!("{SELECT} NOT INDEXED WHERE {all} AND (records > 1 OR {own}) ORDER BY seq")
        };
        Self { sql, values: values.0 }
    }

    #[cfg(test)]
    pub(super) fn explain(&self, connection: &Connection) -> rusqlite::Result<String> {
        let sql = format!("EXPLAIN QUERY PLAN {}", self.sql);
        let values = params_from_iter(&self.values);
        let mut statement = connection.prepare(&sql)?;
        let lines = statement.query_map(values, |row| row.get::<_, String>(3))?;
        Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
    }

    /// Reads rows until the page is full.
    pub(super) fn run(&self, connection: &Connection, page: &mut Page<'_>) -> Result<()> {
        let mut statement = connection.prepare_cached(&self.sql).map_err(from_sqlite)?;
        let mut found = statement.query(params_from_iter(&self.values)).map_err(from_sqlite)?;
        while !page.is_full()
            && let Some(row) = found.next().map_err(from_sqlite)?
        {
            page.add(&read_row(row)?)?;
        }
        Ok(())
    }
}

/// The values of a statement.
struct Values(Vec<Value>);

impl Values {
    /// Adds a value, and returns what stands for it in the statement.
    fn bind(&mut self, value: Value) -> String {
        self.0.push(value);
        format!("?{}", self.0.len())
    }

    fn text(&mut self, text: &str) -> String {
        self.bind(Value::Text(text.to_owned()))
    }
}

/// Whether an index has the rows of a filter that are not blocks next to each other, in the order of their seq, so that
/// it reads no more than the range.
fn has_exact_index(filter: &RecordFilter) -> bool {
    let has_exact_path = matches!(filter.path, Some(PathFilter::Exact(_)));
    filter.tenant.is_some() && (has_exact_path || filter.principal.is_some())
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<Row> {
    let seq: i64 = row.get(0).map_err(from_sqlite)?;
    let parse = || {
        // Only 0 and 1 are written; the MAC covers one bit.
        let is_rule = match row.get(9)? {
            0 => false,
            1 => true,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(9, other)),
        };
        Ok(Row {
            seq: row.get(0)?,
            records: row.get(1)?,
            time: row.get(2)?,
            event: row.get(3)?,
            tenant: row.get(4)?,
            principal: row.get(5)?,
            path: row.get(6)?,
            body: row.get(7)?,
            last_rule: row.get(8)?,
            is_rule,
            mac: row.get(10)?,
        })
    };
    parse().map_err(|error| unreadable(seq, error))
}

/// Names the row whose columns cannot be read, unless the file as a whole cannot.
pub(super) fn unreadable(seq: i64, error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(..) => from_sqlite(error),
        _ => corrupt(format!("row {seq} of the audit log cannot be read: it was changed")),
    }
}
