//! How much one principal may ask for: requests at a time, and requests per second.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use strongroom_core::{Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerConfig;
use crate::metrics::{Refused, count_refused};

/// When a principal that has too many requests under way is to come back.
const COME_BACK: Duration = Duration::from_secs(1);
/// A principal that was silent for so long has its whole rate again.
const REFILL_TIME: Duration = Duration::from_secs(1);
/// How many principals are known before those that are silent are first forgotten.
const SWEEP_FROM: usize = 1_024;

/// The limits, and what each principal uses of them.
pub(crate) struct PrincipalLimits {
    max_requests: usize,
    max_listeners: usize,
    rate: Option<NonZeroU32>,
    /// One permit for each listener of any principal: some connections are left for requests.
    listeners: Arc<Semaphore>,
    clock: DefaultClock,
    usage: Mutex<Usage>,
}

#[derive(Default)]
struct Usage {
    principals: HashMap<Arc<str>, PrincipalUsage>,
    /// How many principals were left when the silent ones were last forgotten.
    swept: usize,
}

struct PrincipalUsage {
    under_way: usize,
    listening: usize,
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
    seen: Instant,
}

impl PrincipalUsage {
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.listening == 0
    }
}

impl PrincipalLimits {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self {
            max_requests: config.max_principal_requests,
            max_listeners: config.max_principal_listeners,
            rate: config.rate_limit,
            listeners: Arc::new(Semaphore::new(config.max_connections.div_ceil(4) * 3)),
            clock: DefaultClock::default(),
            usage: Mutex::default(),
        }
    }

    /// Lets a request of a principal begin.
    pub(crate) fn begin(self: &Arc<Self>, principal: &str) -> Result<UnderWay, Error> {
        let mut usage = self.lock();
        usage.sweep();
        let (name, of_principal) = usage.entry(principal, self.rate);
        if of_principal.under_way >= self.max_requests {
            count_refused(Refused::Principal);
            return Err(Error::new(ErrorKind::RateLimited, "send fewer requests at a time")
                .because("the caller has as many requests under way as it may have")
                .with_retry_after(COME_BACK));
        }
        self.take(of_principal.limiter.as_deref(), NonZeroU32::MIN)?;
        of_principal.under_way += 1;
        drop(usage);
        Ok(UnderWay { limits: Arc::clone(self), principal: name })
    }

    /// Lets a principal listen to what happens, for as long as it likes.
    pub(crate) fn listen(self: &Arc<Self>, principal: &str) -> Result<Listening, Error> {
        let Ok(permit) = Arc::clone(&self.listeners).try_acquire_owned() else {
            count_refused(Refused::Room);
            return Err(Error::new(ErrorKind::Unavailable, "listen again later")
                .because("the server has as many listeners as it can have")
                .with_retry_after(COME_BACK));
        };
        let mut usage = self.lock();
        usage.sweep();
        let (name, of_principal) = usage.entry(principal, self.rate);
        if of_principal.listening >= self.max_listeners {
            count_refused(Refused::Principal);
            return Err(Error::new(ErrorKind::RateLimited, "listen with fewer connections")
                .because("the caller has as many listeners as it may have")
                .with_retry_after(COME_BACK));
        }
        self.take(of_principal.limiter.as_deref(), NonZeroU32::MIN)?;
        of_principal.listening += 1;
        drop(usage);
        Ok(Listening { limits: Arc::clone(self), principal: name, _permit: permit })
    }

    /// Counts more requests of a principal, which are in one.
    pub(crate) fn charge(&self, principal: &str, requests: usize) -> Result<(), Error> {
        let Some(rate) = self.rate else { return Ok(()) };
        // What is more than a second's worth takes the whole second, of which the request itself has taken one.
        let most = usize::try_from(rate.get() - 1).unwrap_or(usize::MAX);
        let Some(requests) = to_count(requests.min(most)) else { return Ok(()) };
        let limiter = self.lock().entry(principal, self.rate).1.limiter.clone();
        self.take(limiter.as_deref(), requests)
    }

    fn take(
        &self,
        limiter: Option<&DefaultDirectRateLimiter>,
        requests: NonZeroU32,
    ) -> Result<(), Error> {
        let Some(limiter) = limiter else { return Ok(()) };
        let wait = match limiter.check_n(requests) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(too_early)) => too_early.wait_time_from(self.clock.now()),
            // It never has room for so many; the caller has seen to that.
            Err(_) => REFILL_TIME,
        };
        count_refused(Refused::Rate);
        Err(Error::new(ErrorKind::RateLimited, "send fewer requests per second")
            .because("the caller sends more requests per second than it may")
            .with_retry_after(wait))
    }

    fn end(&self, principal: &Arc<str>, end: impl FnOnce(&mut PrincipalUsage)) {
        let mut usage = self.lock();
        let Some(of_principal) = usage.principals.get_mut(principal) else { return };
        end(of_principal);
        of_principal.seen = Instant::now();
        if of_principal.is_idle() && of_principal.limiter.is_none() {
            usage.principals.remove(principal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_count(requests: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(requests).unwrap_or(u32::MAX))
}

impl Usage {
    fn entry(
        &mut self,
        principal: &str,
        rate: Option<NonZeroU32>,
    ) -> (Arc<str>, &mut PrincipalUsage) {
        let name = match self.principals.get_key_value(principal) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(principal),
        };
        let of_principal =
            self.principals.entry(Arc::clone(&name)).or_insert_with(|| PrincipalUsage {
                under_way: 0,
                listening: 0,
                limiter: rate.map(|rate| {
                    Arc::new(DefaultDirectRateLimiter::direct(Quota::per_second(rate)))
                }),
                seen: Instant::now(),
            });
        (name, of_principal)
    }

    /// Forgets the principals that are silent, once there are twice as many as the last time.
    fn sweep(&mut self) {
        if self.principals.len() < SWEEP_FROM.max(2 * self.swept) {
            return;
        }
        self.principals.retain(|_, usage| !usage.is_idle() || usage.seen.elapsed() < REFILL_TIME);
        self.swept = self.principals.len();
    }
}

/// A request that is under way, until it is dropped.
pub(crate) struct UnderWay {
    limits: Arc<PrincipalLimits>,
    principal: Arc<str>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.limits.end(&self.principal, |usage| {
            usage.under_way = usage.under_way.saturating_sub(1);
        });
    }
}

/// A principal that listens, until it is dropped.
pub(crate) struct Listening {
    limits: Arc<PrincipalLimits>,
    principal: Arc<str>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.limits.end(&self.principal, |usage| {
            usage.listening = usage.listening.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(at_a_time: usize, rate: Option<u32>) -> Arc<PrincipalLimits> {
        let mut config = ServerConfig::new();
        config.max_principal_requests = at_a_time;
        config.rate_limit = rate.and_then(NonZeroU32::new);
        Arc::new(PrincipalLimits::new(&config))
    }

    #[test]
    fn a_principal_has_so_many_requests_at_a_time_and_leaves_room_for_others() {
        let limits = limits(2, None);
        let first = limits.begin("a").unwrap();
        let _second = limits.begin("a").unwrap();
        let refused = limits.begin("a").err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::RateLimited);
        assert!(refused.retry_after().is_some());
        assert!(limits.begin("b").is_ok());
        drop(first);
        assert!(limits.begin("a").is_ok());
    }

    #[test]
    fn a_principal_sends_so_many_requests_per_second() {
        let limits = limits(9, Some(3));
        for _ in 0..3 {
            drop(limits.begin("a").unwrap());
        }
        let refused = limits.begin("a").err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::RateLimited);
        assert!(refused.retry_after().unwrap() <= REFILL_TIME);
        assert!(limits.begin("b").is_ok());
        // A batch takes what it reads, and at most the whole second.
        let _batch = limits.begin("c").unwrap();
        assert!(limits.charge("c", 50).is_ok());
        assert!(limits.begin("c").is_err());
    }

    #[test]
    fn a_principal_has_so_many_listeners_beside_its_requests() {
        let mut config = ServerConfig::new();
        config.max_principal_requests = 1;
        config.max_principal_listeners = 2;
        config.max_connections = 4;
        let limits = Arc::new(PrincipalLimits::new(&config));
        let first = limits.listen("a").unwrap();
        let _second = limits.listen("a").unwrap();
        assert_eq!(limits.listen("a").err().unwrap().kind(), ErrorKind::RateLimited);
        assert!(limits.begin("a").is_ok());
        // Of four connections, one is left for requests.
        let _third = limits.listen("b").unwrap();
        assert_eq!(limits.listen("c").err().unwrap().kind(), ErrorKind::Unavailable);
        drop(first);
        assert!(limits.listen("a").is_ok());
    }

    #[test]
    fn silent_principals_are_forgotten() {
        let unlimited = limits(1, None);
        drop(unlimited.begin("a").unwrap());
        assert!(unlimited.lock().principals.is_empty());
        let limited = limits(1, Some(1));
        let held = limited.begin("held").unwrap();
        for n in 0..SWEEP_FROM {
            drop(limited.begin(&n.to_string()).unwrap());
        }
        let mut usage = limited.lock();
        for of_principal in usage.principals.values_mut() {
            of_principal.seen = Instant::now().checked_sub(2 * REFILL_TIME).unwrap();
        }
        // The last of them may have led to a sweep already.
        usage.swept = 0;
        usage.sweep();
        assert_eq!(usage.principals.len(), 1);
        assert!(usage.principals.contains_key("held"));
        drop(usage);
        drop(held);
    }
}
