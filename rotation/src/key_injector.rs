//! What the layer and the middleware share: they put the key into requests and read its responses.

use http::{HeaderMap, StatusCode};
use strongroom_core::Result;

use super::origin::{Origin, Origins};
use super::rejection::Rejection;
use super::{KeyGuard, KeyHeader, RotatingKey};

/// Puts the current key into requests, and learns from their responses.
#[derive(Clone, Debug)]
pub(super) struct KeyInjector {
    key: RotatingKey,
    pub(super) header: KeyHeader,
    pub(super) origins: Origins,
    pub(super) rejection: Rejection,
}

/// Whether to send a request once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    No,
    /// A newer key replaced the rejected one while the request was in flight.
    WithNewKey,
    /// Another instance may have replaced the rejected key: check the store first.
    AfterStoreCheck,
}

impl KeyInjector {
    pub(super) fn new(key: RotatingKey) -> Self {
        Self {
            key,
            header: KeyHeader::bearer(),
            origins: Origins::default(),
            rejection: Rejection::default(),
        }
    }

    /// Whether requests to this origin carry the key.
    pub(super) fn allows(&self, origin: Option<Origin<'_>>) -> bool {
        self.origins.allow(origin)
    }

    /// Puts the current key into the headers of a request.
    pub(super) fn inject(&self, headers: &mut HeaderMap) -> Result<KeyGuard> {
        let guard = self.key.acquire();
        self.header.put(&guard, headers)?;
        Ok(guard)
    }

    /// Reads the expiry of the key from a response to a request with the key of `guard`.
    pub(super) fn observe(&self, guard: &KeyGuard, headers: &HeaderMap) {
        self.key.observe_response(guard, headers);
    }

    /// Decides on a retry after a response to a request with the key of `guard`. A request without a
    /// copy is not sent again; a rejection of its key makes the engine check the store in the background.
    pub(super) fn decide_retry(
        &self,
        guard: &KeyGuard,
        status: StatusCode,
        headers: &HeaderMap,
        has_copy: bool,
    ) -> Retry {
        if !self.rejection.matches(status, headers) {
            return Retry::No;
        }
        match (self.key.is_current(guard), has_copy) {
            (false, true) => Retry::WithNewKey,
            (false, false) => Retry::No,
            (true, true) => Retry::AfterStoreCheck,
            (true, false) => {
                self.key.check_store();
                Retry::No
            }
        }
    }

    /// Makes the engine check the store for a newer key, and waits for the check: 2 seconds at most, and
    /// not at all while checks are fruitless.
    pub(super) fn wait_for_store_check(&self) -> impl Future<Output = ()> + Send + use<> {
        self.key.wait_for_store_check()
    }

    /// Decides on a retry once the store has been checked.
    pub(super) fn decide_retry_after_check(&self, guard: &KeyGuard) -> Retry {
        if self.key.is_current(guard) { Retry::No } else { Retry::WithNewKey }
    }
}
