//! Tokens: as a header, with their lease, and the one in use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock;
use crate::lease::Lease;

/// A token as a header: masked, and wiped when the last request that carries it ends. Behind an agent,
/// which adds its own, there is none.
#[derive(Clone)]
pub(crate) struct TokenHeader(Option<HeaderValue>);

impl TokenHeader {
    /// Fails if the text contains a character that a header may not contain.
    pub(crate) fn new(token: &str) -> Result<Self, InvalidHeaderValue> {
        let bytes = Bytes::from_owner(Zeroizing::new(Vec::from(token)));
        let mut header = HeaderValue::from_maybe_shared(bytes)?;
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }

    /// No token.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn expose(&self) -> Option<HeaderValue> {
        self.0.clone()
    }
}

impl fmt::Debug for TokenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHeader([REDACTED])")
    }
}

/// A token that a login has issued.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) header: TokenHeader,
    pub(crate) lease: Lease,
    /// The names of its policies, as far as the server tells them.
    pub(crate) policies: Vec<String>,
}

/// A token and its state. Each renewal makes a copy with another lease.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) header: TokenHeader,
    pub(crate) lease: Lease,
    /// The number of the login that issued it, counted from 1.
    pub(crate) generation: u64,
    /// `None`: it never expires.
    expires_at: Option<Instant>,
    /// The latest time for its renewal, without jitter.
    renew_by: Option<Instant>,
    /// Whether the server has accepted it for any request.
    accepted: Arc<AtomicBool>,
    /// Each request in flight holds a clone, and so does each copy of this token.
    in_flight: Arc<()>,
    /// Each client of another library that uses the token holds a clone, and so does each copy of it.
    borrows: Arc<()>,
}

impl Token {
    pub(crate) fn new(grant: Grant, generation: u64, renew_margin: Duration) -> Self {
        let Grant { header, lease, policies: _ } = grant;
        Self {
            header,
            lease,
            generation,
            expires_at: lease.expires_at(),
            renew_by: lease.renew_at(renew_margin, 0.0),
            accepted: Arc::default(),
            in_flight: Arc::default(),
            borrows: Arc::default(),
        }
    }

    /// The same token after a renewal.
    pub(crate) fn with_lease(&self, lease: Lease, renew_margin: Duration) -> Self {
        Self {
            lease,
            expires_at: lease.expires_at(),
            renew_by: lease.renew_at(renew_margin, 0.0),
            ..self.clone()
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= clock::now())
    }

    /// Whether its renewal should have begun by now.
    pub(crate) fn is_renewal_due(&self) -> bool {
        self.renew_by.is_some_and(|by| by <= clock::now())
    }

    /// Whether this is the first time that the server has accepted it.
    pub(crate) fn mark_accepted(&self) -> bool {
        !self.was_accepted() && !self.accepted.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Counts as a request in flight until the guard is dropped.
    pub(crate) fn begin_request(&self) -> Arc<()> {
        Arc::clone(&self.in_flight)
    }

    /// Counts as a client of another library until the guard is dropped.
    #[cfg(feature = "vaultrs")]
    pub(crate) fn borrow(&self) -> Arc<()> {
        Arc::clone(&self.borrows)
    }

    /// The number of clients of other libraries that may use it, if this is its only copy.
    pub(crate) fn borrows(&self) -> usize {
        Arc::strong_count(&self.borrows).saturating_sub(1)
    }

    /// The number of requests in flight, if this is the only copy of the token.
    pub(crate) fn requests_in_flight(&self) -> usize {
        Arc::strong_count(&self.in_flight).saturating_sub(1)
    }
}

/// The token that requests are sent with. Readers load it without waiting.
#[derive(Debug, Default)]
pub(crate) struct CurrentToken(ArcSwapOption<Token>);

impl CurrentToken {
    /// The token, unless it has expired.
    pub(crate) fn load(&self) -> Option<Arc<Token>> {
        self.0.load_full().filter(|token| !token.is_expired())
    }

    /// The token, if this login issued it and it has not expired.
    pub(crate) fn load_generation(&self, generation: u64) -> Option<Arc<Token>> {
        self.load().filter(|token| token.generation == generation)
    }

    /// The number of the login that issued the token; 0 if there is none.
    pub(crate) fn generation(&self) -> u64 {
        self.0.load().as_ref().map_or(0, |token| token.generation)
    }

    /// Replaces the token and returns the one before.
    pub(crate) fn swap(&self, token: Option<Arc<Token>>) -> Option<Arc<Token>> {
        self.0.swap(token)
    }

    /// Replaces `old` by `renewed`; `false` if another token has replaced `old` first.
    pub(crate) fn renew(&self, old: &Arc<Token>, renewed: Arc<Token>) -> bool {
        let before = self.0.compare_and_swap(old, Some(renewed));
        before.as_ref().is_some_and(|before| Arc::ptr_eq(before, old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: Duration = Duration::from_secs(1);

    #[test]
    fn a_header_is_masked_and_rejects_line_breaks() {
        let header = TokenHeader::new("hvs.hunter2").unwrap();
        assert!(!format!("{header:?} {:?}", header.expose()).contains("hunter2"));
        assert_eq!(header.expose().unwrap().as_bytes(), b"hvs.hunter2");
        assert!(TokenHeader::new("hvs.\nhunter2").is_err());
    }

    #[test]
    fn a_renewed_token_counts_the_requests_of_the_one_before() {
        let lease = Lease::new(Instant::now(), 10, true);
        let grant = Grant { header: TokenHeader::new("t").unwrap(), lease, policies: Vec::new() };
        let token = Token::new(grant, 1, MARGIN);
        let request = token.begin_request();
        let renewed = token.with_lease(lease, MARGIN);
        drop(token);
        assert_eq!(renewed.requests_in_flight(), 1);
        drop(request);
        assert_eq!(renewed.requests_in_flight(), 0);
    }
}
