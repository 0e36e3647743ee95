//! Copies a whole store from one database to another.

use strongroom_core::Result;

use crate::key_ring::StoreRow;
use crate::secret_row;
use crate::state::StoredState;
use crate::storage::{Range, Tables};

/// Copies everything that a snapshot of `from` has into the empty tables `to`, sealed and signed as it is.
///
/// A row that cannot be read, or has a path that is not valid, is left out: the state tells that it is missing.
pub(crate) fn copy(from: &dyn Tables, to: &dyn Tables) -> Result<()> {
    to.insert_store_row(&StoreRow::load(from)?)?;
    for key in from.keys()? {
        to.write_key(&key)?;
    }
    for slot in from.slots()? {
        to.write_slot(&slot)?;
    }
    to.write_state(&StoredState::load(from)?)?;
    from.secrets(Range::ALL, &mut |path, raw| {
        let (Some(path), Ok(raw)) = (secret_row::valid_path(path), raw) else { return Ok(()) };
        to.write_secret(&path, &raw)?;
        from.versions(raw.secret_id, true, &mut |version| match version {
            Ok(version) => to.insert_version(raw.secret_id, version),
            Err(_) => Ok(()),
        })
    })
}
