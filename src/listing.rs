//! A listing that fetches page after page.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use strongroom_core::{Result, SecretPath};

/// The paths below a prefix, in no promised order. A page, whose size is the store's choice, is
/// fetched when it is needed and not before; after each one, other tasks have a turn.
///
/// It is a [`Stream`]; without the traits of `futures`, use [`next`](Self::next) or
/// [`all`](Self::all).
pub struct Listing(BoxStream<'static, Result<SecretPath>>);

impl Listing {
    /// A listing from a stream of pages.
    pub(crate) fn new(pages: impl Stream<Item = Result<Vec<SecretPath>>> + Send + 'static) -> Self {
        let paths = pages.map_ok(|page| stream::iter(page).map(Ok)).try_flatten();
        Self(paths.boxed())
    }

    /// The next path, or `None` at the end.
    ///
    /// # Errors
    /// The error of the store; the listing ends with it.
    pub async fn next(&mut self) -> Option<Result<SecretPath>> {
        self.0.next().await
    }

    /// All remaining paths, in memory at once.
    ///
    /// # Errors
    /// The first error that the store answers.
    pub async fn all(self) -> Result<Vec<SecretPath>> {
        self.0.try_collect().await
    }
}

impl Stream for Listing {
    type Item = Result<SecretPath>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listing(..)")
    }
}
