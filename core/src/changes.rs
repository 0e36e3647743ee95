//! What a store tells of changes.

use std::fmt;

use async_trait::async_trait;

use crate::SecretPath;
#[cfg(doc)]
use crate::{Backend, MetadataPatch};

/// What may have changed in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// These secrets: a new version, other metadata, or they were deleted or restored.
    Secrets(Vec<SecretPath>),
    /// Any secret: the feed does not know which, or it may have missed changes.
    Any,
}

/// The changes of a store as they come, so that a cache need not ask for them. From [`Backend::changes`].
///
/// - A feed reports each change that is made after [`Backend::changes`] has returned, by any process, also through this
///   backend. It includes what changes without a new version, as with a [`MetadataPatch`].
/// - While [`next`](Self::next) is awaited, it returns within about 200 ms after a change. By then, a read through the
///   backend sees the change.
/// - One answer may stand for several changes, and [`Change::Any`] for each. A feed may report a change where there was
///   none.
/// - While a feed cannot follow its store, it waits. Once it can, for the first time or again, it reports
///   [`Change::Any`] if it may have missed a change.
/// - While [`next`](Self::next) is not called, a feed need not do anything, and loses nothing.
/// - [`Backend::close`] ends a feed and releases what it holds. So does the drop of the feed.
#[async_trait]
pub trait ChangeFeed: fmt::Debug + Send {
    /// Waits for the next change. `None` once the store is closed, from then on.
    ///
    /// If the future is dropped earlier, the next call returns what this one would have. A feed may need a Tokio runtime
    /// with a timer and I/O.
    async fn next(&mut self) -> Option<Change>;
}
