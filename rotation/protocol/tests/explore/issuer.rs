//! An issuer in the model: which keys are live, and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom_rotation_protocol::{Attempt, AttemptId, KeyRef, Time};

/// How an issuer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Returns the same key for the same attempt.
    Idempotent,
    /// Returns another key for each call, and lists its keys.
    Listing,
    /// Returns another key for each call, and lists none.
    Opaque,
    /// Alternates between two roles. A call gives the other role a new password, which replaces its old one, and
    /// refuses an outdated fencing token.
    TwoRoles,
}

impl Kind {
    pub(crate) fn is_idempotent(self) -> bool {
        matches!(self, Self::Idempotent | Self::TwoRoles)
    }
}

/// A set of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Keys(u32);

impl Keys {
    pub(crate) fn add(&mut self, key: KeyRef) {
        self.0 |= 1 << key.0;
    }

    pub(crate) fn remove(&mut self, key: KeyRef) {
        self.0 &= !(1 << key.0);
    }

    pub(crate) fn has(self, key: KeyRef) -> bool {
        self.0 & (1 << key.0) != 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn all(self) -> impl Iterator<Item = KeyRef> {
        (0..32).map(KeyRef).filter(move |key| self.has(*key))
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Issuer {
    /// All issued keys except the first.
    pub(crate) made: Keys,
    pub(crate) live: Keys,
    /// Keys that never work.
    pub(crate) broken: Keys,
    /// Keys that do not work yet.
    slow: BTreeMap<KeyRef, Time>,
    by_attempt: BTreeMap<AttemptId, KeyRef>,
    highest_token: u64,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let mut live = Keys::default();
        live.add(KeyRef(0));
        Self {
            made: Keys::default(),
            live,
            broken: Keys::default(),
            slow: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            highest_token: 0,
        }
    }

    /// The key of a role: even and odd numbers if two roles alternate.
    fn next_key(&self, kind: Kind, current: KeyRef) -> KeyRef {
        let mut next = self.made.len() + 1;
        if kind == Kind::TwoRoles {
            // Skip a number so that the parity identifies the role.
            next = self.made.all().last().map_or(0, |key| key.0) + 1;
            if next % 2 == current.0 % 2 {
                next += 1;
            }
        }
        KeyRef(next)
    }

    /// The key for an attempt, or `None` if the issuer refuses the call.
    pub(crate) fn issue(
        &mut self,
        kind: Kind,
        attempt: &Attempt,
        current: KeyRef,
        works_after: Duration,
        is_fenced: bool,
    ) -> Option<KeyRef> {
        if !self.live.has(current) {
            return None;
        }
        if kind == Kind::TwoRoles {
            if is_fenced && attempt.token < self.highest_token {
                return None;
            }
            self.highest_token = attempt.token.max(self.highest_token);
        }
        if kind == Kind::Idempotent
            && let Some(key) = self.by_attempt.get(&attempt.id)
        {
            return Some(*key);
        }
        let key = self.next_key(kind, current);
        if kind == Kind::TwoRoles {
            for other in self.live.all().filter(|other| other.0 % 2 == key.0 % 2) {
                self.live.remove(other);
            }
        }
        self.made.add(key);
        self.live.add(key);
        if kind == Kind::Idempotent {
            self.by_attempt.insert(attempt.id, key);
        }
        if !works_after.is_zero() {
            self.slow.insert(key, Time::START.after(works_after));
        }
        Some(key)
    }

    pub(crate) fn accepts(&self, key: KeyRef) -> bool {
        let is_slow = self.slow.get(&key).is_some_and(|time| !time.has_come(Time::START));
        self.live.has(key) && !self.broken.has(key) && !is_slow
    }

    pub(crate) fn rebase(&mut self, by: Duration) {
        for time in self.slow.values_mut() {
            *time = time.rebase(by);
        }
        self.slow.retain(|_, time| !time.has_come(Time::START));
    }
}
