//! What a session and its token renewer share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::status::Status;
use crate::token::CurrentToken;

#[derive(Debug)]
pub(super) struct SessionState<A> {
    pub(super) authenticator: A,
    /// How long before its expiry a token is renewed.
    pub(super) renew_margin: Duration,
    pub(super) current: CurrentToken,
    /// Wakes the renewer.
    pub(super) renewal_due: Notify,
    status: Mutex<Status>,
}

impl<A> SessionState<A> {
    pub(super) fn new(authenticator: A, renew_margin: Duration) -> Self {
        Self {
            authenticator,
            renew_margin,
            current: CurrentToken::default(),
            renewal_due: Notify::new(),
            status: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
