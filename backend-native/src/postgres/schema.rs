//! The tables, in a schema of their own.

use strongroom_core::{Error, ErrorKind, Result};
use strongroom_postgres::catalog::{self, Existence};
use strongroom_postgres::{Failure, Session};

use super::error::{from_failure, unreadable};
use crate::error::store_corrupt;

/// The schema of the tables.
pub(super) const SCHEMA: &str = "strongroom_native";
/// The version of the schema that this release reads and writes. Version 1 holds the format of schema 2 of a file.
const VERSION: i32 = 1;
/// The advisory lock under which the schema is created or migrated: `SRNS` in ASCII, and 1.
pub(super) const LOCK: i64 = 0x5352_4e53_0000_0001;

/// The tables that a store needs.
const NAMES: [&str; 7] = ["keyring", "secrets", "slots", "state", "store", "version", "versions"];

/// Paths have the collation `C`: the order of their bytes. Sealed bytes cannot be compressed, so the server need not try.
pub(super) const TABLES: &str = "
CREATE TABLE strongroom_native.version (
    id smallint PRIMARY KEY CHECK (id = 1),
    version integer NOT NULL,
    usable_from integer NOT NULL
);
CREATE TABLE strongroom_native.store (
    id smallint PRIMARY KEY CHECK (id = 1),
    store_id bytea NOT NULL,
    created_at bigint NOT NULL,
    root_check bytea NOT NULL
);
CREATE TABLE strongroom_native.slots (
    id bigint PRIMARY KEY,
    kind text COLLATE \"C\" NOT NULL,
    label text COLLATE \"C\",
    created_at bigint NOT NULL,
    opened_at bigint,
    parameters text COLLATE \"C\" NOT NULL,
    private_key bytea NOT NULL,
    root_key bytea NOT NULL,
    public_key bytea NOT NULL,
    mac bytea NOT NULL
);
CREATE TABLE strongroom_native.state (
    id smallint PRIMARY KEY CHECK (id = 1),
    number bigint NOT NULL,
    sealed bytea NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE strongroom_native.keyring (
    id bigint PRIMARY KEY,
    purpose smallint NOT NULL,
    state smallint NOT NULL,
    uses bigint NOT NULL,
    created_at bigint NOT NULL,
    sealed bytea NOT NULL,
    mac bytea NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE strongroom_native.secrets (
    path text COLLATE \"C\" PRIMARY KEY,
    secret_id bytea NOT NULL,
    active bigint NOT NULL,
    first bigint NOT NULL,
    latest bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    expires_at bigint,
    rotation_ms bigint,
    kind text COLLATE \"C\" NOT NULL,
    tier text COLLATE \"C\" NOT NULL,
    description text COLLATE \"C\",
    tags text COLLATE \"C\",
    mac bytea NOT NULL
) WITH (fillfactor = 80);
CREATE TABLE strongroom_native.versions (
    secret_id bytea NOT NULL,
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    wrap bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (secret_id, version)
);
ALTER TABLE strongroom_native.versions ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO strongroom_native.version VALUES (1, 1, 1);
";

/// The columns of [`TABLES`], as the catalog shows them: table, name, type, NOT NULL and collation.
const COLUMNS: &str = "\
keyring.id bigint true -
keyring.purpose smallint true -
keyring.state smallint true -
keyring.uses bigint true -
keyring.created_at bigint true -
keyring.sealed bytea true -
keyring.mac bytea true -
secrets.path text true C
secrets.secret_id bytea true -
secrets.active bigint true -
secrets.first bigint true -
secrets.latest bigint true -
secrets.created_at bigint true -
secrets.updated_at bigint true -
secrets.deleted_at bigint false -
secrets.expires_at bigint false -
secrets.rotation_ms bigint false -
secrets.kind text true C
secrets.tier text true C
secrets.description text false C
secrets.tags text false C
secrets.mac bytea true -
slots.id bigint true -
slots.kind text true C
slots.label text false C
slots.created_at bigint true -
slots.opened_at bigint false -
slots.parameters text true C
slots.private_key bytea true -
slots.root_key bytea true -
slots.public_key bytea true -
slots.mac bytea true -
state.id smallint true -
state.number bigint true -
state.sealed bytea true -
store.id smallint true -
store.store_id bytea true -
store.created_at bigint true -
store.root_check bytea true -
version.id smallint true -
version.version integer true -
version.usable_from integer true -
versions.secret_id bytea true -
versions.version bigint true -
versions.created_at bigint true -
versions.wrap bytea true -
versions.body bytea true -
";

/// What a database has of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A store that this release can read.
    Store,
    /// No tables.
    Empty {
        /// Whether the schema is there.
        has_schema: bool,
    },
}

/// Identifies what the database has, without changing it.
pub(super) async fn identify(session: &Session) -> Result<Content> {
    let found = catalog::existence(session, SCHEMA, "version").await;
    let Existence { schema: has_schema, table, is_utf8 } = found.map_err(of_driver)?;
    if !is_utf8 {
        return Err(Error::new(ErrorKind::Config, "create a database with ENCODING 'UTF8'")
            .because("the store's database has another encoding than UTF-8"));
    }
    if !table {
        return Ok(Content::Empty { has_schema });
    }
    check_version(session).await?;
    check(session).await?;
    Ok(Content::Store)
}

/// Fails unless this release can use the tables: they have its version, or one that a newer release has kept usable.
async fn check_version(session: &Session) -> Result<()> {
    let sql = "SELECT version, usable_from FROM strongroom_native.version WHERE id = 1";
    let row = session.client.query_typed_opt(sql, &[]).await.map_err(of_driver)?;
    let row = row.ok_or_else(|| store_corrupt("the table `version` of the store is empty"))?;
    let version: i32 = row.try_get(0).map_err(unreadable)?;
    let usable_from: i32 = row.try_get(1).map_err(unreadable)?;
    if (usable_from..=version).contains(&VERSION) {
        return Ok(());
    }
    if usable_from > VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "use the release of Strongroom that wrote it, or a newer one; nothing was changed",
        )
        .because(format!(
            "the store has tables of version {version}, this release supports up to {VERSION}"
        )));
    }
    Err(store_corrupt("the version of the store's tables was changed"))
}

/// Fails unless the tables are those of [`TABLES`], with nothing that could hide rows from a statement or change them.
async fn check(session: &Session) -> Result<()> {
    let changed = |what: &str| {
        Error::new(
            ErrorKind::Corrupt,
            "if a tool has added it, stop the tool and drop it; else restore the store from a backup",
        )
        .because(format!("{what} of the store's schema `{SCHEMA}` is added, changed or missing"))
    };
    let columns = catalog::columns(session, SCHEMA, &NAMES).await.map_err(of_driver)?;
    if columns != COLUMNS {
        return Err(changed("a column"));
    }
    match catalog::attached(session, SCHEMA, &NAMES).await.map_err(of_driver)? {
        None => Ok(()),
        Some(table) => Err(changed(&format!("something that is attached to the table `{table}`"))),
    }
}

/// The role may not create the schema.
pub(super) fn cannot_create(failure: &Failure) -> Error {
    if failure.shown_code() != Some("42501") {
        return from_failure(failure);
    }
    Error::new(
        ErrorKind::Denied,
        "let a role with CREATE on the database create the store once, and grant this one the rights that the guide \
         lists under \"A store in PostgreSQL\"",
    )
    .because("the database has no store, and the role may not create one")
}

fn of_driver(error: tokio_postgres::Error) -> Error {
    from_failure(&error.into())
}
