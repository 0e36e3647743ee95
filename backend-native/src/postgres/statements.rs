//! The statements. Each is prepared once for a connection.

/// The columns that [`secret_of`](super::tables::secret_of) reads, in order.
macro_rules! columns {
    () => {
        "s.secret_id, s.active, s.first, s.latest, s.created_at, s.updated_at, s.deleted_at, \
         s.expires_at, s.rotation_ms, s.kind, s.tier, s.description, s.tags, s.mac"
    };
}

macro_rules! get {
    ($version:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", v.version, v.created_at, v.wrap, v.body FROM strongroom_native.secrets s \
             LEFT JOIN strongroom_native.versions v ON v.secret_id = s.secret_id AND v.version = ",
            $version,
            " WHERE s.path = $1"
        )
    };
}

macro_rules! key_columns {
    () => {
        "SELECT id, purpose, state, uses, created_at, sealed, mac FROM strongroom_native.keyring "
    };
}

/// How many columns [`columns!`] has.
pub(super) const COLUMN_COUNT: usize = 14;

pub(super) const GET_ACTIVE: &str = get!("s.active");
pub(super) const GET_EXACT: &str = get!("$2");
/// A secret, and its versions without their bodies, in one statement and so in one snapshot.
pub(super) const VERSIONS_OF_PATH: &str = concat!(
    "SELECT ",
    columns!(),
    ", v.version, v.created_at, v.wrap, ''::bytea FROM strongroom_native.secrets s \
     LEFT JOIN strongroom_native.versions v ON v.secret_id = s.secret_id WHERE s.path = $1 ORDER BY v.version"
);
pub(super) const SECRET: &str =
    concat!("SELECT ", columns!(), " FROM strongroom_native.secrets s WHERE s.path = $1");
pub(super) const SECRET_ID: &str =
    "SELECT secret_id FROM strongroom_native.secrets WHERE path = $1";
pub(super) const EXPECTED: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.path FROM strongroom_native.secrets s WHERE s.path = ANY ($1)"
);
/// The paths after the first and, if there is a second, before it.
pub(super) const SECRETS: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.path FROM strongroom_native.secrets s WHERE s.path > $1 AND s.path < $2 ORDER BY s.path LIMIT $3"
);
pub(super) const SECRETS_AFTER: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.path FROM strongroom_native.secrets s WHERE s.path > $1 ORDER BY s.path LIMIT $2"
);
pub(super) const WRITE_SECRET: &str = "INSERT INTO strongroom_native.secrets AS s \
     (path, secret_id, active, first, latest, created_at, updated_at, deleted_at, expires_at, rotation_ms, kind, \
      tier, description, tags, mac) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     ON CONFLICT (path) DO UPDATE SET secret_id = excluded.secret_id, active = excluded.active, \
         first = excluded.first, latest = excluded.latest, created_at = excluded.created_at, \
         updated_at = excluded.updated_at, deleted_at = excluded.deleted_at, expires_at = excluded.expires_at, \
         rotation_ms = excluded.rotation_ms, kind = excluded.kind, tier = excluded.tier, \
         description = excluded.description, tags = excluded.tags, mac = excluded.mac";
/// The state, and the rows of some paths, in one snapshot. The first columns are those of the rows.
pub(super) const STATE_AND_EXPECTED: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.path, t.number, t.sealed FROM strongroom_native.state t \
     LEFT JOIN strongroom_native.secrets s ON s.path = ANY ($1) WHERE t.id = 1"
);
macro_rules! write_if_state {
    ($versions:literal, $secrets:literal, $more:literal) => {
        concat!(
            "WITH moved AS ( \
                 UPDATE strongroom_native.state SET number = $3, sealed = $4 \
                 WHERE id = 1 AND number = $1 AND sealed = $2 RETURNING 1), \
             inserted AS ( \
                 INSERT INTO strongroom_native.versions (secret_id, version, created_at, wrap, body) ",
            $versions,
            "), written AS ( \
                 INSERT INTO strongroom_native.secrets AS s \
                     (path, secret_id, active, first, latest, created_at, updated_at, deleted_at, expires_at, \
                      rotation_ms, kind, tier, description, tags, mac) ",
            $secrets,
            " ON CONFLICT (path) DO UPDATE SET secret_id = excluded.secret_id, active = excluded.active, \
                 first = excluded.first, latest = excluded.latest, created_at = excluded.created_at, \
                 updated_at = excluded.updated_at, deleted_at = excluded.deleted_at, \
                 expires_at = excluded.expires_at, rotation_ms = excluded.rotation_ms, kind = excluded.kind, \
                 tier = excluded.tier, description = excluded.description, tags = excluded.tags, mac = excluded.mac)",
            $more,
            " SELECT pg_notify('strongroom_native', $5) FROM moved"
        )
    };
}

/// All that most transactions write, if the state is still the one that they assume. While another transaction holds the
/// lock of the state, it waits, and then looks again.
pub(super) const WRITE_IF_STATE: &str = write_if_state!(
    "SELECT new.* FROM moved, unnest($6::bytea[], $7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[]) AS new",
    "SELECT new.* FROM moved, unnest($11::text[], $12::bytea[], $13::bigint[], $14::bigint[], $15::bigint[], \
         $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::text[], \
         $23::text[], $24::text[], $25::bytea[]) AS new",
    ", removed AS ( \
         DELETE FROM strongroom_native.versions v \
         USING moved, unnest($26::bytea[], $27::bigint[]) AS old (secret_id, kept_from) \
         WHERE v.secret_id = old.secret_id AND v.version < old.kept_from)"
);
/// The same for one version of one secret, which takes the server half as long.
pub(super) const WRITE_ONE_IF_STATE: &str = write_if_state!(
    "SELECT $6::bytea, $7::bigint, $8::bigint, $9::bytea, $10::bytea FROM moved",
    "SELECT $11::text, $12::bytea, $13::bigint, $14::bigint, $15::bigint, $16::bigint, $17::bigint, $18::bigint, \
         $19::bigint, $20::bigint, $21::text, $22::text, $23::text, $24::text, $25::bytea FROM moved",
    ""
);
pub(super) const REMOVE_SECRET: &str = "DELETE FROM strongroom_native.secrets WHERE path = $1";

/// The channel on which each transaction that changes the store tells its number and the paths.
pub(super) const LISTEN: &str = "LISTEN strongroom_native";
pub(super) const NOTIFY: &str = "SELECT pg_notify('strongroom_native', $1)";
pub(super) const LOCK_STATE: &str =
    "SELECT number, sealed FROM strongroom_native.state WHERE id = 1 FOR UPDATE";
pub(super) const STATE: &str = "SELECT number, sealed FROM strongroom_native.state WHERE id = 1";
pub(super) const WRITE_STATE: &str = "INSERT INTO strongroom_native.state (id, number, sealed) VALUES (1, $1, $2) \
     ON CONFLICT (id) DO UPDATE SET number = excluded.number, sealed = excluded.sealed";

pub(super) const STORE_ROW: &str =
    "SELECT store_id, created_at, root_check FROM strongroom_native.store WHERE id = 1";
pub(super) const INSERT_STORE_ROW: &str = "INSERT INTO strongroom_native.store (id, store_id, created_at, root_check) VALUES (1, $1, $2, $3)";
pub(super) const SET_ROOT_CHECK: &str =
    "UPDATE strongroom_native.store SET root_check = $1 WHERE id = 1";

pub(super) const KEYS: &str = concat!(key_columns!(), "ORDER BY id");
pub(super) const KEY: &str = concat!(key_columns!(), "WHERE id = $1");
pub(super) const KEY_STATES: &str = "SELECT id, state FROM strongroom_native.keyring ORDER BY id";
pub(super) const WRITE_KEY: &str = "INSERT INTO strongroom_native.keyring \
     (id, purpose, state, uses, created_at, sealed, mac) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, state = excluded.state, uses = excluded.uses, \
         created_at = excluded.created_at, sealed = excluded.sealed, mac = excluded.mac";
pub(super) const REMOVE_INACTIVE_KEYS: &str =
    "DELETE FROM strongroom_native.keyring WHERE purpose = $1 AND state <> 1";

pub(super) const SLOTS: &str = "SELECT id, kind, label, created_at, opened_at, parameters, private_key, root_key, \
     public_key, mac FROM strongroom_native.slots ORDER BY id";
pub(super) const WRITE_SLOT: &str = "INSERT INTO strongroom_native.slots \
     (id, kind, label, created_at, opened_at, parameters, private_key, root_key, public_key, mac) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, label = excluded.label, \
         created_at = excluded.created_at, opened_at = excluded.opened_at, parameters = excluded.parameters, \
         private_key = excluded.private_key, root_key = excluded.root_key, public_key = excluded.public_key, \
         mac = excluded.mac";
pub(super) const REMOVE_SLOT: &str =
    "DELETE FROM strongroom_native.slots WHERE id = $1 RETURNING id";

pub(super) const VERSION: &str = "SELECT version, created_at, wrap, body FROM strongroom_native.versions \
     WHERE secret_id = $1 AND version = $2";
pub(super) const VERSIONS: &str = "SELECT version, created_at, wrap, body FROM strongroom_native.versions \
     WHERE secret_id = $1 AND version > $2 ORDER BY version LIMIT $3";
pub(super) const VERSIONS_WITHOUT_BODIES: &str = "SELECT version, created_at, wrap, ''::bytea \
     FROM strongroom_native.versions WHERE secret_id = $1 AND version > $2 ORDER BY version LIMIT $3";
pub(super) const INSERT_VERSION: &str = "INSERT INTO strongroom_native.versions \
     (secret_id, version, created_at, wrap, body) VALUES ($1, $2, $3, $4, $5)";
pub(super) const SET_WRAP: &str =
    "UPDATE strongroom_native.versions SET wrap = $1 WHERE secret_id = $2 AND version = $3";
pub(super) const REMOVE_VERSIONS_BEFORE: &str =
    "DELETE FROM strongroom_native.versions WHERE secret_id = $1 AND version < $2";
pub(super) const REMOVE_VERSIONS: &str =
    "DELETE FROM strongroom_native.versions WHERE secret_id = $1";
pub(super) const REMOVE_UNREFERENCED_VERSIONS: &str = "DELETE FROM strongroom_native.versions WHERE secret_id = $1 \
     AND NOT EXISTS (SELECT FROM strongroom_native.secrets s WHERE s.secret_id = $1)";
pub(super) const NEWEST_VERSION_BEFORE: &str =
    "SELECT max(version) FROM strongroom_native.versions WHERE secret_id = $1 AND created_at < $2";
pub(super) const HAS_WRAPS_OF_OTHERS: &str =
    "SELECT EXISTS (SELECT FROM strongroom_native.versions WHERE substr(wrap, 6, 4) <> $1)";
pub(super) const UNREFERENCED_SECRETS: &str = "SELECT count(DISTINCT v.secret_id) FROM strongroom_native.versions v \
     WHERE NOT EXISTS (SELECT FROM strongroom_native.secrets s WHERE s.secret_id = v.secret_id)";
