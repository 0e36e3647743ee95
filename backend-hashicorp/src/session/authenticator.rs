//! What a session needs of a server.

use std::fmt;

use async_trait::async_trait;
use strongroom_core::{Error, Result};

use crate::token::{Grant, TokenHeader};

/// Issues, renews and revokes tokens.
#[async_trait]
pub(crate) trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Whether a login can issue another token than the current one.
    fn can_replace(&self) -> bool;

    /// Obtains a token.
    async fn login(&self) -> Result<Grant>;

    /// Renews a token; the TTL granted, in seconds, and whether the token can be renewed again.
    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError>;

    /// Revokes a token that a login has issued.
    async fn revoke(&self, token: &TokenHeader) -> Result<Revocation>;
}

/// The answer to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// The token no longer works.
    Done,
    /// The server rejects the token itself: it is dead, or bound to other addresses.
    TokenRejected,
}

/// Why a token was not renewed.
#[derive(Debug)]
pub(crate) enum RenewError {
    /// No later attempt can renew the token.
    Permanent(Error),
    /// A later attempt may renew it.
    Transient(Error),
}
