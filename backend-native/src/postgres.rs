//! A store in a PostgreSQL database, which several hosts share.

mod blocking;
mod connection;
mod error;
mod feed;
mod known;
mod location;
mod readers;
mod rows;
mod schema;
mod statements;
mod tables;
mod transaction;
mod writer;
mod writes;

pub(crate) use location::{DatabaseLocation, check};
pub(crate) use readers::DatabaseReaders;
pub(crate) use tables::DatabaseTables;
pub(crate) use writer::DatabaseWriter;
