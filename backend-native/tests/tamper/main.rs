//! An attacker who can write the store's file can remove secrets, but cannot make the store return
//! a wrong one: reading an edited record fails with `Corrupt`, no write overwrites it, and the
//! other secrets stay readable.
//!
//! Reads do not notice that a whole secret was removed, or replaced by its earlier authentic self; `verify` does. A
//! running process and an anchor notice that an earlier copy of the file was put back.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's own functions may panic"
)]

mod edit;
mod guarded;
mod key_ring;
mod rollback;
mod rows;
mod sample;
mod state;
mod swaps;
mod versions;
