//! The connection that writes to a store in a database.

use super::tables::DatabaseTables;
use crate::storage::{Idle, Tables, WriterTables};

/// The database removes what no transaction sees any more by itself, so nothing is done between transactions.
pub(crate) struct DatabaseWriter(DatabaseTables);

impl DatabaseWriter {
    pub(crate) fn new(tables: DatabaseTables) -> Self {
        Self(tables)
    }
}

impl WriterTables for DatabaseWriter {
    fn tables(&self) -> &dyn Tables {
        &self.0
    }

    fn note_commit(&mut self, _has_removed: bool) {}

    fn rest(&mut self) -> Idle {
        Idle::Done
    }

    fn finish(&mut self) {
        self.0.close();
    }
}
