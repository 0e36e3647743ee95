//! Handles: the newest value of one secret, kept fresh in the background.
//!
//! The handles of a path share a [`state::WatchState`] and one [`task::WatchTask`]. The registry finds the state by
//! its path, so that reads and writes of the manager reach the handles.

#[cfg(feature = "access")]
mod guarded;
mod handle;
pub(crate) mod registry;
mod state;
mod suspend;
mod task;
mod wake;

pub use self::handle::SecretHandle;
pub use self::state::Current;
pub(crate) use self::wake::wake_gradually;
