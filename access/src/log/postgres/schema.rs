//! The tables of a log, in a schema of their own.

use strongroom_core::{Error, ErrorKind, Result};
use strongroom_postgres::Session;
use strongroom_postgres::catalog::{self, Existence};
use tokio_postgres::types::Type;

use super::error::{CallError, changed_schema, unreadable};
use crate::log::error::corrupt;
use crate::log::{START, memory};

/// The schema of the tables.
pub(super) const SCHEMA: &str = "strongroom_access";
/// The tables that the log needs.
const NAMES: [&str; 3] = ["version", "head", "rows"];
/// The version of the schema that this release reads and writes.
const VERSION: i32 = 1;
/// The advisory lock under which the schema is created or migrated: `SRAL` in ASCII, and 1.
const LOCK: i64 = 0x5352_414c_0000_0001;

/// Text that filters compare has the collation `C`: the order of its bytes.
const TABLES: &str = "
CREATE TABLE strongroom_access.version (
    id smallint PRIMARY KEY CHECK (id = 1),
    version integer NOT NULL
);
CREATE TABLE strongroom_access.head (
    id smallint PRIMARY KEY CHECK (id = 1),
    log_id bytea NOT NULL,
    first bigint NOT NULL,
    before_first bytea NOT NULL,
    last bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE strongroom_access.rows (
    seq bigint PRIMARY KEY,
    records bigint NOT NULL,
    time bigint NOT NULL,
    event text COLLATE \"C\" NOT NULL,
    tenant text COLLATE \"C\",
    principal text COLLATE \"C\" NOT NULL,
    path text COLLATE \"C\",
    body bytea NOT NULL,
    last_rule bigint NOT NULL,
    is_rule boolean NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX rows_by_path ON strongroom_access.rows (tenant, path, seq);
CREATE INDEX rows_by_principal ON strongroom_access.rows (tenant, principal, seq);
CREATE INDEX blocks ON strongroom_access.rows (tenant, seq) WHERE records > 1;
CREATE INDEX rule_rows ON strongroom_access.rows (seq) WHERE is_rule;
";

/// The columns of [`TABLES`], as the catalog shows them: table, name, type, NOT NULL and collation.
const COLUMNS: &str = "\
head.id smallint true -
head.log_id bytea true -
head.first bigint true -
head.before_first bytea true -
head.last bigint true -
rows.seq bigint true -
rows.records bigint true -
rows.time bigint true -
rows.event text true C
rows.tenant text false C
rows.principal text true C
rows.path text false C
rows.body bytea true -
rows.last_rule bigint true -
rows.is_rule boolean true -
rows.mac bytea true -
version.id smallint true -
version.version integer true -
";

/// The indexes by which filters read.
const INDEXES: [&str; 5] = [
    "CREATE UNIQUE INDEX rows_pkey ON strongroom_access.rows USING btree (seq)",
    "CREATE INDEX rows_by_path ON strongroom_access.rows USING btree (tenant, path, seq)",
    "CREATE INDEX rows_by_principal ON strongroom_access.rows USING btree (tenant, principal, seq)",
    "CREATE INDEX blocks ON strongroom_access.rows USING btree (tenant, seq) WHERE (records > 1)",
    "CREATE INDEX rule_rows ON strongroom_access.rows USING btree (seq) WHERE is_rule",
];

const READ_INDEXES: &str = "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i \
     JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = 'strongroom_access' AND c.relname = 'rows' AND i.indisvalid AND i.indisready";
/// What a database has of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A log that this release can read.
    Log,
    /// The schema, or not even that.
    Empty { has_schema: bool },
}

/// Identifies what the database has, without changing it.
pub(super) async fn identify(session: &Session) -> Result<Content, CallError> {
    let Existence { schema: has_schema, table: has_tables, is_utf8 } =
        catalog::existence(session, SCHEMA, "version").await?;
    if !is_utf8 {
        return Err(Error::new(ErrorKind::Config, "create a database with ENCODING 'UTF8'")
            .because("the database of the audit log has another encoding than UTF-8")
            .into());
    }
    if !has_tables {
        return Ok(Content::Empty { has_schema });
    }
    check_version(session).await?;
    Ok(Content::Log)
}

/// Fails unless the schema has the version of this release.
pub(super) async fn check_version(session: &Session) -> Result<(), CallError> {
    let sql = "SELECT version FROM strongroom_access.version WHERE id = 1";
    let row = session.client.query_typed_opt(sql, &[]).await?;
    let row = row.ok_or_else(|| corrupt("the table `version` of the audit log is empty"))?;
    match row.try_get::<_, i32>(0).map_err(unreadable)? {
        VERSION => Ok(()),
        newer if newer > VERSION => Err(Error::new(
            ErrorKind::Unsupported,
            "use the release of Strongroom that wrote it, or a newer one; nothing was changed",
        )
        .because(format!("the audit log has schema {newer}, this release supports up to {VERSION}"))
        .into()),
        _ => Err(corrupt("the version of the audit log's schema was changed").into()),
    }
}

/// Creates the tables, unless another host has done so meanwhile. Returns whether it did.
pub(super) async fn create(session: &Session) -> Result<bool, CallError> {
    let created = create_locked(session).await;
    if let Err(CallError::Log(_)) | Ok(false) = &created {
        session.client.batch_execute("ROLLBACK").await?;
    }
    created.map_err(|error| match error {
        CallError::Database(failure) if failure.shown_code() == Some("42501") => Error::new(
            ErrorKind::Denied,
            "let a role with CREATE on the database open the rules once, and grant this one the rights that the guide \
             lists under \"Rules in PostgreSQL\"",
        )
        .because("the database has no audit log, and the role may not create one")
        .into(),
        other => other,
    })
}

async fn create_locked(session: &Session) -> Result<bool, CallError> {
    session.client.batch_execute("BEGIN").await?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    session.client.query_typed(lock, &[(&LOCK, Type::INT8)]).await?;
    let Content::Empty { has_schema } = identify(session).await? else { return Ok(false) };
    if !has_schema {
        session.client.batch_execute("CREATE SCHEMA strongroom_access").await?;
    }
    session.client.batch_execute(TABLES).await?;
    let log_id = memory::random_log_id()?;
    let fill = "INSERT INTO strongroom_access.head (id, log_id, first, before_first, last) VALUES (1, $1, 1, $2, 0)";
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&&log_id[..], Type::BYTEA), (&&START[..], Type::BYTEA)];
    session.client.execute_typed(fill, &values).await?;
    let version = "INSERT INTO strongroom_access.version (id, version) VALUES (1, $1)";
    session.client.execute_typed(version, &[(&VERSION, Type::INT4)]).await?;
    session.client.batch_execute("COMMIT").await?;
    Ok(true)
}

/// Fails unless the tables are those of [`TABLES`], with nothing that could hide rows from a statement or change them.
pub(super) async fn check(session: &Session) -> Result<(), CallError> {
    if catalog::columns(session, SCHEMA, &NAMES).await? != COLUMNS {
        return Err(changed_schema("a column").into());
    }
    match catalog::attached(session, SCHEMA, &NAMES).await? {
        None => Ok(()),
        Some(table) => {
            let what = format!("something that is attached to the table `{table}`");
            Err(changed_schema(&what).into())
        }
    }
}

/// Fails unless the indexes by which filters read are there and valid.
pub(super) async fn check_indexes(session: &Session) -> Result<(), CallError> {
    let mut found = Vec::new();
    for row in session.client.query_typed(READ_INDEXES, &[]).await? {
        found.push(row.try_get::<_, String>(0).map_err(unreadable)?);
    }
    match INDEXES.iter().find(|index| !found.iter().any(|found| found == *index)) {
        None => Ok(()),
        Some(_) => Err(changed_schema("an index").into()),
    }
}
