//! A middleware that puts the key into the requests of a `reqwest` client.

#[cfg(test)]
mod tests;

use http::{Extensions, Response as HttpResponse, header};
use reqwest::redirect::Policy;
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use reqwest_middleware::{
    ClientBuilder, ClientWithMiddleware, Error as MiddlewareError, Middleware, Next,
};
use strongroom_core::{Error, ErrorKind, Result, async_trait};

use super::guarded_body::GuardedBody;
use super::key_injector::{KeyInjector, Retry};
use super::origin::Origin;
use super::{KeyGuard, KeyHeader, Rejection, RotatingKey};

/// Puts the current key into each request of a `reqwest` client.
///
/// - The key goes into the header that [`header`](Self::header) names, and replaces what the request
///   has there.
/// - The request counts as in flight until the body of its response has been read or is dropped. Until
///   then the engine does not revoke its key, within
///   [`drain_timeout`](crate::RotationPolicy::drain_timeout).
/// - The middleware reads the expiry of the key from the headers of the response
///   ([`RotatingKey::observe`]).
/// - If the service rejects the key (answers 401, or what [`rejection`](Self::rejection) names) and the
///   key has been replaced meanwhile, the middleware sends the request once more with the new key. The
///   service has not carried out a request that it did not authenticate, so this is safe for all methods.
///   If the key is the current one, the middleware first has the engine check the store, because another
///   instance may have replaced it. The middleware passes on a rejection of a key that is still current,
///   and a second rejection. It does not resend a request whose body is a stream.
///
/// Add it after middleware that retries requests, so that each attempt gets the key that is current then.
///
/// # Redirects
/// The client follows redirects by itself, and this middleware does not see them. The client removes
/// `Authorization` from requests to another origin, **but no other header**: a key in `X-Api-Key` would go
/// wherever the service points. [`client`](Self::client) builds a client that follows redirects within an
/// origin only. If a redirect has led a request with such a key to another origin, the middleware logs a
/// warning. It never takes a response from another origin as a statement about the key.
///
/// [`allow_origin`](Self::allow_origin) keeps the key out of requests to other origins. A middleware that
/// has origins and a header other than `Authorization` refuses to send requests, unless `client` has built
/// its client, or [`without_cross_origin_redirects`](Self::without_cross_origin_redirects) says that
/// another one does not follow such redirects either.
///
/// # Logs
/// The client logs the key only if [`reqwest::ClientBuilder::connection_verbose`] makes it log all bytes
/// of its connections.
///
/// # Errors
/// Those of the client and of other middleware, and a [`strongroom::Error`](strongroom_core::Error), within
/// [`reqwest_middleware::Error::Middleware`], if the key cannot be in a header ([`KeyHeader::put`]), or if
/// redirects could take it to an origin that is not allowed.
///
/// # Examples
/// ```
/// use reqwest_middleware::ClientWithMiddleware;
/// use strongroom_rotation::{KeyHeader, RotatingKey, RotatingKeyMiddleware};
///
/// fn client(key: RotatingKey) -> Result<ClientWithMiddleware, Box<dyn std::error::Error>> {
///     let key = RotatingKeyMiddleware::new(key)
///         .header(KeyHeader::new("X-Api-Key")?)
///         .allow_origin("https://api.example.com")?;
///     Ok(key.client(reqwest::Client::builder())?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RotatingKeyMiddleware {
    injector: KeyInjector,
    /// Whether the client is known to follow no redirect to another origin.
    keeps_origin: bool,
}

impl RotatingKeyMiddleware {
    /// A middleware that sends the key as a bearer token, to all origins.
    #[must_use]
    pub fn new(key: RotatingKey) -> Self {
        Self { injector: KeyInjector::new(key), keeps_origin: false }
    }

    /// Names the header that carries the key.
    #[must_use]
    pub fn header(mut self, header: KeyHeader) -> Self {
        self.injector.header = header;
        self
    }

    /// Sets which responses reject the key; 401 by default.
    #[must_use]
    pub fn rejection(mut self, rejection: Rejection) -> Self {
        self.injector.rejection = rejection;
        self
    }

    /// Allows this origin, such as `https://api.example.com`, to get the key; call it once for each
    /// origin. Requests to other origins then go out unchanged.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it is not a scheme and a host, with or
    /// without a port.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        self.injector.origins.add(origin)?;
        Ok(self)
    }

    /// Builds a client with this middleware, which follows at most 10 redirects within the origin of a
    /// request ([`same_origin_redirects`](Self::same_origin_redirects)).
    ///
    /// # Errors
    /// Those of [`reqwest::ClientBuilder::build`].
    pub fn client(self, builder: reqwest::ClientBuilder) -> reqwest::Result<ClientWithMiddleware> {
        let client = builder.redirect(Self::same_origin_redirects()).build()?;
        let middleware = self.without_cross_origin_redirects();
        Ok(ClientBuilder::new(client).with(middleware).build())
    }

    /// Declares that the client of this middleware follows no redirect to another origin: its policy is
    /// [`same_origin_redirects`](Self::same_origin_redirects) or [`Policy::none`].
    #[must_use]
    pub fn without_cross_origin_redirects(mut self) -> Self {
        self.keeps_origin = true;
        self
    }

    /// Fails if a redirect could take the key to an origin that is not allowed.
    fn check_redirects(&self) -> Result<()> {
        let is_removed = self.injector.header.name() == header::AUTHORIZATION;
        if is_removed || self.keeps_origin || self.injector.origins.is_empty() {
            return Ok(());
        }
        let advice = "build the client with `RotatingKeyMiddleware::client`, or give it a policy that follows \
                      no such redirects and call `without_cross_origin_redirects`";
        Err(Error::new(ErrorKind::Config, advice)
            .because("a redirect could take the key to an origin that is not allowed"))
    }

    /// A policy for [`reqwest::ClientBuilder::redirect`] that follows at most 10 redirects within the
    /// origin of the request. A redirect to another origin is returned as the response.
    #[must_use]
    pub fn same_origin_redirects() -> Policy {
        let follow = Policy::limited(10);
        Policy::custom(move |attempt| {
            let home = attempt.previous().first().and_then(Origin::of_url);
            if home.is_some() && home == Origin::of_url(attempt.url()) {
                follow.redirect(attempt)
            } else {
                attempt.stop()
            }
        })
    }

    /// Sends a request with the current key.
    async fn send(
        &self,
        mut request: Request,
        has_copy: bool,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Answer, MiddlewareError> {
        let guard =
            self.injector.inject(request.headers_mut()).map_err(MiddlewareError::middleware)?;
        let url = request.url().clone();
        let response = next.run(request, extensions).await?;
        let retry = if Origin::of_url(response.url()) == Origin::of_url(&url) {
            let (status, headers) = (response.status(), response.headers());
            self.injector.observe(&guard, headers);
            self.injector.decide_retry(&guard, status, headers, has_copy)
        } else {
            self.warn_of_redirect(&guard);
            Retry::No
        };
        Ok(Answer { response, guard, retry })
    }

    fn warn_of_redirect(&self, guard: &KeyGuard) {
        if self.injector.header.name() != header::AUTHORIZATION {
            tracing::warn!(
                generation = guard.generation(),
                fingerprint = %guard.fingerprint(),
                "a redirect has led a request with a key to another origin, which may have got the \
                 key; follow redirects with RotatingKeyMiddleware::same_origin_redirects()"
            );
        }
    }
}

/// A response, the key of its request, and whether to send the request once more.
struct Answer {
    response: Response,
    guard: KeyGuard,
    retry: Retry,
}

#[async_trait]
impl Middleware for RotatingKeyMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, MiddlewareError> {
        if !self.injector.allows(Origin::of_url(request.url())) {
            return next.run(request, extensions).await;
        }
        self.check_redirects().map_err(MiddlewareError::middleware)?;
        let copy = request.try_clone();
        let mut answer = self.send(request, copy.is_some(), extensions, next.clone()).await?;
        if answer.retry == Retry::AfterStoreCheck {
            self.injector.wait_for_store_check().await;
            answer.retry = self.injector.decide_retry_after_check(&answer.guard);
        }
        if answer.retry == Retry::WithNewKey
            && let Some(copy) = copy
        {
            // End the old key's request before the new one begins.
            drop(answer);
            answer = self.send(copy, false, extensions, next).await?;
        }
        Ok(guard_body(answer.response, answer.guard))
    }
}

/// Moves the guard into the body of the response.
fn guard_body(response: Response, guard: KeyGuard) -> Response {
    let url = response.url().clone();
    let mut response = HttpResponse::<Body>::from(response)
        .map(|body| Body::wrap(GuardedBody::new(body, Some(guard))));
    // The conversion between the two types loses the URL, unless it is an extension.
    if let Ok(with_url) = HttpResponse::builder().url(url).body(()) {
        response.extensions_mut().extend(with_url.into_parts().0.extensions);
    }
    response.into()
}
