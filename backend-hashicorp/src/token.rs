//! A token that a server gave, ready to be sent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reqwest::header::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::lease::Lease;

/// A token as a header: masked, and wiped when the last request that carries it is done.
#[derive(Clone)]
pub(crate) struct TokenHeader(HeaderValue);

/// The text is nothing that a header may hold.
#[derive(Debug)]
pub(crate) struct NotAHeader;

impl TokenHeader {
    pub(crate) fn new(token: &str) -> Result<Self, NotAHeader> {
        let own = Bytes::from_owner(Zeroizing::new(Vec::from(token)));
        let mut header = HeaderValue::from_maybe_shared(own).map_err(|_| NotAHeader)?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    pub(crate) fn expose(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for TokenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHeader([REDACTED])")
    }
}

/// What a login gave.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) header: TokenHeader,
    pub(crate) lease: Lease,
}

/// The token in use, with the life it has left.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) header: TokenHeader,
    pub(crate) lease: Lease,
    /// Which login gave it, counted from 1.
    pub(crate) generation: u64,
    /// Whether the server has taken it for any request.
    accepted: Arc<AtomicBool>,
    /// As many owners as this token has requests under way, and one.
    users: Arc<()>,
}

impl Token {
    pub(crate) fn new(grant: Grant, generation: u64) -> Self {
        let Grant { header, lease } = grant;
        Self { header, lease, generation, accepted: Arc::default(), users: Arc::default() }
    }

    /// The same token after a renewal.
    pub(crate) fn with_lease(&self, lease: Lease) -> Self {
        Self { lease, ..self.clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lease.is_over(Instant::now())
    }

    pub(crate) fn note_accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Counts as a request under way until it is dropped.
    pub(crate) fn user(&self) -> Arc<()> {
        Arc::clone(&self.users)
    }

    /// How many requests are under way, given how many copies of this token there are.
    pub(crate) fn requests(&self) -> usize {
        Arc::strong_count(&self.users).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_masked_and_refuses_line_breaks() {
        let header = TokenHeader::new("hvs.hunter2").unwrap();
        assert!(!format!("{header:?} {:?}", header.expose()).contains("hunter2"));
        assert_eq!(header.expose().as_bytes(), b"hvs.hunter2");
        assert!(TokenHeader::new("hvs.\nhunter2").is_err());
    }

    #[test]
    fn requests_under_way_are_counted_across_renewals() {
        let lease = Lease::granted(Instant::now(), 10, true);
        let grant = Grant { header: TokenHeader::new("t").unwrap(), lease };
        let token = Token::new(grant, 1);
        let user = token.user();
        let renewed = token.with_lease(lease);
        drop(token);
        assert_eq!(renewed.requests(), 1);
        drop(user);
        assert_eq!(renewed.requests(), 0);
    }
}
