//! What kind of error it is, and which operation failed.

use std::fmt;

#[cfg(doc)]
use super::Error;

/// The kind of an error, with the same meaning on every backend.
///
/// Match on the kind to decide what to do; print the [`Error`] to tell a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No readable secret at this path or version: never written, deleted or destroyed.
    NotFound,
    /// The secret exists, but its value has no such field.
    FieldNotFound,
    /// The secret's expiry has passed. The store keeps its value, but does not return it.
    Expired,
    /// The store has authenticated the caller and does not permit the call.
    Denied,
    /// The caller may do that only once people have approved it. If a request of the caller waits for them, the error has
    /// its [id](Error::approval).
    ApprovalRequired,
    /// The store does not accept the credentials (or, for the native store, the key).
    Unauthenticated,
    /// The condition of a `put` did not hold; nothing was written.
    Conflict,
    /// The stored data fails authentication or cannot be parsed: it is damaged or was tampered with.
    Corrupt,
    /// This backend, or this version of it, lacks the operation.
    Unsupported,
    /// An argument is invalid: a malformed path, a value over a limit, too many tags.
    InvalidInput,
    /// The value is intact, but not of the requested type: not text, not a JSON object, not a `T`.
    WrongType,
    /// The configuration is incomplete or contradicts itself; the error names every problem.
    Config,
    /// The store cannot be reached or cannot serve now: down, sealed, locked, disk full.
    Unavailable,
    /// The store limits the rate of requests.
    RateLimited,
    /// The store did not answer within the time limit.
    Timeout,
    /// The manager or the backend has been closed.
    Closed,
    /// A defect in Strongroom. Please report it.
    Internal,
}

impl ErrorKind {
    /// Every kind of this release.
    pub const ALL: &'static [Self] = &[
        Self::NotFound,
        Self::FieldNotFound,
        Self::Expired,
        Self::Denied,
        Self::ApprovalRequired,
        Self::Unauthenticated,
        Self::Conflict,
        Self::Corrupt,
        Self::Unsupported,
        Self::InvalidInput,
        Self::WrongType,
        Self::Config,
        Self::Unavailable,
        Self::RateLimited,
        Self::Timeout,
        Self::Closed,
        Self::Internal,
    ];

    /// The kind as a phrase, as [`Error`]'s `Display` shows it.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::FieldNotFound => "field not found",
            Self::Expired => "expired",
            Self::Denied => "permission denied",
            Self::ApprovalRequired => "approval required",
            Self::Unauthenticated => "not authenticated",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "not supported",
            Self::InvalidInput => "invalid input",
            Self::WrongType => "wrong type",
            Self::Config => "configuration error",
            Self::Unavailable => "store unavailable",
            Self::RateLimited => "rate limited",
            Self::Timeout => "timed out",
            Self::Closed => "closed",
            Self::Internal => "internal error",
        }
    }

    /// The name of the kind in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::FieldNotFound => "field_not_found",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::ApprovalRequired => "approval_required",
            Self::Unauthenticated => "unauthenticated",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::InvalidInput => "invalid_input",
            Self::WrongType => "wrong_type",
            Self::Config => "config",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }

    /// The kind with this name in JSON.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    pub(super) const fn is_temporary(self) -> bool {
        matches!(self, Self::Unavailable | Self::RateLimited | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a backend.
    Open,
    /// Reading the active or a chosen version.
    Get,
    /// Writing a new version.
    Put,
    /// Deleting a secret, recoverably where the store can.
    Delete,
    /// Restoring a deleted secret.
    Undelete,
    /// Removing a secret and all its versions irreversibly.
    Destroy,
    /// Listing paths.
    List,
    /// Listing the versions of a secret.
    Versions,
    /// Making an earlier version the active one.
    Rollback,
    /// Reading metadata.
    Describe,
    /// Changing metadata.
    Annotate,
    /// Rotation by the store.
    Rotate,
    /// Checking the health of the store.
    Health,
    /// Work on a whole store: its check, its backup, its restoration, giving room back.
    Maintain,
    /// Wrapping a key with a [`WrappingKey`](crate::WrappingKey).
    Wrap,
    /// Unwrapping a key with a [`WrappingKey`](crate::WrappingKey).
    Unwrap,
    /// Closing a backend.
    Close,
}

impl Operation {
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Open => ("open", ""),
            Self::Get => ("get", "from"),
            Self::Put => ("put", "in"),
            Self::Delete => ("delete", "in"),
            Self::Undelete => ("undelete", "in"),
            Self::Destroy => ("destroy", "in"),
            Self::List => ("list", "from"),
            Self::Versions => ("list versions of", "in"),
            Self::Rollback => ("roll back", "in"),
            Self::Describe => ("describe", "in"),
            Self::Annotate => ("annotate", "in"),
            Self::Rotate => ("rotate", "in"),
            Self::Health => ("check health of", ""),
            Self::Maintain => ("maintain", ""),
            Self::Wrap => ("wrap a key", "with"),
            Self::Unwrap => ("unwrap a key", "with"),
            Self::Close => ("close", ""),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_kind_once_and_in_order() {
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(*kind));
        }
        assert_eq!(ErrorKind::from_name("Denied"), None);
        // The last kind of the enumeration; a new one goes before it.
        assert_eq!(ErrorKind::ALL.last(), Some(&ErrorKind::Internal));
    }
}
