//! What all ways to put a key into requests have in common.

use http::{HeaderMap, StatusCode};
use strongroom_core::Result;

use super::origin::{Origin, Origins};
use super::{KeyGuard, KeyHeader, RotatingKey};

/// Puts the current key into requests, and learns from the responses.
#[derive(Clone, Debug)]
pub(super) struct KeyInjector {
    key: RotatingKey,
    pub(super) header: KeyHeader,
    pub(super) origins: Origins,
}

impl KeyInjector {
    pub(super) fn new(key: RotatingKey) -> Self {
        Self { key, header: KeyHeader::bearer(), origins: Origins::default() }
    }

    /// Whether requests to this origin carry the key.
    pub(super) fn serves(&self, origin: Option<Origin<'_>>) -> bool {
        self.origins.allow(origin)
    }

    /// Puts the current key into a request.
    pub(super) fn load(&self, headers: &mut HeaderMap) -> Result<KeyGuard> {
        let guard = self.key.acquire();
        self.header.put(&guard, headers)?;
        Ok(guard)
    }

    /// Learns from a response to a request that carried the key of `guard`.
    pub(super) fn observe(&self, guard: &KeyGuard, headers: &HeaderMap) {
        self.key.observe_response(guard, headers);
    }

    /// Has the store looked at for a newer key, and waits for that a little.
    pub(super) fn looked(&self) -> impl Future<Output = ()> + Send + use<> {
        self.key.looked()
    }

    /// What is to be done after that.
    pub(super) fn after_look(&self, guard: &KeyGuard) -> After {
        if self.key.is_current(guard) { After::PassOn } else { After::Repeat }
    }

    /// What is to be done after an answer to a request with the key of `guard`.
    pub(super) fn after(&self, guard: &KeyGuard, status: StatusCode, has_copy: bool) -> After {
        let is_current = self.key.is_current(guard);
        match (status, has_copy) {
            (StatusCode::UNAUTHORIZED, true) if !is_current => After::Repeat,
            (StatusCode::UNAUTHORIZED, true) => After::Look,
            (StatusCode::UNAUTHORIZED, false) if is_current => {
                self.key.check_store();
                After::PassOn
            }
            _ => After::PassOn,
        }
    }
}

/// What is to be done after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    PassOn,
    /// The key had been replaced while the request was under way.
    Repeat,
    /// Another instance may have replaced it: that is to be seen.
    Look,
}
