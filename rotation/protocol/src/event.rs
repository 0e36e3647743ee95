//! The events, calls and effects of an instance.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Attempt, Change, Failure, KeyRef, Record, Time};

/// An event that an instance receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A wait is over, or it is time to read the store.
    Wake,
    /// The key is due.
    Due,
    /// A caller asks for a newer key than this generation.
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
    /// The issuer has issued a key.
    Issued {
        /// The key.
        key: KeyRef,
        /// Why it cannot be stored, if it cannot.
        unusable: Option<Failure>,
        /// Whether an earlier response of the issuer was lost.
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

/// A call that an instance makes, one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Read the record. Answered by [`Event::Read`].
    Read,
    /// Write the record, if the store still holds the version that the instance has read. Answered by [`Event::Written`] or
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

/// An effect in the instance's own process, carried out before the next call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LocalEffect {
    /// Requests carry this key from now on.
    Use {
        /// The key.
        key: KeyRef,
        /// Its generation.
        generation: u64,
    },
    /// An attempt to get a key begins.
    Started,
    /// The issuer has issued a key, and accepts it.
    Issued(KeyRef),
    /// The new key is stored.
    Stored {
        /// Its generation.
        generation: u64,
    },
    /// No request carries the old key.
    Drained {
        /// Whether requests were still in flight when the time was over.
        timed_out: bool,
    },
    /// The issuer does not accept a key any more.
    Revoked(KeyRef),
    /// The issuer does not revoke a key, and the instance stops asking.
    RevocationFailed(KeyRef, Failure),
    /// The issuer may have issued keys that the store does not hold.
    Orphaned {
        /// How many of them were revoked; `None` if the issuer cannot list them.
        revoked: Option<usize>,
    },
    /// The store holds one key.
    Finished {
        /// Its generation.
        generation: u64,
    },
    /// A step of the rotation failed.
    Failed(Cause),
    /// Nothing is left to do, and the last error is resolved.
    Healthy,
    /// Release the permit, so that other keys may be replaced.
    ReleasePermit,
}

/// Why a step of a rotation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A call has failed.
    Call(Failure),
    /// Each write failed because another instance had written first.
    Conflicts,
    /// The store did not replace the secret in time.
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
    /// Wait until the key is due, a command arrives, or it is time to read the store.
    Rest,
}

impl Next {
    pub(crate) const fn wait(until: Time) -> Self {
        Self::Wait { until, for_drain: false, for_permit: false }
    }
}
