//! Warnings before a secret expires: 7 days and 1 day ahead, once each per secret and process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use strongroom_core::{BackendInfo, Secret};
use tracing::warn;

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What was warned of, by the secret's fingerprint: the expiry, and the notice given.
static WARNED: Mutex<BTreeMap<u64, (SystemTime, Duration)>> = Mutex::new(BTreeMap::new());

/// Fingerprints of warnings that are in `WARNED`, each in the slot of its number. Every read in a
/// secret's last week comes here, and nearly all end here, without a lock. A warning that has lost
/// its slot to another is found in `WARNED`.
static RECENT: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Warns if `secret`, which was read from the store `info` describes, is about to expire.
pub(crate) fn warn_ahead(secret: &Secret, info: &BackendInfo, now: SystemTime) {
    let Some(expiry) = secret.metadata().expires_at else { return };
    let left = expiry.duration_since(now).unwrap_or_default();
    let notice = match left {
        left if left <= DAY => DAY,
        left if left <= WEEK => WEEK,
        _ => return,
    };
    let path = secret.path();
    if is_first_warning(fingerprint((info.kind, &info.instance, path)), expiry, notice) {
        let hours = left.as_secs() / 3600;
        warn!(%path, backend = info.kind, hours_left = hours, "a secret is about to expire");
    }
}

/// When the next warning ahead of `expiry` is due after `now`, if any is left.
pub(crate) fn next_notice(expiry: SystemTime, now: SystemTime) -> Option<SystemTime> {
    let notices = [WEEK, DAY].into_iter().filter_map(|ahead| expiry.checked_sub(ahead));
    notices.filter(|notice| *notice > now).min()
}

fn is_first_warning(secret: u64, expiry: SystemTime, notice: Duration) -> bool {
    let warning = fingerprint((secret, expiry, notice));
    let slot = usize::try_from(warning % RECENT.len() as u64).ok().and_then(|i| RECENT.get(i));
    if slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == warning) {
        return false;
    }
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = warned.get(&secret).is_some_and(|(at, given)| *at == expiry && *given <= notice);
    if !known {
        warned.insert(secret, (expiry, notice));
    }
    if let Some(slot) = slot {
        slot.store(warning, Ordering::Relaxed);
    }
    !known
}

/// Stands for a secret or a warning. That two had the same would cost a warning, and takes 2^32 of
/// them to be likely.
fn fingerprint(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn forget_recent() {
        for slot in &RECENT {
            slot.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn warns_a_week_and_a_day_ahead() {
        let expiry = SystemTime::UNIX_EPOCH + 30 * DAY;
        let next = |days: u32| next_notice(expiry, SystemTime::UNIX_EPOCH + days * DAY);
        assert_eq!(next(0), Some(expiry - WEEK));
        assert_eq!(next(23), Some(expiry - DAY));
        assert_eq!(next(29), None);
    }

    #[test]
    fn warns_once_and_then_takes_no_lock() {
        let (secret, expiry) = (fingerprint("a secret"), SystemTime::UNIX_EPOCH);
        assert!(is_first_warning(secret, expiry, WEEK));
        let locked = WARNED.lock().unwrap();
        let (answer, answered) = mpsc::channel();
        thread::spawn(move || answer.send(is_first_warning(secret, expiry, WEEK)));
        assert_eq!(answered.recv_timeout(Duration::from_secs(10)), Ok(false));
        drop(locked);

        forget_recent();
        assert!(!is_first_warning(secret, expiry, WEEK), "it has lost its slot");
        assert!(is_first_warning(secret, expiry, DAY));
        forget_recent();
        assert!(!is_first_warning(secret, expiry, WEEK), "the clock went back");
        assert!(is_first_warning(secret, expiry + DAY, WEEK), "another expiry");
    }
}
