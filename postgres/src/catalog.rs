//! What the catalog says of a schema: whether its tables are those that were created.

use std::fmt::Write as _;

use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use crate::session::Session;

const COLUMNS: &str = "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), \
         a.attnotnull, coalesce(o.collname::text, '-') \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_collation o ON o.oid = a.attcollation \
     WHERE n.nspname = $1 AND c.relname = ANY ($2) AND a.attnum > 0 AND NOT a.attisdropped \
     ORDER BY c.relname COLLATE \"C\", a.attnum";
/// Tables that could hide or change rows: no ordinary ones, or with something attached.
const ATTACHED: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = ANY ($2) \
     AND (c.relkind <> 'r' OR c.relrowsecurity \
         OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid) \
         OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) \
         OR EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent))) LIMIT 1";
/// Asks the catalog, which every role may read.
const EXISTENCE: &str = "SELECT n.oid IS NOT NULL, c.oid IS NOT NULL, \
         current_setting('server_encoding') = 'UTF8' \
     FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = $1 \
     LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2";

/// What a database has of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existence {
    /// Whether it has the schema.
    pub schema: bool,
    /// Whether it has the table.
    pub table: bool,
    /// Whether its text is UTF-8.
    pub is_utf8: bool,
}

/// Looks for a schema and a table in it.
///
/// # Errors
/// Those of the statement.
pub async fn existence(session: &Session, schema: &str, table: &str) -> Result<Existence, Error> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&schema, Type::NAME), (&table, Type::NAME)];
    let row = session.client.query_typed_one(EXISTENCE, &values).await?;
    Ok(Existence { schema: row.try_get(0)?, table: row.try_get(1)?, is_utf8: row.try_get(2)? })
}

/// The columns of tables, a line for each: `table.name type not-null collation`.
///
/// # Errors
/// Those of the statement.
pub async fn columns(session: &Session, schema: &str, tables: &[&str]) -> Result<String, Error> {
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schema, Type::NAME), (&tables, Type::NAME_ARRAY)];
    let mut columns = String::new();
    for row in session.client.query_typed(COLUMNS, &values).await? {
        let text = |index| row.try_get::<_, &str>(index);
        let is_required: bool = row.try_get(3)?;
        // Writing to a text cannot fail.
        let _ =
            writeln!(columns, "{}.{} {} {is_required} {}", text(0)?, text(1)?, text(2)?, text(4)?);
    }
    Ok(columns)
}

/// One of the tables that has a trigger, a rule, row security or a parent, or is no table.
///
/// # Errors
/// Those of the statement.
pub async fn attached(
    session: &Session,
    schema: &str,
    tables: &[&str],
) -> Result<Option<String>, Error> {
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schema, Type::NAME), (&tables, Type::NAME_ARRAY)];
    let row = session.client.query_typed_opt(ATTACHED, &values).await?;
    row.map(|row| row.try_get(0)).transpose()
}
