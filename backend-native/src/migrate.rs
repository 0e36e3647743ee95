//! Migration of a store that an earlier release has written.

use rusqlite::Connection;
use strongroom_core::Result;
use tracing::{info, warn};

use crate::key_ring::KeyRing;
use crate::schema;
use crate::state::{RowSum, State};

/// Brings the tables of a store up to date, unless they are, or another process does so meanwhile.
pub(crate) fn migrate(connection: &mut Connection, key_ring: &KeyRing) -> Result<()> {
    if schema::upgrade(connection, |transaction| fill(transaction, key_ring))? {
        info!("brought the store of an earlier release up to date");
    }
    Ok(())
}

/// Fills the tables that an earlier schema did not have.
fn fill(connection: &Connection, key_ring: &KeyRing) -> Result<()> {
    let (rows, damaged) = RowSum::of_store(connection, &key_ring.rows)?;
    if damaged > 0 {
        warn!(damaged, "secrets fail authentication and are not in the first state of the store");
    }
    State::first(rows).store(connection, &key_ring.rows).map(drop)
}
