//! The session with one server: logs in, keeps the token alive, replaces it and revokes it.
//!
//! Readers take the current token without waiting. A task renews the token before it expires. Where
//! no renewal can keep it alive, that task logs in, puts the new token in place, and revokes the old
//! one once no request carries it. All callers that need a login share one.

mod authenticator;
mod backoff;
mod renewal;
mod state;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

pub(crate) use self::authenticator::{Authenticator, RenewError, Revocation};
use self::backoff::{LoginThrottle, RetryDelays};
use self::renewal::{Stopped, TokenRenewer, wait_for_retry};
use self::state::SessionState;
use self::status::Status;
use crate::token::{Grant, Token};

/// How long [`drain`] waits.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many tokens are kept that the server has rejected from the beginning.
const MAX_UNREVOKED: usize = 32;

/// A failed login; callers get its error until the next attempt.
#[derive(Debug)]
struct FailedLogin {
    error: Error,
    attempt: u64,
    retry_at: Instant,
}

/// The state of logins. Only the task that logs in or closes the session holds it.
#[derive(Debug, Default)]
struct LoginState {
    failed: Option<FailedLogin>,
    delays: Option<RetryDelays>,
    generation: u64,
}

#[derive(Debug)]
struct Inner<A> {
    state: SessionState<A>,
    /// How long a caller waits for a login that another one has begun.
    login_timeout: Duration,
    login: AsyncMutex<LoginState>,
    /// The number of logins attempted.
    login_attempts: AtomicU64,
    throttle: Mutex<LoginThrottle>,
    /// The task that renews the token of this login.
    renewer: Mutex<Option<(u64, AbortHandle)>>,
    /// One task for each token that is being revoked.
    revocations: Mutex<JoinSet<()>>,
    /// Tokens that the server has always rejected, also when they were to be revoked. Once it accepts
    /// another one, it may accept these.
    unrevoked: Mutex<Vec<Arc<Token>>>,
    /// Where the last login ran, for a `close` from outside of any runtime.
    runtime: Mutex<Option<Handle>>,
    closed: AtomicBool,
}

/// The session with one server. Dropping it stops its renewer.
pub(crate) struct Session<A: Authenticator>(Arc<Inner<A>>);

impl<A: Authenticator> Session<A> {
    pub(crate) fn new(authenticator: A, renew_margin: Duration, login_timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            state: SessionState::new(authenticator, renew_margin),
            login_timeout,
            login: AsyncMutex::default(),
            login_attempts: AtomicU64::new(0),
            throttle: Mutex::default(),
            renewer: Mutex::default(),
            revocations: Mutex::default(),
            unrevoked: Mutex::default(),
            runtime: Mutex::default(),
            closed: AtomicBool::new(false),
        }))
    }

    /// The number of the login that issued the current token; 0 if there is none.
    pub(crate) fn generation(&self) -> u64 {
        self.0.state.current.generation()
    }

    /// The token to send. Logs in if there is none.
    pub(crate) async fn token(&self) -> Result<Arc<Token>> {
        let Some(token) = self.0.state.current.load() else {
            return self.0.spawn_login(None).await;
        };
        if token.is_renewal_due() {
            self.0.restart_renewer(token.generation);
            self.0.state.renewal_due.notify_waiters();
        }
        Ok(token)
    }

    /// Whether a login can issue another token than the current one.
    pub(crate) fn can_replace(&self) -> bool {
        self.0.state.authenticator.can_replace()
    }

    /// The token of the last login, if it has not expired.
    #[cfg(feature = "vaultrs")]
    pub(crate) fn current_token(&self) -> Option<Arc<Token>> {
        self.0.state.current.load()
    }

    pub(crate) fn authenticator(&self) -> &A {
        &self.0.state.authenticator
    }

    /// Notes that the server accepts a token.
    pub(crate) fn mark_accepted(&self, token: &Token) {
        if token.mark_accepted() {
            self.0.revoke_rejected();
        }
    }

    /// The current token, if it is not the one of this login.
    pub(crate) fn token_after(&self, generation: u64) -> Option<Arc<Token>> {
        self.0.state.current.load().filter(|current| current.generation != generation)
    }

    /// Logs in to replace a token that the server has rejected, once for all callers that had it
    /// rejected. Where the server rejects new tokens on their first use, logins become rare.
    pub(crate) async fn replace(&self, rejected: &Token) -> Result<Arc<Token>> {
        if !lock(&self.0.throttle).allows_login(rejected) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "compare `token_bound_cidrs` of the role and of its secret id with the address at which \
                 the server sees this host; else look for a role with too few uses, or a proxy",
            )
            .because("the server rejects tokens that it has just issued to this host")
            .temporary(true));
        }
        tracing::info!("the server has rejected the token; logging in again");
        self.0.spawn_login(Some(rejected.generation)).await
    }

    pub(crate) fn status(&self) -> Status {
        self.0.state.status().clone()
    }

    /// Ends the session: waits for requests in flight, for 10 s at most, and revokes the token. If
    /// the caller drops this future, a task finishes the work.
    pub(crate) async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.stop_renewer();
        let last = lock(&self.0.runtime).clone();
        // A runtime with a single thread only runs while its owner drives it.
        let last = last.filter(|last| last.runtime_flavor() != RuntimeFlavor::CurrentThread);
        // Without a login, there is no token to revoke.
        let Some(runtime) = Handle::try_current().ok().or(last) else { return };
        let inner = Arc::clone(&self.0);
        // Tokio has reported a panic of the task.
        let _ = runtime.spawn(async move { inner.revoke_all().await }).await;
    }
}

impl<A: Authenticator> Inner<A> {
    /// Logs in on a separate task: a caller that is cancelled must not lose an issued token.
    async fn spawn_login(self: &Arc<Self>, rejected: Option<u64>) -> Result<Arc<Token>> {
        let inner = Arc::clone(self);
        let seen_attempts = self.login_attempts.load(Ordering::SeqCst);
        match tokio::spawn(async move { inner.log_in(rejected, seen_attempts).await }).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Internal, "report this")
                .because("the login task was stopped")),
        }
    }

    /// The current token, unless it is missing or of the generation `rejected`; else a new one.
    /// A caller that has seen fewer than `n` attempts shares the failure of the `n`th.
    async fn log_in(
        self: Arc<Self>,
        rejected: Option<u64>,
        seen_attempts: u64,
    ) -> Result<Arc<Token>> {
        // The lock may be held by a task of a runtime that is no longer driven.
        let Ok(mut login) = timeout(self.login_timeout, self.login.lock()).await else {
            return Err(Error::new(ErrorKind::Timeout, "check that the server answers")
                .because("another login has begun and does not end"));
        };
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::backend_closed());
        }
        let current = self.state.current.load();
        if let Some(token) = current.filter(|token| Some(token.generation) != rejected) {
            return Ok(token);
        }
        if let Some(failed) = &login.failed
            && (failed.attempt > seen_attempts || Instant::now() < failed.retry_at)
        {
            return Err(failed.error.clone());
        }
        let attempt = self.login_attempts.fetch_add(1, Ordering::SeqCst) + 1;
        match self.state.authenticator.login().await {
            // The session was closed meanwhile: no task would renew or revoke this token.
            Ok(grant) if self.closed.load(Ordering::SeqCst) => {
                self.revoke_token(&Arc::new(Token::new(grant, 0, self.state.renew_margin))).await;
                Err(Error::backend_closed())
            }
            Ok(grant) => Ok(self.install(&mut login, grant)),
            Err(error) => {
                tracing::warn!(%error, "could not log in");
                let delay = login.delays.get_or_insert_with(RetryDelays::new).next();
                let retry_at = Instant::now() + delay;
                login.failed = Some(FailedLogin { error: error.clone(), attempt, retry_at });
                self.state.status().record_failure(&error);
                Err(error)
            }
        }
    }

    /// Makes a new token the current one. The old one is revoked once no request carries it.
    fn install(self: &Arc<Self>, login: &mut LoginState, grant: Grant) -> Arc<Token> {
        (login.failed, login.delays) = (None, None);
        login.generation += 1;
        self.state.status().record_login(&grant);
        let token = Arc::new(Token::new(grant, login.generation, self.state.renew_margin));
        let old = self.state.current.swap(Some(Arc::clone(&token)));
        self.stop_renewer();
        self.spawn_renewer(&mut lock(&self.renewer), token.generation);
        if self.closed.load(Ordering::SeqCst) {
            self.stop_renewer();
        }
        *lock(&self.runtime) = Handle::try_current().ok();
        if let Some(old) = old {
            self.spawn_revocation(old);
        }
        token
    }

    fn spawn_renewer(self: &Arc<Self>, renewer: &mut Option<(u64, AbortHandle)>, generation: u64) {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move {
            if TokenRenewer::new(&inner.state, generation).run().await == Stopped::ReplaceToken {
                inner.replace_before_expiry(generation).await;
            }
            // If the runtime is dropped, this is not reached; `restart_renewer` starts a new task.
            lock(&inner.renewer).take_if(|(own, _)| *own == generation);
        });
        *renewer = Some((generation, task.abort_handle()));
    }

    /// Starts the renewer again if it has ended with the runtime that it ran on.
    fn restart_renewer(self: &Arc<Self>, generation: u64) {
        let mut renewer = lock(&self.renewer);
        if renewer.as_ref().is_some_and(|(own, task)| *own == generation && task.is_finished()) {
            self.spawn_renewer(&mut renewer, generation);
        }
    }

    fn stop_renewer(&self) {
        lock(&self.renewer).take().inspect(|(_, task)| task.abort());
    }

    /// Logs in while the old token is still valid.
    async fn replace_before_expiry(self: &Arc<Self>, generation: u64) {
        let mut delays = RetryDelays::new();
        while let Some(token) = self.state.current.load_generation(generation) {
            if self.spawn_login(Some(generation)).await.is_ok() {
                return;
            }
            wait_for_retry(&mut delays, &token).await;
        }
    }

    /// Revokes a token that a login has issued, on a task that `revoke_all` waits for.
    fn spawn_revocation(self: &Arc<Self>, token: Arc<Token>) {
        if !self.state.authenticator.can_replace() || token.is_expired() {
            return;
        }
        let inner = Arc::clone(self);
        let mut revocations = lock(&self.revocations);
        while revocations.try_join_next().is_some() {}
        revocations.spawn(async move { inner.revoke_token(&token).await });
    }

    /// Revokes the tokens that the server has rejected when they were to be revoked.
    fn revoke_rejected(self: &Arc<Self>) {
        for token in std::mem::take(&mut *lock(&self.unrevoked)) {
            self.spawn_revocation(token);
        }
    }

    /// Revokes a token that no new request will carry.
    async fn revoke_token(&self, token: &Arc<Token>) {
        drain(|| token.requests_in_flight()).await;
        // `close` does not wait for clients of other libraries.
        drain(|| if self.closed.load(Ordering::SeqCst) { 0 } else { token.borrows() }).await;
        match self.state.authenticator.revoke(&token.header).await {
            Ok(Revocation::Done) => tracing::debug!("revoked the old token"),
            // The server no longer knows the token, which is as good as revoked.
            Ok(Revocation::TokenRejected) if token.was_accepted() => {}
            Ok(Revocation::TokenRejected) => {
                let mut unrevoked = lock(&self.unrevoked);
                let is_known = unrevoked.iter().any(|known| Arc::ptr_eq(known, token));
                unrevoked.retain(|token| !token.is_expired());
                if !is_known && unrevoked.len() < MAX_UNREVOKED {
                    unrevoked.push(Arc::clone(token));
                }
            }
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(%error, "a token may not revoke itself; it stays valid until it expires");
            }
            Err(error) => {
                tracing::warn!(%error, "could not revoke a token; it stays valid until it expires");
            }
        }
    }

    /// Revokes the current token and waits for all revocations. Concurrent calls wait for each
    /// other.
    async fn revoke_all(self: Arc<Self>) {
        let login = timeout(self.login_timeout, self.login.lock()).await;
        if let Some(token) = self.state.current.swap(None) {
            self.spawn_revocation(token);
        }
        self.revoke_rejected();
        let mut revocations = std::mem::take(&mut *lock(&self.revocations));
        // A task on a runtime that is no longer driven may never end.
        let all = async { while revocations.join_next().await.is_some() {} };
        let _ = timeout(DRAIN_TIMEOUT + self.login_timeout, all).await;
        drop(login);
    }
}

/// Waits until nothing is in flight, for 10 s at most.
pub(crate) async fn drain(in_flight: impl Fn() -> usize) {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while in_flight() > 0 && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
    }
}

/// Locks a mutex whose state stays valid if a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Authenticator> Drop for Session<A> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.stop_renewer();
    }
}

impl<A: Authenticator> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("status", &self.status()).finish_non_exhaustive()
    }
}
