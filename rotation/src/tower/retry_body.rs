//! Copies of requests, to send them once more.

use http::Request;

/// Copies the body of a request, so that the request can be sent once more.
///
/// A function `Fn(&B) -> Option<B>` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot copy bodies of type `{B}`",
    note = "pass a function that copies them to `RotatingKeyLayer::retry_with`, or call \
            `without_retry`"
)]
pub trait RetryBody<B> {
    /// Copies a body that has not been read yet; `None` if this body cannot be copied.
    ///
    /// The layer copies the body of each request before it sends the request, so a copy has to be cheap.
    fn copy(&self, body: &B) -> Option<B>;
}

/// Copies bodies with [`Clone`]: for bodies that are empty or share their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B: Clone> RetryBody<B> for CloneBody {
    fn copy(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Copies no body: for streams.
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

/// Copies a request, with its extensions.
pub(super) fn copy_request<B>(
    request: &Request<B>,
    retry_body: &impl RetryBody<B>,
) -> Option<Request<B>> {
    let mut copy = Request::new(retry_body.copy(request.body())?);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    *copy.version_mut() = request.version();
    request.headers().clone_into(copy.headers_mut());
    request.extensions().clone_into(copy.extensions_mut());
    Some(copy)
}
