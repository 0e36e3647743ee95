//! Renews a token before it expires.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::select;
use strongroom_core::Error;
use tokio::time::Instant;

use super::authenticator::{Authenticator, RenewError};
use super::backoff::RetryDelays;
use super::state::SessionState;
use crate::clock;
use crate::lease::Renewal;
use crate::token::Token;

/// Renews the token of one login until another token replaces it or it expires.
#[derive(Debug)]
pub(super) struct TokenRenewer<'a, A> {
    state: &'a SessionState<A>,
    generation: u64,
}

/// Why a renewer has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// No renewal can keep the token alive: log in while it is still valid.
    ReplaceToken,
    /// The token was replaced, has expired, or cannot be replaced by a login. The next call logs in:
    /// an idle service sends no requests to a store that is down.
    Done,
}

impl<'a, A: Authenticator> TokenRenewer<'a, A> {
    pub(super) fn new(state: &'a SessionState<A>, generation: u64) -> Self {
        Self { state, generation }
    }

    pub(super) async fn run(&self) -> Stopped {
        let margin = self.state.renew_margin;
        loop {
            let token = self.state.current.load_generation(self.generation);
            let renew_at = token.and_then(|token| token.lease.renew_at(margin, fastrand::f64()));
            let Some(renew_at) = renew_at else { return Stopped::Done };
            self.wait_until(renew_at).await;
            if let ControlFlow::Break(stopped) = self.renew().await {
                return stopped;
            }
        }
    }

    /// Waits until a renewal is due. A timer stands still with a suspended machine; a caller that takes the token
    /// wakes this task.
    async fn wait_until(&self, renew_at: Instant) {
        while clock::now() < renew_at {
            let timer = pin!(clock::sleep_until(renew_at));
            select(timer, pin!(self.state.renewal_due.notified())).await;
        }
    }

    /// Renews the token once; retries while the server cannot be reached.
    async fn renew(&self) -> ControlFlow<Stopped> {
        let mut delays = RetryDelays::new();
        while let Some(token) = self.state.current.load_generation(self.generation) {
            if !token.lease.is_renewable() {
                return self.replace_or_stop();
            }
            let sent_at = clock::now();
            match self.state.authenticator.renew(&token.header).await {
                Ok((seconds, renewable)) => {
                    return self.apply(&token, token.lease.renew(sent_at, seconds, renewable));
                }
                Err(RenewError::Permanent(error)) => {
                    self.record_failure(&error)?;
                    return self.replace_or_stop();
                }
                Err(RenewError::Transient(error)) => {
                    self.record_failure(&error)?;
                    wait_for_retry(&mut delays, &token).await;
                }
            }
        }
        ControlFlow::Break(Stopped::Done)
    }

    /// Puts the renewed token in the place of the one before.
    fn apply(&self, token: &Arc<Token>, renewal: Renewal) -> ControlFlow<Stopped> {
        let (Renewal::Extended(lease) | Renewal::Capped(lease)) = renewal;
        let renewed = token.with_lease(lease, self.state.renew_margin);
        if !self.state.current.renew(token, Arc::new(renewed)) {
            return ControlFlow::Break(Stopped::Done);
        }
        self.state.status().record_renewal(&lease);
        tracing::debug!(?renewal, "renewed the token");
        match renewal {
            Renewal::Extended(_) => ControlFlow::Continue(()),
            Renewal::Capped(_) if self.state.authenticator.can_replace() => {
                ControlFlow::Break(Stopped::ReplaceToken)
            }
            // No login can replace this token: renew it as long as the server allows.
            Renewal::Capped(lease) if lease.is_renewable() => ControlFlow::Continue(()),
            Renewal::Capped(_) => ControlFlow::Break(Stopped::Done),
        }
    }

    fn replace_or_stop(&self) -> ControlFlow<Stopped> {
        ControlFlow::Break(if self.state.authenticator.can_replace() {
            Stopped::ReplaceToken
        } else {
            Stopped::Done
        })
    }

    /// Records a failed renewal, unless another token has replaced this one.
    fn record_failure(&self, error: &Error) -> ControlFlow<Stopped> {
        if self.state.current.load_generation(self.generation).is_none() {
            return ControlFlow::Break(Stopped::Done);
        }
        tracing::warn!(%error, "could not renew the token");
        self.state.status().record_failure(error);
        ControlFlow::Continue(())
    }
}

/// Waits before the next attempt, at most until the token expires.
pub(super) async fn wait_for_retry(delays: &mut RetryDelays, token: &Token) {
    let retry_at = clock::now() + delays.next();
    let expires_at = token.lease.expires_at();
    clock::sleep_until(expires_at.map_or(retry_at, |expires_at| expires_at.min(retry_at))).await;
}
