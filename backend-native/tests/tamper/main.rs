//! Whoever can write the store's file can take secrets away, but cannot make the store give a
//! wrong one: every edit of what is stored is refused as `Corrupt`, is never written over, and
//! leaves the other secrets readable.
//!
//! What cannot be noticed from inside the file is not here: a secret removed whole, or an older
//! authentic copy of a secret, or of the file, put back.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

mod edit;
mod keyring;
mod places;
mod rows;
mod sample;
mod versions;
