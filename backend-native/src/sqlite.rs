//! A store in a SQLite file.

pub(crate) mod changes;
pub(crate) mod location;
pub(crate) mod migrate;
pub(crate) mod readers;
pub(crate) mod room;
pub(crate) mod schema;
pub(crate) mod store_file;
pub(crate) mod tables;
pub(crate) mod writer;
