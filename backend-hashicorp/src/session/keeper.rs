//! Keeps one token alive until another takes its place.

use std::sync::Arc;

use strongroom_core::Error;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Authenticator, RenewError, Shared};
use crate::lease::{Backoff, Lease, Renewal};
use crate::token::Token;

/// What to do next about a token that was due.
enum Next {
    /// It was renewed: wait until it is due again.
    Wait,
    /// Renewing it leads nowhere: log in beside it.
    Replace,
}

/// Runs until the token is replaced, or has ended without a way to replace it. In the latter case
/// the next call logs in: an idle service costs a store that is down nothing.
pub(super) async fn keep<A: Authenticator>(shared: Arc<Shared<A>>, generation: u64) {
    keep_alive(&shared, generation).await;
    // Not reached where the runtime is dropped: somebody starts the keeper again then.
    shared.keeper().take_if(|(own, _)| *own == generation);
}

async fn keep_alive<A: Authenticator>(shared: &Arc<Shared<A>>, generation: u64) {
    loop {
        let Some(token) = shared.of_generation(generation) else { return };
        let Some(due) = token.lease.due(shared.margin, fastrand::f64()) else { return };
        drop(token);
        sleep_until(due).await;
        let Some(next) = shared.renew(generation).await else { return };
        if matches!(next, Next::Replace) {
            shared.replace(generation).await;
            return;
        }
    }
}

impl<A: Authenticator> Shared<A> {
    /// The current token if it still is the one of this login and alive.
    fn of_generation(&self, generation: u64) -> Option<Arc<Token>> {
        self.valid().filter(|token| token.generation == generation)
    }

    /// Renews the token, again and again if the server cannot be asked; `None` once it has ended
    /// or was replaced.
    async fn renew(&self, generation: u64) -> Option<Next> {
        let mut backoff = Backoff::new();
        loop {
            let token = self.of_generation(generation)?;
            if !token.lease.is_renewable() {
                return self.or_give_up(Next::Replace);
            }
            let sent = Instant::now();
            match self.authenticator.renew(&token.header).await {
                Ok((seconds, renewable)) => {
                    let renewal = token.lease.renewed(sent, seconds, renewable);
                    return self.renewed(&token, renewal);
                }
                Err(RenewError::Final(error)) => {
                    self.note_renewal_failed(generation, &error)?;
                    return self.or_give_up(Next::Replace);
                }
                Err(RenewError::Passing(error)) => {
                    self.note_renewal_failed(generation, &error)?;
                    pause(&mut backoff, &token.lease).await;
                }
            }
        }
    }

    fn renewed(&self, token: &Arc<Token>, renewal: Renewal) -> Option<Next> {
        let (Renewal::Extended(lease) | Renewal::Capped(lease)) = renewal;
        let longer = Arc::new(token.with_lease(lease));
        let before = self.current.compare_and_swap(token, Some(longer));
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, token)) {
            return None;
        }
        self.status().note_renewal(&lease);
        tracing::debug!(?renewal, "the token is renewed");
        match renewal {
            Renewal::Extended(_) => Some(Next::Wait),
            Renewal::Capped(_) if self.authenticator.can_replace() => Some(Next::Replace),
            // There is no other token: use this one up.
            Renewal::Capped(lease) => lease.is_renewable().then_some(Next::Wait),
        }
    }

    /// Logs in beside the token while it lives.
    async fn replace(self: &Arc<Self>, generation: u64) {
        let mut backoff = Backoff::new();
        while let Some(token) = self.of_generation(generation) {
            if self.log_in_apart(Some(generation)).await.is_ok() {
                return;
            }
            pause(&mut backoff, &token.lease).await;
        }
    }

    /// `next`, unless there is no way to get another token.
    fn or_give_up(&self, next: Next) -> Option<Next> {
        self.authenticator.can_replace().then_some(next)
    }

    /// Notes a failure, unless another token has taken the place of this one meanwhile.
    fn note_renewal_failed(&self, generation: u64, error: &Error) -> Option<()> {
        self.of_generation(generation)?;
        tracing::warn!(%error, "the token was not renewed");
        self.status().note_failure(error);
        Some(())
    }
}

/// Waits, but not beyond the end of the token.
async fn pause(backoff: &mut Backoff, lease: &Lease) {
    let pause = backoff.next(fastrand::f64());
    match lease.ends() {
        Some(ends) => sleep_until((Instant::now() + pause).min(ends)).await,
        None => sleep(pause).await,
    }
}
