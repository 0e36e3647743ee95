//! The key in the requests of a `tower` service.

mod future;
mod repeat;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use strongroom_core::Result;
use tower_layer::Layer;
use tower_service::Service;

pub use self::future::ResponseFuture;
pub use self::repeat::{CloneBody, NoRetry, RetryBody};
use super::guarded_body::GuardedBody;
use super::key_injector::KeyInjector;
use super::origin::Origin;
use super::{KeyHeader, RotatingKey};

/// What fails in a stack of services.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts the current key into each request of an HTTP client that is a `tower` service.
///
/// - The key goes into the header that [`header`](Self::header) names, in place of what the request
///   has there.
/// - The request counts as in flight until the body of its response has ended or is dropped
///   ([`GuardedBody`]); until then its key is not revoked, within the time that a drain may take.
/// - The headers of the response are looked at for the end of the key's life
///   ([`RotatingKey::observe`]).
/// - A request that is answered 401 is sent once more with the new key if its own has been replaced
///   meanwhile. Nothing was done on behalf of a request that was not authenticated, so that holds for
///   all methods. If its key is current here, the store is looked at first: another instance may have
///   replaced it. A 401 to a key that nobody has replaced is passed on, and so is a second one.
///
/// To send a request once more takes a copy from before, body included; [`RetryBody`] says what is
/// copied. A body that cannot be copied is not sent again.
///
/// # Redirects
/// This layer sees single requests. Where another follows redirects, put this one inside of it and name
/// the origins that may get the key with [`allow_origin`](Self::allow_origin): inside, each hop gets the
/// current key, and hops to other origins get none. Outside of it, the other would carry the key
/// along, possibly to another host.
///
/// # Errors
/// Those of the service below, and a [`strongroom::Error`](strongroom_core::Error) if the key cannot be in a
/// header ([`KeyHeader::put`]).
///
/// # Examples
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use strongroom_rotation::{RotatingKey, RotatingKeyLayer};
/// use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};
///
/// async fn run(key: RotatingKey) -> Result<(), BoxError> {
///     // Stands for an HTTP client.
///     let client = service_fn(|_: Request<Full<&'static [u8]>>| async {
///         Ok::<_, Infallible>(Response::new(Full::new(&b"hello"[..])))
///     });
///     let layer = RotatingKeyLayer::new(key).allow_origin("https://api.example.com")?;
///     let mut client = ServiceBuilder::new().layer(layer).service(client);
///
///     let request = Request::get("https://api.example.com/models").body(Full::default())?;
///     let response = client.ready().await?.call(request).await?;
///     assert!(response.status().is_success());
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RotatingKeyLayer<P = CloneBody> {
    carrier: Arc<KeyInjector>,
    repeat: P,
}

impl RotatingKeyLayer {
    /// A layer that sends the key as a bearer token, to wherever requests go, and copies the bodies of
    /// requests with [`Clone`].
    #[must_use]
    pub fn new(key: RotatingKey) -> Self {
        Self { carrier: Arc::new(KeyInjector::new(key)), repeat: CloneBody }
    }
}

impl<P> RotatingKeyLayer<P> {
    /// Names the header that carries the key.
    #[must_use]
    pub fn header(mut self, header: KeyHeader) -> Self {
        Arc::make_mut(&mut self.carrier).header = header;
        self
    }

    /// Sends the key to this origin, such as `https://api.example.com`, and to others that are named the
    /// same way. Requests to any other, and those whose URI is relative, go out as they are.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it is not a scheme and a host, with or
    /// without a port.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        Arc::make_mut(&mut self.carrier).origins.add(origin)?;
        Ok(self)
    }

    /// Copies bodies with `copy`. Where it gives nothing, the request is not sent again.
    ///
    /// # Examples
    /// For a type that is empty, whole or a stream, and only the last cannot be had twice:
    /// ```
    /// use http_body_util::{Either, Empty, Full, combinators::UnsyncBoxBody};
    /// # use strongroom_rotation::{RotatingKey, RotatingKeyLayer};
    /// # use std::convert::Infallible;
    ///
    /// type Body = Either<Full<&'static [u8]>, UnsyncBoxBody<&'static [u8], Infallible>>;
    ///
    /// # fn run(key: RotatingKey) {
    /// let layer = RotatingKeyLayer::new(key).retry_with(|body: &Body| match body {
    ///     Either::Left(full) => Some(Either::Left(full.clone())),
    ///     Either::Right(_) => None,
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    #[must_use]
    pub fn retry_with<B, F>(self, copy: F) -> RotatingKeyLayer<F>
    where
        F: Fn(&B) -> Option<B> + Clone,
    {
        RotatingKeyLayer { carrier: self.carrier, repeat: copy }
    }

    /// Sends no request twice, so that bodies need not be copied.
    #[must_use]
    pub fn without_retry(self) -> RotatingKeyLayer<NoRetry> {
        RotatingKeyLayer { carrier: self.carrier, repeat: NoRetry }
    }
}

impl<S, P: Clone> Layer<S> for RotatingKeyLayer<P> {
    type Service = RotatingKeyService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RotatingKeyService {
            inner,
            carrier: Arc::clone(&self.carrier),
            repeat: self.repeat.clone(),
        }
    }
}

/// A service whose requests carry the current key; see [`RotatingKeyLayer`].
#[derive(Clone, Debug)]
pub struct RotatingKeyService<S, P = CloneBody> {
    inner: S,
    carrier: Arc<KeyInjector>,
    repeat: P,
}

impl<S, P, B, R> Service<Request<B>> for RotatingKeyService<S, P>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: RetryBody<B>,
    R: Body,
{
    type Response = Response<GuardedBody<R>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let carrier = Arc::clone(&self.carrier);
        let fresh = self.inner.clone();
        // The one that is ready is the one to call.
        let mut service = std::mem::replace(&mut self.inner, fresh);
        if !carrier.serves(Origin::of_uri(request.uri())) {
            let sent = service.call(request);
            return ResponseFuture::sent(sent, service, carrier, None, None);
        }
        let copy = repeat::copy(&request, &self.repeat);
        match carrier.load(request.headers_mut()) {
            Ok(guard) => {
                let sent = service.call(request);
                ResponseFuture::sent(sent, service, carrier, Some(guard), copy)
            }
            Err(error) => ResponseFuture::failed(error, service, carrier),
        }
    }
}
