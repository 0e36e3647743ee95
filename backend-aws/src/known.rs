//! What is remembered of secrets' metadata, so that most reads need one request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_core::{Metadata, SecretPath, Version};
use tokio::time::Instant;

/// The most secrets that are remembered, at some hundred bytes each.
const MOST: usize = 10_000;

/// What a description said.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) metadata: Metadata,
    /// The active version at that time.
    pub(crate) current: Version,
}

/// Descriptions by path, for a time. Values are never among them.
pub(crate) struct Known {
    ttl: Duration,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    facts: HashMap<SecretPath, (Fact, Instant)>,
    /// When each path was forgotten the last time, as far back as `oldest`.
    forgotten: HashMap<SecretPath, u64>,
    oldest: u64,
    now: u64,
}

/// Taken before a description is asked for: what is forgotten meanwhile is not learnt again.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl Known {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, entries: Mutex::default() }
    }

    pub(crate) fn get(&self, path: &SecretPath) -> Option<Fact> {
        let entries = self.lock();
        let (fact, learnt) = entries.facts.get(path)?;
        (learnt.elapsed() < self.ttl).then(|| fact.clone())
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.lock().now)
    }

    pub(crate) fn learn(&self, path: &SecretPath, fact: Fact, ticket: Ticket) {
        if self.ttl.is_zero() {
            return;
        }
        let mut entries = self.lock();
        let forgotten = entries.forgotten.get(path).copied().unwrap_or(entries.oldest);
        if forgotten > ticket.0 {
            return;
        }
        if entries.facts.len() >= MOST
            && !entries.facts.contains_key(path)
            && let Some(any) = entries.facts.keys().next().cloned()
        {
            entries.facts.remove(&any);
        }
        entries.facts.insert(path.clone(), (fact, Instant::now()));
    }

    /// Forgets what turned out to be wrong.
    pub(crate) fn unlearn(&self, path: &SecretPath) {
        self.lock().facts.remove(path);
    }

    /// Forgets what a change makes wrong, also to those who are asking at this moment.
    pub(crate) fn forget(&self, path: &SecretPath) {
        let mut entries = self.lock();
        entries.facts.remove(path);
        entries.now += 1;
        let now = entries.now;
        if entries.forgotten.len() >= MOST {
            entries.forgotten.clear();
            entries.oldest = now;
        }
        entries.forgotten.insert(path.clone(), now);
    }

    pub(crate) fn forget_all(&self) {
        let mut entries = self.lock();
        entries.facts.clear();
        entries.forgotten.clear();
        entries.now += 1;
        entries.oldest = entries.now;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panic cannot leave the map half-changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    fn fact() -> Fact {
        Fact { metadata: Metadata::default(), current: Version::new("v") }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_ends_with_its_time() {
        let known = Known::new(Duration::from_mins(1));
        known.learn(&path("a"), fact(), known.ticket());
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert!(known.get(&path("a")).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(known.get(&path("a")).is_none());
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_learnt_after_it() {
        let known = Known::new(Duration::from_mins(1));
        let ticket = known.ticket();
        known.forget(&path("a"));
        known.learn(&path("a"), fact(), ticket);
        assert!(known.get(&path("a")).is_none());
        known.learn(&path("a"), fact(), known.ticket());
        assert!(known.get(&path("a")).is_some());
        // What concerns another path does not matter, until everything is forgotten.
        let ticket = known.ticket();
        known.forget(&path("b"));
        known.learn(&path("c"), fact(), ticket);
        assert!(known.get(&path("c")).is_some());
        known.forget_all();
        known.learn(&path("c"), fact(), ticket);
        assert!(known.get(&path("c")).is_none());
    }

    #[test]
    fn not_more_than_the_limit_is_remembered() {
        let known = Known::new(Duration::from_mins(1));
        for i in 0..=MOST {
            known.learn(&path(&i.to_string()), fact(), known.ticket());
        }
        assert!(known.lock().facts.len() <= MOST);
        assert!(known.get(&path(&MOST.to_string())).is_some());
        let none = Known::new(Duration::ZERO);
        none.learn(&path("a"), fact(), none.ticket());
        assert!(none.lock().facts.is_empty());
    }
}
