//! lib
mod attempt;
mod decide;
mod event;
mod overlap;
mod record;
mod rules;
mod state;
mod time;

pub use decide::{Decision, decide};
pub use event::{Call, Cause, Effect, Event, Next};
pub use record::{Attempt, AttemptId, Change, InstanceId, KeyRef, Record, Stage};
pub use rules::{BELIEVED_AFTER, Issuer, Now, REVOCATION_PAUSE, Rules};
pub use state::{
    Backoff, Failure, FailureKind, Goal, InUse, Instance, Issued, Lease, Overlap, Pending, Phase,
    Reluctance, Reserved, Trial, Untracked,
};
pub use time::Time;
