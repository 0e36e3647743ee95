//! What all ways to put a key into requests have in common.

use http::{HeaderMap, StatusCode};
use strongroom_core::Result;

use super::origin::{Origin, Origins};
use super::{KeyGuard, KeyHeader, RotatingKey};

/// Puts the current key into requests, and learns from the responses.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    key: RotatingKey,
    pub(super) header: KeyHeader,
    pub(super) origins: Origins,
}

impl Carrier {
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

    /// Whether the request was refused because its key had been replaced while it was under way. If it
    /// carried the current key, another instance may have replaced that.
    pub(super) fn came_late(&self, guard: &KeyGuard, status: StatusCode) -> bool {
        if status != StatusCode::UNAUTHORIZED {
            return false;
        }
        let came_late = !self.key.is_current(guard);
        if !came_late {
            self.key.look_again();
        }
        came_late
    }
}
