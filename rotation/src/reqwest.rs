//! The key in the requests of a `reqwest` client.

#[cfg(test)]
mod tests;

use http::{Extensions, Response as HttpResponse, header};
use reqwest::redirect::Policy;
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use reqwest_middleware::{Error, Middleware, Next};
use strongroom_core::{Result, async_trait};

use super::guarded_body::GuardedBody;
use super::key_injector::{After, KeyInjector};
use super::origin::Origin;
use super::{KeyGuard, KeyHeader, RotatingKey};

/// Puts the current key into each request of a `reqwest` client.
///
/// - The key goes into the header that [`header`](Self::header) names, in place of what the request
///   has there.
/// - The request counts as in flight until the body of its response has been read or is dropped; until
///   then its key is not revoked, within the time that a drain may take.
/// - The headers of the response are looked at for the end of the key's life
///   ([`RotatingKey::observe`]).
/// - A request that is answered 401 is sent once more with the new key if its own has been replaced
///   meanwhile. Nothing was done on behalf of a request that was not authenticated, so that holds for
///   all methods. If its key is current here, the store is looked at first: another instance may have
///   replaced it. A 401 to a key that nobody has replaced is passed on, and so is a second one. A
///   request whose body is a stream is not sent again.
///
/// Add it after middleware that sends requests again, so that each try gets the key of its moment.
///
/// # Redirects
/// The client follows redirects by itself, out of this middleware's sight. It takes `Authorization` out
/// of requests to another origin, **but no other header**: a key in `X-Api-Key` would go wherever the
/// service points. Give the client [`same_origin_redirects`](Self::same_origin_redirects), or follow
/// no redirects. Where a key was sent away nevertheless, a warning is logged. What another origin
/// answers is never believed to be about the key.
///
/// [`allow_origin`](Self::allow_origin) keeps the key from requests that go elsewhere from the start.
///
/// # Logs
/// The client logs the key only if [`reqwest::ClientBuilder::connection_verbose`] tells it to log
/// all that goes over the wire.
///
/// # Errors
/// Those of the client and of other middleware, and a [`strongroom::Error`](strongroom_core::Error), within
/// [`reqwest_middleware::Error::Middleware`], if the key cannot be in a header ([`KeyHeader::put`]).
///
/// # Examples
/// ```
/// use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
/// use strongroom_rotation::{KeyHeader, RotatingKey, RotatingKeyMiddleware};
///
/// fn client(key: RotatingKey) -> Result<ClientWithMiddleware, Box<dyn std::error::Error>> {
///     let key = RotatingKeyMiddleware::new(key)
///         .header(KeyHeader::named("X-Api-Key")?)
///         .allow_origin("https://api.example.com")?;
///     let redirects = RotatingKeyMiddleware::same_origin_redirects();
///     let client = reqwest::Client::builder().redirect(redirects).build()?;
///     Ok(ClientBuilder::new(client).with(key).build())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RotatingKeyMiddleware {
    carrier: KeyInjector,
}

impl RotatingKeyMiddleware {
    /// A middleware that sends the key as a bearer token, to wherever requests go.
    #[must_use]
    pub fn new(key: RotatingKey) -> Self {
        Self { carrier: KeyInjector::new(key) }
    }

    /// Names the header that carries the key.
    #[must_use]
    pub fn header(mut self, header: KeyHeader) -> Self {
        self.carrier.header = header;
        self
    }

    /// Sends the key to this origin, such as `https://api.example.com`, and to others that are named the
    /// same way. Requests to any other go out as they are.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) if it is not a scheme and a host, with or
    /// without a port.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        self.carrier.origins.add(origin)?;
        Ok(self)
    }

    /// What to give [`reqwest::ClientBuilder::redirect`]: redirects are followed within the origin that
    /// a request was sent to, at most 10 times. One that leads elsewhere is the response itself.
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

    /// Sends a request with the current key. Also says whether the answer comes from where the request
    /// was sent to.
    async fn send(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<(Response, KeyGuard, bool), Error> {
        let guard = self.carrier.load(request.headers_mut()).map_err(Error::middleware)?;
        let url = request.url().clone();
        let response = next.run(request, extensions).await?;
        let is_home = Origin::of_url(response.url()) == Origin::of_url(&url);
        if is_home {
            self.carrier.observe(&guard, response.headers());
        } else if self.carrier.header.name() != header::AUTHORIZATION {
            tracing::warn!(
                generation = guard.generation(),
                fingerprint = %guard.fingerprint(),
                "a redirect has led a request with a key to another origin, which may have got the \
                 key; follow redirects with RotatingKeyMiddleware::same_origin_redirects()"
            );
        }
        Ok((response, guard, is_home))
    }
}

#[async_trait]
impl Middleware for RotatingKeyMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        if !self.carrier.serves(Origin::of_url(request.url())) {
            return next.run(request, extensions).await;
        }
        let copy = request.try_clone();
        let (mut response, mut guard, is_home) =
            self.send(request, extensions, next.clone()).await?;
        let mut after = After::PassOn;
        if is_home {
            after = self.carrier.after(&guard, response.status(), copy.is_some());
        }
        if after == After::Look {
            self.carrier.looked().await;
            after = self.carrier.after_look(&guard);
        }
        if after == After::Repeat
            && let Some(copy) = copy
        {
            // The old key's request ends before the new one begins.
            drop((response, guard));
            (response, guard, _) = self.send(copy, extensions, next).await?;
        }
        Ok(guarded(response, guard))
    }
}

/// The same response; its body holds the guard.
fn guarded(response: Response, guard: KeyGuard) -> Response {
    let url = response.url().clone();
    let mut response = HttpResponse::<Body>::from(response)
        .map(|body| Body::wrap(GuardedBody::new(body, Some(guard))));
    // The way from one type to the other loses the URL, unless it is an extension.
    if let Ok(with_url) = HttpResponse::builder().url(url).body(()) {
        response.extensions_mut().extend(with_url.into_parts().0.extensions);
    }
    response.into()
}
