//! Warnings before a secret expires: 7 days and 1 day ahead, once each per secret and process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use strongroom_core::{BackendInfo, Secret, SecretPath};
use tracing::warn;

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What was warned of: the expiry, and the notice given.
type Warned = BTreeMap<(String, SecretPath), (SystemTime, Duration)>;

static WARNED: Mutex<Warned> = Mutex::new(BTreeMap::new());

/// Warns if `secret`, which was read from the store `info` describes, is about to expire.
pub(crate) fn warn_ahead(secret: &Secret, info: &BackendInfo, now: SystemTime) {
    let Some(expiry) = secret.metadata().expires_at else { return };
    let left = expiry.duration_since(now).unwrap_or_default();
    let notice = match left {
        left if left <= DAY => DAY,
        left if left <= WEEK => WEEK,
        _ => return,
    };
    if is_news(secret, info, expiry, notice) {
        let path = secret.path();
        let hours = left.as_secs() / 3600;
        warn!(%path, backend = info.kind, hours_left = hours, "a secret is about to expire");
    }
}

fn is_news(secret: &Secret, info: &BackendInfo, expiry: SystemTime, notice: Duration) -> bool {
    let key = (format!("{}:{}", info.kind, info.instance), secret.path().clone());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = warned.get(&key).is_some_and(|(at, given)| *at == expiry && *given <= notice);
    if !known {
        warned.insert(key, (expiry, notice));
    }
    !known
}
