//! An attacker who can write the store's file can remove secrets, but cannot make the store return
//! a wrong one: reading an edited record fails with `Corrupt`, no write overwrites it, and the
//! other secrets stay readable.
//!
//! These tests leave out what the file alone cannot reveal: the removal of a whole secret, and the
//! restoration of an older authentic copy of a secret or of the file.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

mod edit;
mod key_ring;
mod rows;
mod sample;
mod swaps;
mod versions;
