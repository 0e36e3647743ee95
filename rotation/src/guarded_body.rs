//! A response body that keeps the engine from revoking a key.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::KeyGuard;

pin_project! {
    /// The body of a response, with a guard on the key of the request: the request counts as in flight
    /// until the body has ended, has failed, or is dropped.
    pub struct GuardedBody<B> {
        #[pin]
        body: B,
        guard: Option<KeyGuard>,
    }
}

impl<B: Body> GuardedBody<B> {
    pub(super) fn new(body: B, guard: Option<KeyGuard>) -> Self {
        let guard = guard.filter(|_| !body.is_end_stream());
        Self { body, guard }
    }
}

impl<B: Body> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Shows the generation of the key, and nothing of the body.
impl<B> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").field("guard", &self.guard).finish_non_exhaustive()
    }
}
