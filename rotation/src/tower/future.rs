//! A request under way.

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
use crate::key_injector::{After, KeyInjector};

type Looked = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;
/// Never locked: a body that is not `Sync` leaves the future so.
type Unshared<R> = Mutex<Option<R>>;

pin_project! {
    /// The response of a [`RotatingKeyService`](super::RotatingKeyService).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        stage: Stage<S::Future, S::Response>,
        service: S,
        carrier: Arc<KeyInjector>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    }
}

pin_project! {
    #[project = StageOf]
    enum Stage<F, R> {
        Sent { #[pin] response: F },
        /// Until the store was looked at: the key was refused.
        Refused { response: Unshared<R>, looked: Looked },
        /// Until the service can take the copy.
        Again,
        Failed { error: Error },
        Done,
    }
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) fn sent(
        response: S::Future,
        service: S,
        carrier: Arc<KeyInjector>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    ) -> Self {
        Self { stage: Stage::Sent { response }, service, carrier, guard, copy }
    }

    pub(super) fn failed(error: Error, service: S, carrier: Arc<KeyInjector>) -> Self {
        Self { stage: Stage::Failed { error }, service, carrier, guard: None, copy: None }
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
                StageOf::Sent { response } => {
                    let response = match ready!(response.poll(context)) {
                        Ok(response) => response,
                        Err(error) => {
                            *this.guard = None;
                            this.stage.set(Stage::Done);
                            return Poll::Ready(Err(error.into()));
                        }
                    };
                    let mut after = After::PassOn;
                    if let Some(guard) = this.guard.as_ref() {
                        this.carrier.observe(guard, response.headers());
                        after = this.carrier.after(guard, response.status(), this.copy.is_some());
                    }
                    match after {
                        After::PassOn => {
                            this.stage.set(Stage::Done);
                            return Poll::Ready(Ok(guarded(response, this.guard.take())));
                        }
                        After::Look => {
                            let looked = Box::pin(this.carrier.looked());
                            let response = Mutex::new(Some(response));
                            this.stage.set(Stage::Refused { response, looked });
                        }
                        After::Repeat => {
                            // What is left of the first try goes before the second begins: the
                            // service may have room for only one.
                            *this.guard = None;
                            this.stage.set(Stage::Again);
                        }
                    }
                }
                StageOf::Refused { response, looked } => {
                    ready!(looked.as_mut().poll(context));
                    let response = response.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let Some(response) = response.take() else { return Poll::Pending };
                    let guard = this.guard.take();
                    let after = guard.as_ref().map(|guard| this.carrier.after_look(guard));
                    if after == Some(After::Repeat) {
                        this.stage.set(Stage::Again);
                        continue;
                    }
                    this.stage.set(Stage::Done);
                    return Poll::Ready(Ok(guarded(response, guard)));
                }
                StageOf::Again => {
                    ready!(this.service.poll_ready(context)).map_err(Into::into)?;
                    let Some(mut request) = this.copy.take() else { return Poll::Pending };
                    *this.guard = Some(this.carrier.load(request.headers_mut())?);
                    this.stage.set(Stage::Sent { response: this.service.call(request) });
                }
                StageOf::Failed { error } => {
                    let error = error.clone();
                    this.stage.set(Stage::Done);
                    return Poll::Ready(Err(error.into()));
                }
                StageOf::Done => return Poll::Pending,
            }
        }
    }
}

fn guarded<R: Body>(response: Response<R>, guard: Option<KeyGuard>) -> Response<GuardedBody<R>> {
    response.map(|body| GuardedBody::new(body, guard))
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("guard", &self.guard).finish_non_exhaustive()
    }
}
