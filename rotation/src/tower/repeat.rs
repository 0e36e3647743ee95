//! What it takes to send a request twice.

use http::Request;

/// How the body of a request is copied, so that the request can be sent again.
///
/// A function `Fn(&B) -> Option<B>` is one, too.
#[diagnostic::on_unimplemented(
    message = "bodies of type `{B}` cannot be copied by `{Self}`",
    note = "say how with `RotatingKeyLayer::repeat_with`, or give it up with `without_retry`"
)]
pub trait RetryBody<B> {
    /// A copy of a body that nothing has been read from; nothing if this one cannot be copied.
    ///
    /// It is made of each request, before that is sent: it has to be cheap.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Copies bodies with [`Clone`]: right for those that are empty or share their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B: Clone> RetryBody<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Copies no body: right for streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRetry;

impl<B> RetryBody<B> for NoRetry {
    fn copy(&self, _: &B) -> Option<B> {
        None
    }
}

impl<B, F: Fn(&B) -> Option<B>> RetryBody<B> for F {
    fn copy(&self, body: &B) -> Option<B> {
        self(body)
    }
}

/// A copy of a request, extensions included.
pub(super) fn copy<B>(request: &Request<B>, repeat: &impl RetryBody<B>) -> Option<Request<B>> {
    let mut copy = Request::new(repeat.copy(request.body())?);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    *copy.version_mut() = request.version();
    request.headers().clone_into(copy.headers_mut());
    request.extensions().clone_into(copy.extensions_mut());
    Some(copy)
}
