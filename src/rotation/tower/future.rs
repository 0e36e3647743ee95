//! A request under way.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use strongroom_core::Error;
use tower_service::Service;

use super::BoxError;
use crate::rotation::KeyGuard;
use crate::rotation::carrier::Carrier;
use crate::rotation::guarded::GuardedBody;

pin_project! {
    /// The response of a [`RotatingKeyService`](super::RotatingKeyService).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        stage: Stage<S::Future>,
        service: S,
        carrier: Arc<Carrier>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    }
}

pin_project! {
    #[project = StageOf]
    enum Stage<F> {
        Sent { #[pin] response: F },
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
        carrier: Arc<Carrier>,
        guard: Option<KeyGuard>,
        copy: Option<Request<B>>,
    ) -> Self {
        Self { stage: Stage::Sent { response }, service, carrier, guard, copy }
    }

    pub(super) fn failed(error: Error, service: S, carrier: Arc<Carrier>) -> Self {
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
                    let response = ready!(response.poll(context)).map_err(Into::into)?;
                    if let Some(guard) = this.guard.as_ref() {
                        this.carrier.observe(guard, response.headers());
                        if this.carrier.came_late(guard, response.status()) && this.copy.is_some() {
                            // What is left of the first try goes before the second begins: the
                            // service may have room for only one.
                            *this.guard = None;
                            this.stage.set(Stage::Again);
                            continue;
                        }
                    }
                    this.stage.set(Stage::Done);
                    let guard = this.guard.take();
                    let response = response.map(|body| GuardedBody::new(body, guard));
                    return Poll::Ready(Ok(response));
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

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("guard", &self.guard).finish_non_exhaustive()
    }
}
