//! The statements of an administrator's session.

use std::fmt;

use bytes::BytesMut;
use strongroom_postgres::Session;
use tokio_postgres::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use zeroize::Zeroizing;

/// The search path keeps the session from calling a function of the same name in another schema: a user
/// who may create one there could otherwise act as the administrator. READ COMMITTED makes each statement
/// see what was committed before it; stricter levels would read what was there before the lock was free.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp";
/// The server releases it with the end of the transaction.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
/// Until the end of the transaction.
const SET_PARAMETERS: &str = "SELECT set_config('strongroom.role', $1, true), \
                    set_config('strongroom.verifier', $2, true)";
/// A constant, so that the statements that a server logs hold nothing secret. The handler replaces the
/// server's own message, which would quote the inner statement.
const SET_PASSWORD: &str = "DO $strongroom$ BEGIN \
    EXECUTE format('ALTER ROLE %I PASSWORD %L', current_setting('strongroom.role'), \
        nullif(current_setting('strongroom.verifier'), '')); \
    EXCEPTION WHEN query_canceled OR OTHERS THEN \
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'the password of a role was not changed'; \
    END $strongroom$";
const MAY_TERMINATE: &str = "SELECT pg_has_role('pg_signal_backend', 'USAGE') OR \
                       pg_has_role($1::text::name, 'USAGE')";
const TERMINATE: &str = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE usename = $1::text::name AND pid <> pg_backend_pid()";

/// What a server stores instead of a password and checks the password with, in the form of RFC 5803.
pub(super) struct Verifier(Zeroizing<String>);

impl Verifier {
    pub(super) fn of(password: &[u8]) -> Self {
        Self(Zeroizing::new(postgres_protocol::password::scram_sha_256(password)))
    }

    /// The role has no password afterwards.
    pub(super) fn none() -> Self {
        Self(Zeroizing::default())
    }
}

/// Masked, because the driver logs parameters at DEBUG in some of its calls.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier([REDACTED])")
    }
}

impl ToSql for Verifier {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.as_str().to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <&str as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

pub(super) async fn ping(session: &Session) -> Result<(), Error> {
    session.client.batch_execute("SELECT 1").await
}

/// Begins a transaction, and waits for the lock.
pub(super) async fn begin(session: &Session, lock: i64) -> Result<(), Error> {
    session.client.batch_execute(BEGIN).await?;
    session.client.query_typed(LOCK, &[(&lock, Type::INT8)]).await.map(drop)
}

pub(super) async fn commit(session: &Session) -> Result<(), Error> {
    session.client.batch_execute("COMMIT").await
}

/// Replaces the verifier of a role's password.
pub(super) async fn set_password(
    session: &Session,
    role: &str,
    verifier: &Verifier,
) -> Result<(), Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&role, Type::TEXT), (verifier, Type::TEXT)];
    session.client.query_typed(SET_PARAMETERS, &parameters).await?;
    session.client.batch_execute(SET_PASSWORD).await
}

/// Whether the administrator has the right to terminate sessions of the role.
pub(super) async fn may_terminate_sessions(session: &Session, role: &str) -> Result<bool, Error> {
    session.client.query_typed_one(MAY_TERMINATE, &[(&role, Type::TEXT)]).await?.try_get(0)
}

/// Terminates all sessions of the role.
pub(super) async fn terminate_sessions(session: &Session, role: &str) -> Result<(), Error> {
    session.client.query_typed(TERMINATE, &[(&role, Type::TEXT)]).await.map(drop)
}
