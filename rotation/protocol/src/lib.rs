//! The protocol by which the instances of a service replace a key, without I/O.
//!
//! Applications use `strongroom-rotation`, which makes the calls that this crate decides on. It is a crate
//! of its own, without dependencies and without the standard library, so that nothing in it can read a
//! clock, draw a random number, make a call, or hold a key: keys are numbers here ([`KeyRef`]). Its API
//! follows the needs of `strongroom-rotation` and is not stable.
//!
//! Instances share one thing, the secret in its store. They write it only if the version that they have
//! read is still the active one, so that of several instances one wins. [`decide`] maps the state of an
//! instance ([`Instance`]) and an event ([`Event`]) to the next state, effects ([`LocalEffect`]), and what to do
//! next ([`Next`]).
//!
//! # What the store says
//!
//! | [`Stage`] | meaning |
//! |---|---|
//! | `Settled` | The store holds one key. |
//! | `Attempt` | An instance gets a new key, or stopped while it did. |
//! | `Overlap` | The store holds a new key, and the old one until it is revoked. |
//!
//! | [`Change`] | from | to | when |
//! |---|---|---|---|
//! | `Claim` | `Settled` | `Attempt` | The key is due, a caller asks for another one, or it is compromised; `not_before` has passed, or a caller waits. |
//! | `Claim` | `Attempt` | `Attempt` | The holder extends its lease; or the lease is over, and another instance takes the attempt over under the same name. The fencing token grows. |
//! | `Postpone` | `Attempt` | `Attempt` | The issuer does not answer, or may have given a key: all instances wait before the attempt is repeated. |
//! | `Withdraw` | `Attempt` | `Settled` | The issuer has refused; or its key does not work and is revoked; or an operator has put back an attempt that is over. |
//! | `Store` | `Attempt` | `Overlap` | The issuer has given a key, and accepts it. |
//! | `Confirm` | any | the same | Before a key is revoked: only a write confirms what the store holds, because reads may lag. |
//! | `Finish` | `Overlap` | `Settled` | The old key is revoked, or left to an operator. |
//!
//! # The phases of an instance
//!
//! | [`Phase`] | what the instance does | next phase |
//! |---|---|---|
//! | `Idle` | Rest. Follow what others store. | `Claiming` if the key is to be replaced; `Overlap` if another instance has stored a new key. |
//! | `Claiming` | Write the attempt. If the outcome is unknown, write it again under the same name. | `Attempting` once it is written. |
//! | `Attempting` | Ask the issuer. Extend the lease first if a quarter of it is over. | `Issued`; `Withdrawing` if the issuer has refused for certain; otherwise the same, after a pause that the record notes. |
//! | `Issued` | Verify the key, again with growing pauses for one lease: some keys work only after some seconds. Store it. | `Overlap`; `Withdrawing` if it does not work and is revoked; `Missing` if the record shows neither the key nor the attempt. |
//! | `Missing` | Wait until that is believed, and until instances that may use the key have noticed. Confirm, revoke the key. | `Idle`; `Issued` or `Overlap` if a later read shows that the first one lagged. |
//! | `Withdrawing` | Remove the attempt. | `Idle` |
//! | `Overlap` | Wait for requests with the old key and for other instances. Verify the new key, list the issuer's keys if one may be untracked, confirm, revoke the old key and the untracked ones, remove it. | `Idle` |
//! | `Requested` | If the store itself replaces the secret: read it until it has. | `Idle` |
//!
//! A compromised key ([`Goal::compromised`]) ends `Overlap` without waiting. An instance that has not stored
//! the new key waits one lease longer in `Overlap`, so that the one that has is first.
//!
//! # Invariants
//!
//! The exploration in `tests/explore` visits each state that two or three instances, a store and an issuer
//! can reach, with a fault at each point: a crash before and after each call, an instance that is
//! paused, writes that time out and were made, were not, or are made later, reads that lag, lost answers,
//! refusals, keys that never work or work late, an issuer that never revokes, a compromised key, a rollback
//! by an operator. Three things may go wrong in one history of one instance, two or one in those of several
//! (`tests/explore/setups.rs`); `cargo xtask explore` adds one more to each.
//!
//! - The key in the store is never revoked.
//! - A key is revoked only after its successor is stored and verified, and after the instances that keep up
//!   use it no longer.
//! - Once faults stop, each rotation ends; no key is live then that is neither stored nor reported.
//! - A rotation costs one key, and each fault at most one more.
//!
//! Limits remain, because the issuer and the store are not coordinated, and the exploration permits them:
//! - An operator who puts back an earlier state between the confirming write and the revocation after it
//!   puts back a key that is about to be revoked.
//! - An issuer without fencing can issue a key to an instance that was paused for longer than its lease
//!   between its decision and its call. If the instance then dies, no instance knows of that key.
//! - An instance that is paused, or cannot read the store, for longer than `propagation_timeout` may use
//!   a revoked key until its next read.
//! - After a rollback by an operator, a key that the operator has taken out of the record stays live, and
//!   the operator has to revoke it.
//! - A compromised key, and a key that blocks its replacement, are revoked while instances use them.

#![no_std]

extern crate alloc;

mod attempt;
mod decide;
mod event;
mod overlap;
mod rebase;
mod record;
mod request;
mod rules;
mod state;
mod time;

pub use decide::{Decision, decide};
pub use event::{Call, Cause, Event, LocalEffect, Next};
pub use record::{Attempt, AttemptId, Change, InstanceId, KeyRef, Record, Stage};
pub use rules::{Issuer, MAX_READ_LAG, Now, REVOCATION_PAUSE, Rules};
pub use state::{
    Backoff, Failure, FailureKind, Goal, InUse, Instance, Issued, Lease, Overlap, OwnLease,
    Pending, Phase, RevocationFailures, Untracked, Verification,
};
pub use time::Time;
