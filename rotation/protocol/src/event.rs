//! What an instance hears, and what it does about it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Attempt, Change, Failure, KeyRef, Record, Time};

/// What an instance hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A time has come that it waits for, or the store is to be read for another reason.
    Wake,
    /// The key is due.
    Due,
    /// A caller wants a newer key than this generation.
    Rotate {
        /// The generation.
        replace: u64,
    },
    /// A caller reports that the key in use is compromised.
    RotateCompromised,
    /// The store was read.
    Read(Record),
    /// The record was written, and is this now.
    Written(Record),
    /// Another instance has written first.
    Conflict,
    /// The issuer has given a key.
    Issued {
        /// The key.
        key: KeyRef,
        /// Why it cannot be stored, if it cannot.
        unusable: Option<Failure>,
        /// Whether an answer was lost before that one.
        is_repeated: bool,
    },
    /// The issuer accepts the key that it was asked about.
    Verified,
    /// The issuer has listed its keys.
    Listed(Vec<KeyRef>),
    /// The issuer does not accept the key any more.
    Revoked,
    /// The store will replace the secret.
    Requested,
    /// The call has failed.
    Failed(Failure),
}

/// A call that an instance makes. One is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Read the record. Answered by [`Event::Read`].
    Read,
    /// Write the record, if it is still the one that the instance knows. Answered by [`Event::Written`] or
    /// [`Event::Conflict`].
    Write(Change),
    /// Ask the issuer for a key. Answered by [`Event::Issued`].
    Issue {
        /// The attempt, with its fencing token.
        attempt: Attempt,
        /// The current key, which authorises that.
        current: KeyRef,
        /// How long it may take.
        limit: Duration,
    },
    /// Ask the issuer whether it accepts a key. Answered by [`Event::Verified`].
    Verify {
        /// The key.
        key: KeyRef,
        /// How long it may take.
        limit: Duration,
    },
    /// Ask the issuer for all its keys. Answered by [`Event::Listed`].
    List {
        /// The current key, which authorises that.
        current: KeyRef,
        /// How long it may take.
        limit: Duration,
    },
    /// Have the issuer revoke a key. Answered by [`Event::Revoked`].
    Revoke {
        /// The key.
        key: KeyRef,
        /// The current key, which authorises that.
        current: KeyRef,
        /// How long it may take.
        limit: Duration,
    },
    /// Ask the store to replace the secret. Answered by [`Event::Requested`].
    Request {
        /// How long it may take.
        limit: Duration,
    },
}

/// What an instance tells, and changes in its own process. Each is done before the next call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Requests carry this key from now on.
    Use {
        /// The key.
        key: KeyRef,
        /// Its generation.
        generation: u64,
    },
    /// An attempt to get a key begins.
    Started,
    /// The issuer has given a key, and accepts it.
    Issued(KeyRef),
    /// The new key is stored.
    Stored {
        /// Its generation.
        generation: u64,
    },
    /// No request carries the old key.
    Drained {
        /// Whether requests were still under way when the time was over.
        timed_out: bool,
    },
    /// The issuer does not accept a key any more.
    Revoked(KeyRef),
    /// The issuer does not revoke a key, and is not asked again.
    RevocationFailed(KeyRef, Failure),
    /// The issuer may have given keys that the store does not hold.
    Orphaned {
        /// How many of them were revoked; `None` if the issuer cannot list them.
        revoked: Option<usize>,
    },
    /// The store holds one key.
    Finished {
        /// Its generation.
        generation: u64,
    },
    /// The rotation could not go on.
    Failed(Cause),
    /// Nothing is left to do, and nothing is wrong.
    Healthy,
    /// Other keys may be replaced.
    ReleasePermit,
}

/// Why a rotation could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A call has failed.
    Call(Failure),
    /// Each write has found that another instance had written first.
    Conflicts,
    /// The store was asked to replace the secret, and has not.
    NotReplaced,
}

/// What an instance does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Make a call.
    Call(Call),
    /// Wait until a time.
    Wait {
        /// The time.
        until: Time,
        /// Or until no request carries an old key.
        for_drain: bool,
        /// Or until this key may be replaced.
        for_permit: bool,
    },
    /// Wait until the key is due, a caller wants something, or the store is to be read.
    Rest,
}

impl Next {
    pub(crate) const fn wait(until: Time) -> Self {
        Self::Wait { until, for_drain: false, for_permit: false }
    }
}
