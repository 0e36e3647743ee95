//! A request in flight.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use strongroom_core::Error;
use tower_service::Service;

use super::BoxError;
use crate::KeyGuard;
use crate::guarded_body::GuardedBody;
use crate::key_injector::{KeyInjector, Retry};

type StoreCheck = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;
/// Nothing ever locks it; it makes the future `Sync` also where the body is not.
type SyncCell<R> = Mutex<Option<R>>;

pin_project! {
    /// The response of a [`RotatingKeyService`](super::RotatingKeyService).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        stage: Stage<S::Future, S::Response>,
        service: S,
        injector: Arc<KeyInjector>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, R> {
        /// The service answers the request.
        InFlight { #[pin] response: F },
        /// The response rejects the key; the engine checks the store for a newer one.
        CheckingStore { response: SyncCell<R>, check: StoreCheck },
        /// A newer key exists; the service gets ready for the copy of the request.
        Retrying,
        /// The key cannot be in a header.
        Failed { error: Error },
        Done,
    }
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) fn in_flight(
        response: S::Future,
        service: S,
        injector: Arc<KeyInjector>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    ) -> Self {
        Self { stage: Stage::InFlight { response }, service, injector, guard, copy }
    }

    pub(super) fn from_error(error: Error, service: S, injector: Arc<KeyInjector>) -> Self {
        Self { stage: Stage::Failed { error }, service, injector, guard: None, copy: None }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
{
    type Output = Result<Response<GuardedBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProjection::InFlight { response } => {
                    let response = match ready!(response.poll(context)) {
                        Ok(response) => response,
                        Err(error) => {
                            *this.guard = None;
                            this.stage.set(Stage::Done);
                            return Poll::Ready(Err(error.into()));
                        }
                    };
                    let retry = this.guard.as_ref().map_or(Retry::No, |guard| {
                        let (status, headers) = (response.status(), response.headers());
                        this.injector.observe(guard, headers);
                        this.injector.decide_retry(guard, status, headers, this.copy.is_some())
                    });
                    match retry {
                        Retry::No => {
                            this.stage.set(Stage::Done);
                            return Poll::Ready(Ok(guard_body(response, this.guard.take())));
                        }
                        Retry::AfterStoreCheck => {
                            let check = Box::pin(this.injector.wait_for_store_check());
                            let response = Mutex::new(Some(response));
                            this.stage.set(Stage::CheckingStore { response, check });
                        }
                        Retry::WithNewKey => {
                            // Drop the first response before the second request: the service may
                            // have room for only one.
                            *this.guard = None;
                            this.stage.set(Stage::Retrying);
                        }
                    }
                }
                StageProjection::CheckingStore { response, check } => {
                    ready!(check.as_mut().poll(context));
                    let response = response.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let Some(response) = response.take() else { return Poll::Pending };
                    let guard = this.guard.take();
                    let retry = guard
                        .as_ref()
                        .map_or(Retry::No, |guard| this.injector.decide_retry_after_check(guard));
                    if retry == Retry::WithNewKey {
                        this.stage.set(Stage::Retrying);
                        continue;
                    }
                    this.stage.set(Stage::Done);
                    return Poll::Ready(Ok(guard_body(response, guard)));
                }
                StageProjection::Retrying => {
                    ready!(this.service.poll_ready(context)).map_err(Into::into)?;
                    let Some(mut request) = this.copy.take() else { return Poll::Pending };
                    *this.guard = Some(this.injector.inject(request.headers_mut())?);
                    this.stage.set(Stage::InFlight { response: this.service.call(request) });
                }
                StageProjection::Failed { error } => {
                    let error = error.clone();
                    this.stage.set(Stage::Done);
                    return Poll::Ready(Err(error.into()));
                }
                StageProjection::Done => return Poll::Pending,
            }
        }
    }
}

fn guard_body<R: Body>(response: Response<R>, guard: Option<KeyGuard>) -> Response<GuardedBody<R>> {
    response.map(|body| GuardedBody::new(body, guard))
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("guard", &self.guard).finish_non_exhaustive()
    }
}
