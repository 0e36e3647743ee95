//! Reads rows.

use strongroom_core::{Error, Result};
use strongroom_postgres::Session;
use tokio_postgres::types::{ToSql, Type};

use super::error::{CallError, unreadable};
use crate::log::block::Page;
use crate::log::error::corrupt;
use crate::log::{Head, RecordFilter, Row, RowMac, Tail};

/// The columns in the order in which [`read_row`] reads them.
macro_rules! columns {
    () => {
        "seq, records, time, event, tenant, principal, path, body, last_rule, is_rule, mac"
    };
}

const ROWS_AFTER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM strongroom_access.rows WHERE seq > $1 ORDER BY seq LIMIT $2"
);
const RULES_AFTER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM strongroom_access.rows WHERE is_rule AND seq > $1 ORDER BY seq LIMIT $2"
);
const ROW_BEFORE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM strongroom_access.rows WHERE seq <= $1 ORDER BY seq DESC LIMIT 1"
);
/// In one statement, so that all is of one moment.
const HEAD: &str = "SELECT h.log_id, h.first, h.before_first, h.last, \
         (SELECT min(seq) FROM strongroom_access.rows), r.seq, r.records, r.last_rule, r.is_rule, r.mac \
     FROM strongroom_access.head h LEFT JOIN LATERAL (\
         SELECT * FROM strongroom_access.rows ORDER BY seq DESC LIMIT 1) r ON true \
     WHERE h.id = 1";
/// The second part answers for the row before the first.
const MAC_OF: &str = "SELECT mac FROM (SELECT * FROM strongroom_access.rows WHERE seq <= $1 \
         ORDER BY seq DESC LIMIT 1) r WHERE seq + records - 1 = $1 \
     UNION ALL SELECT before_first FROM strongroom_access.head WHERE first = $1 + 1 LIMIT 1";
/// How many rows one statement returns at most while a page is filled.
const CHUNK: i64 = 512;

/// PostgreSQL's integers end at 2^63 - 1, and so do the numbers of records.
pub(super) fn to_i64(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn to_u64(row: &tokio_postgres::Row, index: usize) -> Result<u64> {
    row.try_get::<_, i64>(index).map_err(unreadable)?.try_into().map_err(unreadable)
}

fn to_bytes<const N: usize>(row: &tokio_postgres::Row, index: usize) -> Result<[u8; N]> {
    row.try_get::<_, &[u8]>(index).map_err(unreadable)?.try_into().map_err(unreadable)
}

/// Where the log begins and ends.
pub(super) async fn head(session: &Session) -> Result<Head, CallError> {
    let row = session.client.query_typed_opt(HEAD, &[]).await?;
    let row = row.ok_or_else(|| corrupt("the table `head` of the audit log is empty"))?;
    Ok(read_head(&row)?)
}

fn read_head(row: &tokio_postgres::Row) -> Result<Head> {
    let (first, ends_with) = (to_u64(row, 1)?, to_u64(row, 3)?);
    let smallest: Option<i64> = row.try_get(4).map_err(unreadable)?;
    let last: Option<Tail> = match smallest {
        Some(smallest) if u64::try_from(smallest) == Ok(first) => {
            let (seq, records) = (to_u64(row, 5)?, to_u64(row, 6)?);
            let last = seq.saturating_add(records).saturating_sub(1);
            let is_rule: bool = row.try_get(8).map_err(unreadable)?;
            Some((last, to_bytes(row, 9)?, if is_rule { seq } else { to_u64(row, 7)? }))
        }
        None if first == 1 => None,
        Some(smallest) => {
            return Err(corrupt(format!(
                "the audit log begins with row {smallest}, but must begin with row {first}: its beginning was cut \
                 off or altered"
            )));
        }
        // A prune keeps at least its own row.
        None => return Err(corrupt("all rows of the audit log are missing")),
    };
    let head = Head { log_id: to_bytes(row, 0)?, first, before_first: to_bytes(row, 2)?, last };
    let (seq, ..) = head.tail();
    if seq != ends_with {
        return Err(corrupt(format!(
            "the audit log ends with record {seq}, but must end with record {ends_with}: its end was cut off or altered"
        )));
    }
    Ok(head)
}

/// The rows that begin after a record, or the rules among them.
pub(super) async fn rows_after(
    session: &Session,
    only_rules: bool,
    after: u64,
    limit: usize,
) -> Result<Vec<Row>, CallError> {
    let sql = if only_rules { RULES_AFTER } else { ROWS_AFTER };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&to_i64(after), Type::INT8), (&limit, Type::INT8)];
    let found = session.client.query_typed(sql, &values).await?;
    Ok(found.iter().map(read_row).collect::<Result<_>>()?)
}

/// The last row that begins with a record or before it.
pub(super) async fn row_before(session: &Session, seq: u64) -> Result<Option<Row>, CallError> {
    let found = session.client.query_typed_opt(ROW_BEFORE, &[(&to_i64(seq), Type::INT8)]).await?;
    Ok(found.as_ref().map(read_row).transpose()?)
}

pub(super) async fn mac_of(session: &Session, seq: u64) -> Result<Option<RowMac>, CallError> {
    let Some(seq) = i64::try_from(seq).ok().filter(|seq| *seq < i64::MAX) else { return Ok(None) };
    let found = session.client.query_typed_opt(MAC_OF, &[(&seq, Type::INT8)]).await?;
    Ok(found.map(|row| to_bytes(&row, 0)).transpose()?)
}

/// Fills a page with the records from after `after` to `last`.
pub(super) async fn fill(
    session: &Session,
    mut after: u64,
    last: u64,
    filter: &RecordFilter,
    page: &mut Page<'_>,
) -> Result<(), CallError> {
    while !page.is_full() && after < last {
        let query = Query::new(after, last, filter);
        let found = session.client.query_typed(&query.sql, &query.values()).await?;
        let is_last = i64::try_from(found.len()).is_ok_and(|length| length < CHUNK);
        for row in &found {
            let row = read_row(row)?;
            page.add(&row)?;
            after = after.max(row.last());
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// A value of a statement.
enum Value {
    Integer(i64),
    Text(String),
    Texts(Vec<String>),
}

impl Value {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Integer(value) => (value, Type::INT8),
            Self::Text(text) => (text, Type::TEXT),
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
        }
    }
}

/// A statement that finds the next rows that may have records of a page, and its values.
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    fn new(after: u64, last: u64, filter: &RecordFilter) -> Self {
        let mut values = Values(vec![
            Value::Integer(to_i64(after.saturating_add(1))),
            Value::Integer(to_i64(last)),
            Value::Integer(CHUNK),
        ]);
        // The first row may have begun before.
        let start =
            "seq >= coalesce((SELECT max(seq) FROM strongroom_access.rows WHERE seq <= $1), $1)";
        let mut all = vec![start.to_owned(), "seq <= $2".to_owned()];
        if let Some(tenant) = &filter.tenant {
            all.push(format!("tenant = {}", values.text(tenant)));
        }
        if !filter.events.is_empty() {
            all.push(format!("event = ANY ({})", values.bind(Value::Texts(filter.events.clone()))));
        }
        if let Some(from) = filter.from {
            all.push(format!("time >= {}", values.bind(Value::Integer(from))));
        }
        if let Some(to) = filter.to {
            all.push(format!("time < {}", values.bind(Value::Integer(to))));
        }
        let all = all.join(" AND ");
        let own = filter.own_conditions(|text| values.text(text));
        let select = concat!("SELECT ", columns!(), " FROM strongroom_access.rows WHERE");
        let sql = if own.is_empty() {
            format!("{select} {all} ORDER BY seq LIMIT $3")
        } else {
            // Each part has an index of its own.
            format!(
                "SELECT {} FROM ({select} {all} AND records = 1 AND {own} \
                 UNION ALL {select} {all} AND records > 1) AS found ORDER BY seq LIMIT $3",
                columns!()
            )
        };
        Self { sql, values: values.0 }
    }

    fn values(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values.iter().map(Value::typed).collect()
    }
}

/// The values of a statement.
struct Values(Vec<Value>);

impl Values {
    /// Adds a value, and returns what stands for it in the statement.
    fn bind(&mut self, value: Value) -> String {
        self.0.push(value);
        format!("${}", self.0.len())
    }

    fn text(&mut self, text: &str) -> String {
        self.bind(Value::Text(text.to_owned()))
    }
}

fn read_row(row: &tokio_postgres::Row) -> Result<Row> {
    let seq: i64 = row.try_get(0).map_err(unreadable)?;
    let parse = || -> Result<Row> {
        Ok(Row {
            seq: to_u64(row, 0)?,
            records: to_u64(row, 1)?,
            time: row.try_get(2).map_err(unreadable)?,
            event: row.try_get(3).map_err(unreadable)?,
            tenant: row.try_get(4).map_err(unreadable)?,
            principal: row.try_get(5).map_err(unreadable)?,
            path: row.try_get(6).map_err(unreadable)?,
            body: row.try_get(7).map_err(unreadable)?,
            last_rule: to_u64(row, 8)?,
            is_rule: row.try_get(9).map_err(unreadable)?,
            mac: to_bytes(row, 10)?,
        })
    };
    parse().map_err(|_: Error| {
        corrupt(format!("row {seq} of the audit log cannot be read: it was changed"))
    })
}
