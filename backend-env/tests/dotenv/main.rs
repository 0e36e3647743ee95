//! The parser and the writer of `.env` files, beside other readers of such files.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test reports a failure"
)]

mod differential;
mod readers;
mod round_trip;
mod table;
