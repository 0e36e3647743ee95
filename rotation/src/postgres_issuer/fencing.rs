//! Fencing tokens of attempts.
//!
//! An instance that was paused between storing an attempt and calling `issue` would set another password
//! over that of the key in use, because the key before it still works for a while. So the server keeps the
//! largest token that it has seen, and an attempt with a smaller one is rejected. See Martin Kleppmann,
//! "How to do distributed locking" (2016), section "Making the lock safe with fencing".
//!
//! The comments of the two roles hold the token, as `[strongroom: fencing token 17]` behind the operator's
//! own text: `COMMENT ON ROLE` needs no more rights than changing a password. Both hold it, because an
//! operator may drop and create one role again, or write another comment. Of two tokens the larger counts.

use strongroom_core::{ErrorKind, Result};
use strongroom_postgres::Session;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::error::{permanent, statement_error};

/// One row for each marker, with the name of its role and its number; NULL if it has no number. `[[]` and
/// `[]]` stand for brackets, because a backslash means different things to differently configured servers.
const READ: &str = "SELECT rolname = $1::text::name, found[1] FROM pg_roles, regexp_matches(\
    shobj_description(oid, 'pg_authid'), \
    '[[]strongroom: fencing token(?: ([0-9]{1,20})(?=[]]))?', 'g') AS found \
    WHERE rolname IN ($1::text::name, $2::text::name)";
/// Until the end of the transaction.
const SET_PARAMETERS: &str = "SELECT set_config('strongroom.role', $1, true), \
    set_config('strongroom.other_role', $2, true), set_config('strongroom.token', $3, true)";
/// Puts the token into both comments, and changes nothing else in them. It is a constant for the same
/// reasons as the statement that changes a password.
const WRITE: &str = "DO $strongroom$ DECLARE changed text; known text; BEGIN \
    FOREACH changed IN ARRAY ARRAY[current_setting('strongroom.role'), \
        current_setting('strongroom.other_role')] LOOP \
    SELECT shobj_description(oid, 'pg_authid') INTO known FROM pg_roles \
        WHERE rolname = changed::name; \
    IF known ~ '[[]strongroom: fencing token [0-9]{1,20}[]]' THEN ELSE \
        known := concat_ws(' ', known, '[strongroom: fencing token 0]'); END IF; \
    EXECUTE format('COMMENT ON ROLE %I IS %L', changed, regexp_replace(known, \
        '(?<=[[]strongroom: fencing token )[0-9]{1,20}(?=[]])', \
        current_setting('strongroom.token'), 'g')); \
    END LOOP; \
    EXCEPTION WHEN query_canceled OR OTHERS THEN \
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'the comment of a role was not changed'; \
    END $strongroom$";

/// Rejects an attempt if the server has seen a larger token for these roles. The caller holds the lock
/// of the roles until it has stored the token.
pub(super) async fn check_fencing_token(
    session: &Session,
    roles: &[String; 2],
    token: u64,
) -> Result<()> {
    let markers = markers(session, roles).await.map_err(statement_error)?;
    let mut largest = 0;
    for (role, number) in markers {
        let seen = number.and_then(|number| number.parse().ok());
        let seen: u64 = seen.ok_or_else(|| malformed_marker(role))?;
        largest = largest.max(seen);
    }
    if token >= largest {
        return Ok(());
    }
    Err(permanent(
        ErrorKind::Conflict,
        format!(
            "another instance has made a newer attempt: its fencing token is {largest}, and that \
             of this attempt is {token}"
        ),
        "read the secret again and go on with what it says; if the secret was set up again with \
         smaller tokens, remove `[strongroom: fencing token …]` from the comments of both roles \
         (COMMENT ON ROLE)",
    ))
}

/// The markers in the comments of these roles: whose each is, and its number.
async fn markers<'a>(
    session: &Session,
    roles: &'a [String; 2],
) -> Result<Vec<(&'a str, Option<String>)>, Error> {
    let [one, other] = roles;
    let rows = session.client.query_typed(READ, &[(one, Type::TEXT), (other, Type::TEXT)]).await?;
    let marker = |row: &tokio_postgres::Row| {
        let role = if row.try_get(0)? { one } else { other };
        Ok((role.as_str(), row.try_get(1)?))
    };
    rows.iter().map(marker).collect()
}

/// Stores the token of an attempt. It counts once the transaction is committed.
pub(super) async fn store_fencing_token(
    session: &Session,
    roles: &[String; 2],
    token: u64,
) -> Result<(), Error> {
    let [one, other] = roles;
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(one, Type::TEXT), (other, Type::TEXT), (&token.to_string(), Type::TEXT)];
    session.client.query_typed(SET_PARAMETERS, &parameters).await?;
    session.client.batch_execute(WRITE).await
}

fn malformed_marker(role: &str) -> strongroom_core::Error {
    permanent(
        ErrorKind::Config,
        format!(
            "the comment of `{role}` holds a damaged fencing token: `[strongroom: fencing token` is not \
             followed by a number of 64 bits and `]`"
        ),
        "remove that text from the comment (COMMENT ON ROLE): the next attempt writes it again",
    )
}
