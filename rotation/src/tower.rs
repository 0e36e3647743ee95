//! A layer that puts the key into the requests of a `tower` service.

mod future;
mod retry_body;
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
pub use self::retry_body::{CloneBody, NoRetry, RetryBody};
use super::guarded_body::GuardedBody;
use super::key_injector::KeyInjector;
use super::origin::Origin;
use super::{KeyHeader, Rejection, RotatingKey};

/// The error type of `tower` services.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts the current key into each request of an HTTP client that is a `tower` service.
///
/// - The key goes into the header that [`header`](Self::header) names, and replaces what the request
///   has there.
/// - The request counts as in flight until the body of its response has ended or is dropped
///   ([`GuardedBody`]). Until then the engine does not revoke its key, within
///   [`drain_timeout`](crate::RotationPolicy::drain_timeout).
/// - The layer reads the expiry of the key from the headers of the response
///   ([`RotatingKey::observe`]).
/// - If the service rejects the key (answers 401, or what [`rejection`](Self::rejection) names) and the
///   key has been replaced meanwhile, the layer sends the request once more with the new key. The service
///   has not carried out a request that it did not authenticate, so this is safe for all methods. If the
///   key is the current one, the layer first has the engine check the store, because another instance may
///   have replaced it. The layer passes on a rejection of a key that is still current, and a second
///   rejection.
///
/// To send a request once more, the layer copies it beforehand, with its body; [`RetryBody`] says how. It
/// does not resend a request whose body cannot be copied.
///
/// # Redirects
/// This layer sees single requests. If another layer follows redirects, put this one inside it and name
/// the origins that may get the key with [`allow_origin`](Self::allow_origin): inside, each hop gets the
/// current key, and hops to other origins get none. Outside it, the other layer would carry the key
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
    injector: Arc<KeyInjector>,
    retry_body: P,
}

impl RotatingKeyLayer {
    /// A layer that sends the key as a bearer token, to all origins, and copies the bodies of requests
    /// with [`Clone`].
    #[must_use]
    pub fn new(key: RotatingKey) -> Self {
        Self { injector: Arc::new(KeyInjector::new(key)), retry_body: CloneBody }
    }
}

impl<P> RotatingKeyLayer<P> {
    /// Names the header that carries the key.
    #[must_use]
    pub fn header(mut self, header: KeyHeader) -> Self {
        Arc::make_mut(&mut self.injector).header = header;
        self
    }

    /// Sets which responses reject the key; 401 by default.
    #[must_use]
    pub fn rejection(mut self, rejection: Rejection) -> Self {
        Arc::make_mut(&mut self.injector).rejection = rejection;
        self
    }

    /// Allows this origin, such as `https://api.example.com`, to get the key; call it once for each
    /// origin. Requests to other origins, and those whose URI is relative, then go out unchanged.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it is not a scheme and a host, with or
    /// without a port.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        Arc::make_mut(&mut self.injector).origins.add(origin)?;
        Ok(self)
    }

    /// Copies bodies with `copy`. Where it returns `None`, the request is not sent again.
    ///
    /// # Examples
    /// For a body that is either in memory or a stream, which cannot be copied:
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
        RotatingKeyLayer { injector: self.injector, retry_body: copy }
    }

    /// Sends no request twice, and copies no bodies.
    #[must_use]
    pub fn without_retry(self) -> RotatingKeyLayer<NoRetry> {
        RotatingKeyLayer { injector: self.injector, retry_body: NoRetry }
    }
}

impl<S, P: Clone> Layer<S> for RotatingKeyLayer<P> {
    type Service = RotatingKeyService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RotatingKeyService {
            inner,
            injector: Arc::clone(&self.injector),
            retry_body: self.retry_body.clone(),
        }
    }
}

/// A service whose requests carry the current key; see [`RotatingKeyLayer`].
#[derive(Clone, Debug)]
pub struct RotatingKeyService<S, P = CloneBody> {
    inner: S,
    injector: Arc<KeyInjector>,
    retry_body: P,
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
        let injector = Arc::clone(&self.injector);
        // Call the instance that `poll_ready` made ready; its clone may not be.
        let unready = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, unready);
        if !injector.allows(Origin::of_uri(request.uri())) {
            let response = service.call(request);
            return ResponseFuture::in_flight(response, service, injector, None, None);
        }
        let copy = retry_body::copy_request(&request, &self.retry_body);
        match injector.inject(request.headers_mut()) {
            Ok(guard) => {
                let response = service.call(request);
                ResponseFuture::in_flight(response, service, injector, Some(guard), copy)
            }
            Err(error) => ResponseFuture::from_error(error, service, injector),
        }
    }
}
