//! The token in use: who fetches it, keeps it alive, replaces it and gives it back.
//!
//! Readers take the current token without waiting. A task of its own, the keeper, renews it before
//! it ends and, where renewing leads nowhere, logs in beside it, swaps, and revokes the old one
//! when no request carries it any more. Logins are single-flight, whoever asks for one.

mod keeper;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Mutex as Gate;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::lease::Backoff;
use crate::token::{Grant, Token, TokenHeader};

pub(crate) use status::Status;

/// How long an old token waits for the requests that carry it before it is revoked.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);
/// How often it looks.
pub(crate) const DRAIN_POLL: Duration = Duration::from_millis(20);
/// The longest time without a login where new tokens are dead as soon as they are made.
const LONGEST_TRUCE: Duration = Duration::from_secs(60);

/// What the server says about tokens.
#[async_trait]
pub(crate) trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Whether a login can give another token than the one in use.
    fn can_replace(&self) -> bool;

    /// Gets a token.
    async fn login(&self) -> Result<Grant>;

    /// Asks for a longer life and gives the seconds granted and whether the token can be renewed
    /// again.
    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError>;

    /// Gives a token back that a login gave.
    async fn revoke(&self, token: &TokenHeader) -> Result<()>;
}

/// Why a token was not renewed.
#[derive(Debug)]
pub(crate) enum RenewError {
    /// Renewing it again leads nowhere.
    Final(Error),
    /// The server could not be asked.
    Passing(Error),
}

/// A login that failed, remembered so that others do not repeat it at once.
#[derive(Debug)]
struct Failure {
    error: Error,
    attempt: u64,
    until: Instant,
}

/// What only one task at a time may change: the one that logs in or closes.
#[derive(Debug, Default)]
struct Login {
    failure: Option<Failure>,
    backoff: Option<Backoff>,
    generation: u64,
}

/// How many tokens in a row were dead before any request with them was accepted.
#[derive(Debug, Default)]
struct Truce {
    stillborn: u32,
    /// The login that gave the last of them.
    generation: u64,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Shared<A> {
    authenticator: A,
    margin: Duration,
    /// How long to wait for somebody else's login.
    patience: Duration,
    current: ArcSwapOption<Token>,
    login: Gate<Login>,
    /// Tokens that are being given back, each by a task.
    leaving: Mutex<JoinSet<()>>,
    /// Where the last login ran, for a `close` that comes from outside of any runtime.
    runtime: Mutex<Option<Handle>>,
    /// How many logins were tried.
    attempts: AtomicU64,
    truce: Mutex<Truce>,
    status: Mutex<Status>,
    /// The task that keeps the token of this login alive, until it ends by itself.
    keeper: Mutex<Option<(u64, AbortHandle)>>,
    closed: AtomicBool,
}

/// The session with one server. Dropping it ends its keeper.
pub(crate) struct Session<A: Authenticator>(Arc<Shared<A>>);

impl<A: Authenticator> Session<A> {
    pub(crate) fn new(authenticator: A, margin: Duration, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            authenticator,
            margin,
            patience,
            current: ArcSwapOption::empty(),
            login: Gate::default(),
            leaving: Mutex::default(),
            runtime: Mutex::default(),
            attempts: AtomicU64::new(0),
            truce: Mutex::default(),
            status: Mutex::default(),
            keeper: Mutex::default(),
            closed: AtomicBool::new(false),
        }))
    }

    /// Which login gave the current token; 0 if there is none.
    pub(crate) fn generation(&self) -> u64 {
        self.0.current.load().as_ref().map_or(0, |token| token.generation)
    }

    /// The token to send. Logs in if there is none.
    pub(crate) async fn token(&self) -> Result<Arc<Token>> {
        match self.0.valid() {
            Some(token) => {
                self.0.ensure_kept(&token);
                Ok(token)
            }
            None => self.0.log_in_apart(None).await,
        }
    }

    /// Whether a login can give another token than the one in use.
    pub(crate) fn can_replace(&self) -> bool {
        self.0.authenticator.can_replace()
    }

    /// The token that has taken the place of this one.
    pub(crate) fn newer_than(&self, token: &Token) -> Option<Arc<Token>> {
        self.0.valid().filter(|current| current.generation != token.generation)
    }

    /// Logs in instead of a token that the server does not know any more, once for all who found
    /// that out. Where tokens are dead as soon as they are made, logins become rare.
    pub(crate) async fn replace(&self, dead: &Token) -> Result<Arc<Token>> {
        if !self.0.may_replace(dead) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "look for what refuses new tokens: a role with too few uses, something in between",
            )
            .because("the server does not know tokens that it has just made")
            .temporary(true));
        }
        tracing::info!("the store does not know the token any more; logging in again");
        self.0.log_in_apart(Some(dead.generation)).await
    }

    pub(crate) fn status(&self) -> Status {
        self.0.status().clone()
    }

    /// Ends the session: waits for requests under way, for 10 s at most, and revokes the token.
    /// If this future is dropped, that goes on.
    pub(crate) async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.stop_keeper();
        let last = self.0.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // One with a single thread runs only while somebody drives it.
        let last = last.filter(|last| last.runtime_flavor() != RuntimeFlavor::CurrentThread);
        // Without a login there is nothing to give back.
        let Some(runtime) = Handle::try_current().ok().or(last) else { return };
        let shared = Arc::clone(&self.0);
        // A panic in there has been reported by its own task.
        let _ = runtime.spawn(async move { shared.leave().await }).await;
    }
}

impl<A: Authenticator> Shared<A> {
    fn valid(&self) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| !token.is_over())
    }

    /// Whether to log in instead of a dead token now.
    fn may_replace(&self, dead: &Token) -> bool {
        let mut truce = self.truce.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.was_accepted() {
            *truce = Truce::default();
            return true;
        }
        if truce.generation != dead.generation {
            truce.generation = dead.generation;
            truce.stillborn += 1;
            // The first may have been revoked by chance.
            let pause = truce.stillborn.checked_sub(2).map(|n| Duration::from_secs(1 << n.min(6)));
            truce.until = pause.map(|pause| Instant::now() + pause.min(LONGEST_TRUCE));
        }
        truce.until.is_none_or(|until| until <= Instant::now())
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in on a task of its own: a caller that goes away must not lose a token on the way.
    async fn log_in_apart(self: &Arc<Self>, refused: Option<u64>) -> Result<Arc<Token>> {
        let shared = Arc::clone(self);
        let seen = self.attempts.load(Ordering::SeqCst);
        match tokio::spawn(async move { shared.log_in(refused, seen).await }).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Internal, "report this")
                .because("the task that logs in was stopped")),
        }
    }

    /// The current token, if it is valid and not of the generation `refused`; else a new one.
    /// `seen` is the number of attempts when the caller began to wait: the failure of a later one
    /// is its failure, too.
    async fn log_in(self: Arc<Self>, refused: Option<u64>, seen: u64) -> Result<Arc<Token>> {
        // A runtime that nobody drives any more may hold the gate for ever.
        let Ok(mut login) = timeout(self.patience, self.login.lock()).await else {
            return Err(Error::new(ErrorKind::Timeout, "check that the server answers")
                .because("another login is under way and does not end"));
        };
        if self.closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        if let Some(token) = self.valid().filter(|token| Some(token.generation) != refused) {
            return Ok(token);
        }
        if let Some(failure) = &login.failure
            && (failure.attempt > seen || Instant::now() < failure.until)
        {
            return Err(failure.error.clone());
        }
        let attempt = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        match self.authenticator.login().await {
            // It came too late: nobody is left to keep it alive or to give it back.
            Ok(grant) if self.closed.load(Ordering::SeqCst) => {
                self.give_back(&Token::new(grant, 0)).await;
                Err(closed())
            }
            Ok(grant) => Ok(self.install(&mut login, grant)),
            Err(error) => {
                tracing::warn!(%error, "the login failed");
                let pause = login.backoff.get_or_insert_with(Backoff::new).next(fastrand::f64());
                let until = Instant::now() + pause;
                login.failure = Some(Failure { error: error.clone(), attempt, until });
                self.status().note_failure(&error);
                Err(error)
            }
        }
    }

    /// Puts a new token in the place of the old one, which is revoked once nobody uses it.
    fn install(self: &Arc<Self>, login: &mut Login, grant: Grant) -> Arc<Token> {
        (login.failure, login.backoff) = (None, None);
        login.generation += 1;
        let token = Arc::new(Token::new(grant, login.generation));
        self.status().note_login(&token.lease);
        let old = self.current.swap(Some(Arc::clone(&token)));
        self.stop_keeper();
        self.start_keeper(token.generation);
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Handle::try_current().ok();
        if let Some(old) = old {
            self.give_back_apart(old);
        }
        token
    }

    /// Revokes a token that is ours and lives, on a task that `leave` waits for.
    fn give_back_apart(self: &Arc<Self>, token: Arc<Token>) {
        if !self.authenticator.can_replace() || token.is_over() {
            return;
        }
        let shared = Arc::clone(self);
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        while leaving.try_join_next().is_some() {}
        leaving.spawn(async move { shared.give_back(&token).await });
    }

    fn start_keeper(self: &Arc<Self>, generation: u64) {
        self.spawn_keeper(&mut self.keeper(), generation);
        if self.closed.load(Ordering::SeqCst) {
            self.stop_keeper();
        }
    }

    fn spawn_keeper(self: &Arc<Self>, slot: &mut Option<(u64, AbortHandle)>, generation: u64) {
        let task = tokio::spawn(keeper::keep(Arc::clone(self), generation));
        *slot = Some((generation, task.abort_handle()));
    }

    /// Starts the keeper again where it has gone with the runtime that it ran on.
    fn ensure_kept(self: &Arc<Self>, token: &Token) {
        if token.lease.due(self.margin, 0.0).is_none_or(|due| Instant::now() < due) {
            return;
        }
        let mut slot = self.keeper();
        let generation = token.generation;
        if slot.as_ref().is_some_and(|(own, task)| *own == generation && task.is_finished()) {
            self.spawn_keeper(&mut slot, generation);
        }
    }

    fn stop_keeper(&self) {
        self.keeper().take().inspect(|(_, task)| task.abort());
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Option<(u64, AbortHandle)>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Revokes a token that is no longer handed out.
    async fn give_back(&self, token: &Token) {
        let deadline = Instant::now() + DRAIN;
        while token.requests() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        match self.authenticator.revoke(&token.header).await {
            Ok(()) => tracing::debug!("the old token is revoked"),
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(%error, "a token may not revoke itself; it lives until it expires");
            }
            Err(error) => tracing::debug!(%error, "a token was not revoked; it expires"),
        }
    }

    /// Gives everything back. Several at once wait for each other.
    async fn leave(self: Arc<Self>) {
        let login = timeout(self.patience, self.login.lock()).await;
        if let Some(token) = self.current.swap(None) {
            self.give_back_apart(token);
        }
        let mut leaving =
            std::mem::take(&mut *self.leaving.lock().unwrap_or_else(PoisonError::into_inner));
        // A task on a runtime that nobody drives any more may never end.
        let all = async { while leaving.join_next().await.is_some() {} };
        let _ = timeout(DRAIN + self.patience, all).await;
        drop(login);
    }
}

impl<A: Authenticator> Drop for Session<A> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.stop_keeper();
    }
}

impl<A: Authenticator> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("status", &self.status()).finish_non_exhaustive()
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "open a new backend")
}
