//! Reads rows.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use strongroom_core::{Error, Result};

use super::error::from_sqlite;
use crate::log::error::corrupt;
use crate::log::{PathFilter, Row, RowFilter};

/// A statement and its values.
pub(super) struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    pub(super) fn new(after: i64, limit: i64, filter: &RowFilter) -> Self {
        // The planner would rather scan all rows in the order of their seq than trust this small index.
        let index = match filter {
            RowFilter { only_rules: true, .. } => " INDEXED BY rule_rows",
            // Only an index that ends with the seq of the rows reads no more than the range.
            RowFilter { last_seq: Some(_), .. } if !has_exact_index(filter) => " NOT INDEXED",
            _ => "",
        };
        let mut query = Self {
            sql: format!(
                "SELECT seq, time, event, tenant, principal, path, body, last_rule, is_rule, mac FROM rows{index} \
                 WHERE seq > ?"
            ),
            values: vec![Value::Integer(after)],
        };
        if filter.only_rules {
            query.sql.push_str(" AND is_rule = 1");
        }
        let text = |text: &String| Value::Text(text.clone());
        query.and("tenant = ?", filter.tenant.as_ref().map(text));
        query.and("principal = ?", filter.principal.as_ref().map(text));
        match &filter.path {
            Some(PathFilter::Exact(path)) => query.and("path = ?", [text(path)]),
            Some(PathFilter::Below(path)) => {
                // `0` is the byte after `/`.
                let bounds = [format!("{path}/"), format!("{path}0")].map(Value::Text);
                query.and("path >= ? AND path < ?", bounds);
            }
            None => {}
        }
        if !filter.events.is_empty() {
            let places = vec!["?"; filter.events.len()].join(", ");
            query.and(&format!("event IN ({places})"), filter.events.iter().map(text));
        }
        query.and("time >= ?", filter.from.map(Value::Integer));
        query.and("time < ?", filter.to.map(Value::Integer));
        let last_seq = filter.last_seq.map(|last| i64::try_from(last).unwrap_or(i64::MAX));
        query.and("seq <= ?", last_seq.map(Value::Integer));
        query.sql.push_str(" ORDER BY seq LIMIT ?");
        query.values.push(Value::Integer(limit));
        query
    }

    /// Adds a condition, unless it has no values.
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        let before = self.values.len();
        self.values.extend(values);
        if self.values.len() > before {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
        }
    }

    #[cfg(test)]
    pub(super) fn explain(&self, connection: &Connection) -> rusqlite::Result<String> {
        let sql = format!("EXPLAIN QUERY PLAN {}", self.sql);
        let values = params_from_iter(&self.values);
        let mut statement = connection.prepare(&sql)?;
        statement.query_map(values, |row| row.get::<_, String>(3))?.collect()
    }

    pub(super) fn run(&self, connection: &Connection) -> Result<Vec<Row>> {
        let mut statement = connection.prepare_cached(&self.sql).map_err(from_sqlite)?;
        let mut found = statement.query(params_from_iter(&self.values)).map_err(from_sqlite)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(from_sqlite)? {
            rows.push(read_row(row)?);
        }
        Ok(rows)
    }
}

/// Whether an index has the rows of a filter next to each other, in the order of their seq.
fn has_exact_index(filter: &RowFilter) -> bool {
    let has_exact_path = matches!(filter.path, Some(PathFilter::Exact(_)));
    filter.tenant.is_some() && (has_exact_path || filter.principal.is_some())
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<Row> {
    let seq: i64 = row.get(0).map_err(from_sqlite)?;
    let parse = || {
        // Only 0 and 1 are written; the MAC covers one bit.
        let is_rule = match row.get(8)? {
            0 => false,
            1 => true,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(8, other)),
        };
        Ok(Row {
            seq: row.get(0)?,
            time: row.get(1)?,
            event: row.get(2)?,
            tenant: row.get(3)?,
            principal: row.get(4)?,
            path: row.get(5)?,
            body: row.get(6)?,
            last_rule: row.get(7)?,
            is_rule,
            mac: row.get(9)?,
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
