//! The keys of an issuer, and counts of their uses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::canary::CANARY;

/// Counts of the requests to an [`Issuer`](super::Issuer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests for a key, with any outcome.
    pub issue_calls: u64,
    /// Distinct keys that these requests received.
    pub issued: u64,
    /// Requests to revoke a key, with any outcome.
    pub revoke_calls: u64,
    /// Keys that these requests revoked.
    pub revoked: u64,
    /// Requests to `/work` with a live key.
    pub live_uses: u64,
    /// Requests to `/work` with a key that had been revoked.
    pub revoked_uses: u64,
    /// Requests to `/work` with a key that had expired.
    pub expired_uses: u64,
    /// Requests to `/work` without a key, or with one that the issuer has never issued.
    pub unknown_uses: u64,
    /// Requests to `/work` in flight when their key was revoked.
    pub revoked_in_flight: u64,
    /// Responses with the status 401 to any request.
    pub unauthorized: u64,
}

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyStatus {
    /// It works.
    Live,
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
}

pub(super) struct Keys {
    /// In the order of their issue.
    order: Vec<String>,
    by_text: HashMap<String, Key>,
    /// The key of each attempt.
    attempts: HashMap<String, String>,
    pub(super) counts: Counts,
}

#[derive(Default)]
struct Key {
    expires_at: Option<SystemTime>,
    is_revoked: bool,
    in_flight: usize,
}

impl Key {
    fn status(&self) -> KeyStatus {
        match self.expires_at {
            _ if self.is_revoked => KeyStatus::Revoked,
            Some(end) if end <= SystemTime::now() => KeyStatus::Expired,
            _ => KeyStatus::Live,
        }
    }
}

impl Keys {
    /// Creates an issuer with one key, and returns the key as well.
    pub(super) fn new(life: Option<Duration>) -> (Self, strongroom_core::SecretValue) {
        let mut keys = Self {
            order: Vec::new(),
            by_text: HashMap::new(),
            attempts: HashMap::new(),
            counts: Counts::default(),
        };
        let first = keys.make(life);
        (keys, first.into())
    }

    /// Creates a key that is unique in this process. It begins with the canary and contains characters that
    /// a path has to encode.
    pub(super) fn make(&mut self, life: Option<Duration>) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let key = format!("{CANARY}/{}+{number:06}==", std::process::id());
        let expires_at = life.map(|life| SystemTime::now() + life);
        self.order.push(key.clone());
        self.by_text.insert(key.clone(), Key { expires_at, ..Key::default() });
        key
    }

    /// Returns the key of an attempt, or issues a new one.
    pub(super) fn issue(&mut self, attempt: Option<&str>, life: Option<Duration>) -> String {
        if let Some(key) = attempt.and_then(|attempt| self.attempts.get(attempt)) {
            return key.clone();
        }
        let key = self.make(life);
        self.counts.issued += 1;
        if let Some(attempt) = attempt {
            self.attempts.insert(attempt.to_owned(), key.clone());
        }
        key
    }

    /// Revokes a key and returns its previous status; `None` if the issuer has never issued it.
    pub(super) fn revoke(&mut self, key: &str) -> Option<KeyStatus> {
        let before = self.status(key)?;
        let key = self.by_text.get_mut(key)?;
        key.is_revoked = true;
        if before != KeyStatus::Revoked {
            self.counts.revoked_in_flight += key.in_flight as u64;
        }
        Some(before)
    }

    pub(super) fn expire_at(&mut self, key: &str, at: SystemTime) {
        self.by_text.get_mut(key).expect("a key of this issuer").expires_at = Some(at);
    }

    pub(super) fn status(&self, key: &str) -> Option<KeyStatus> {
        self.by_text.get(key).map(Key::status)
    }

    pub(super) fn end(&self, key: &str) -> Option<SystemTime> {
        self.by_text.get(key)?.expires_at
    }

    pub(super) fn live(&self) -> Vec<String> {
        let is_live = |key: &&String| self.status(key) == Some(KeyStatus::Live);
        self.order.iter().filter(is_live).cloned().collect()
    }

    /// Counts a request to `/work`. An admitted request is in flight until
    /// [`finish`](Self::finish).
    pub(super) fn admit(&mut self, key: Option<&str>) -> bool {
        let status = key.and_then(|key| self.status(key));
        let count = match status {
            Some(KeyStatus::Live) => &mut self.counts.live_uses,
            Some(KeyStatus::Revoked) => &mut self.counts.revoked_uses,
            Some(KeyStatus::Expired) => &mut self.counts.expired_uses,
            None => &mut self.counts.unknown_uses,
        };
        *count += 1;
        let live = key.filter(|_| status == Some(KeyStatus::Live));
        let Some(key) = live.and_then(|key| self.by_text.get_mut(key)) else { return false };
        key.in_flight += 1;
        true
    }

    pub(super) fn finish(&mut self, key: &str) {
        if let Some(key) = self.by_text.get_mut(key) {
            key.in_flight -= 1;
        }
    }

    pub(super) fn in_flight(&self, key: &str) -> usize {
        self.by_text.get(key).map_or(0, |key| key.in_flight)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}
