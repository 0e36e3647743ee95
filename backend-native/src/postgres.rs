//! A store in a PostgreSQL database, which several hosts share.

mod blocking;
mod connection;
mod error;
mod feed;
mod known;
mod location;
mod read_connection;
mod readers;
mod replica;
mod rows;
mod schema;
mod statements;
mod tables;
mod transaction;
mod writer;
mod writes;

pub(crate) use location::{DatabaseLocation, check, check_replica};
pub(crate) use readers::DatabaseReaders;
pub(crate) use tables::DatabaseTables;
pub(crate) use writer::DatabaseWriter;
