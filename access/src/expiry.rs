//! Secrets that expire: who runs them is told 7 days and 1 day ahead, and when they have expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::{
    Backend, Capability, Error, ErrorKind, ListOptions, Operation, Result, SecretPath,
};
use tracing::warn;

use crate::event::{Context, Draft, Event};
use crate::grant::to_millis;
use crate::job::Job;
use crate::{Access, TenantName};

const DAY: i64 = 86_400_000;
const WEEK: i64 = 7 * DAY;
/// How long a notice is remembered after the secret has expired. What has expired for longer gets none.
const KEPT_AFTER_EXPIRY: i64 = 30 * DAY;

/// A notice about a secret, as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExpiryNotice {
    /// When the secret expires, in milliseconds since 1970.
    expires_at: i64,
    notice: Notice,
}

/// How near the expiry is, in the order in which notices follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Notice {
    SevenDays,
    OneDay,
    Expired,
}

impl ExpiryNotice {
    /// The notice that is due at a time, in milliseconds since 1970.
    fn due(expires_at: i64, now: i64) -> Option<Self> {
        let left = expires_at.saturating_sub(now);
        let notice = match left {
            _ if left <= -KEPT_AFTER_EXPIRY => return None,
            _ if left <= 0 => Notice::Expired,
            _ if left <= DAY => Notice::OneDay,
            _ if left <= WEEK => Notice::SevenDays,
            _ => return None,
        };
        Some(Self { expires_at, notice })
    }

    /// The name of its event.
    pub(crate) fn event(self) -> &'static str {
        match self.notice {
            Notice::SevenDays | Notice::OneDay => "secret.expiring",
            Notice::Expired => "secret.expired",
        }
    }
}

/// The newest notice of each secret. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpiryNotices(Arc<BTreeMap<(TenantName, String), ExpiryNotice>>);

impl ExpiryNotices {
    /// The notice that is due for a secret and was not given for this expiry.
    pub(crate) fn due(&self, secret: &Expiring, now: i64) -> Option<ExpiryNotice> {
        let due = ExpiryNotice::due(secret.expires_at, now)?;
        let given = self.0.get(&(secret.tenant.clone(), secret.path.clone()));
        let is_given = given
            .is_some_and(|given| given.expires_at == due.expires_at && given.notice >= due.notice);
        (!is_given).then_some(due)
    }

    pub(crate) fn apply(&mut self, tenant: &TenantName, path: &str, notice: ExpiryNotice) {
        let notices = Arc::make_mut(&mut self.0);
        let is_new = notices.insert((tenant.clone(), path.to_owned()), notice).is_none();
        // Each time that they have doubled, so that it costs little.
        if is_new && notices.len().is_power_of_two() {
            // No notice is due earlier than a week ahead, so it is at least that late now.
            let now = notice.expires_at.saturating_sub(WEEK);
            let oldest = now.saturating_sub(KEPT_AFTER_EXPIRY);
            notices.retain(|_, notice| notice.expires_at > oldest);
        }
    }

    /// Those that may be needed from a time on.
    pub(crate) fn since(&self, now: i64) -> Vec<(TenantName, String, ExpiryNotice)> {
        let oldest = now.saturating_sub(KEPT_AFTER_EXPIRY);
        let needed = self.0.iter().filter(|(_, notice)| notice.expires_at > oldest);
        needed.map(|((tenant, path), notice)| (tenant.clone(), path.clone(), *notice)).collect()
    }
}

/// A secret that expires.
#[derive(Clone, Debug)]
pub(crate) struct Expiring {
    tenant: TenantName,
    /// Below the root of the tenant.
    path: String,
    expires_at: i64,
}

impl Expiring {
    pub(crate) fn draft(&self, notice: ExpiryNotice) -> Draft {
        Draft {
            tenant: Some(self.tenant.clone()),
            principal: "host".to_owned(),
            path: Some(self.path.clone()),
            context: Context::default(),
            event: Event::Expiry(notice),
        }
    }
}

/// What a scan for secrets that expire has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiryScan {
    /// The secrets that were looked at.
    pub secrets: usize,
    /// The events that were recorded.
    pub recorded: usize,
    /// The secrets whose metadata could not be read. The next scan tries again.
    pub failed: usize,
}

impl Access {
    /// Looks at the expiry of all secrets in a store once, and records `secret.expiring` 7 days and 1 day ahead, and
    /// `secret.expired`. Each is recorded once for each expiry, also if several processes scan: call it
    /// every hour, or use [`watch_expiry`](Self::watch_expiry). A secret that is found late gets the newest notice
    /// alone, and one that expired over 30 days ago gets none.
    ///
    /// It lists the store and describes each secret, one after the other: on some stores, that is a request for each
    /// secret. Secrets that belong to no tenant are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the store cannot list or keeps no metadata, those of a listing, and those of a log
    /// that cannot be written.
    pub async fn record_expiring(&self, store: &dyn Backend) -> Result<ExpiryScan> {
        for (capability, operation) in
            [(Capability::List, Operation::List), (Capability::Metadata, Operation::Describe)]
        {
            if !store.info().capabilities.has(capability) {
                return Err(store.info().unsupported(operation));
            }
        }
        let mut scan = ExpiryScan::default();
        let mut options = ListOptions::new();
        loop {
            let page = store.list(None, &options).await?;
            let mut found = Vec::new();
            for path in &page.paths {
                scan.secrets += 1;
                match self.expiry_of(store, path).await {
                    Ok(expiring) => found.extend(expiring),
                    Err(_) => scan.failed += 1,
                }
            }
            if !found.is_empty() {
                scan.recorded += self.0.ask(|reply| Job::RecordExpiring(found, reply)).await?;
            }
            options.page = page.next;
            if options.page.is_none() {
                return Ok(scan);
            }
        }
    }

    /// Scans a store as [`record_expiring`](Self::record_expiring) does, at once and then at each interval. It ends
    /// when the future is dropped, or with the error [`Closed`](ErrorKind::Closed) once the rules or the store are
    /// closed. What fails otherwise is logged and tried again.
    pub async fn watch_expiry(&self, store: &dyn Backend, interval: Duration) -> Error {
        loop {
            match self.record_expiring(store).await {
                Ok(ExpiryScan { failed: 0, .. }) => {}
                Ok(scan) => warn!(failed = scan.failed, "the expiry of secrets cannot be read"),
                Err(closed) if closed.kind() == ErrorKind::Closed => return closed,
                Err(error) => warn!(%error, "secrets that expire cannot be found or recorded"),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// The secret at a path, if it belongs to a tenant and expires.
    async fn expiry_of(&self, store: &dyn Backend, path: &SecretPath) -> Result<Option<Expiring>> {
        let Some((tenant, path_in_tenant)) = self.0.tenant_of(path) else { return Ok(None) };
        let metadata = match store.describe(path).await {
            Ok(description) => description.metadata,
            // It was deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let expires_at = metadata.expires_at.map(to_millis);
        Ok(expires_at.map(|expires_at| Expiring { tenant, path: path_in_tenant, expires_at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(expires_at: i64) -> Expiring {
        let tenant = TenantName::parse("acme").unwrap();
        Expiring { tenant, path: "key".to_owned(), expires_at }
    }

    /// Scans at a time, and takes the notice into account that is due.
    fn scan(notices: &mut ExpiryNotices, expires_at: i64, now: i64) -> Option<Notice> {
        let secret = secret(expires_at);
        let due = notices.due(&secret, now)?;
        notices.apply(&secret.tenant, &secret.path, due);
        Some(due.notice)
    }

    #[test]
    fn each_notice_is_due_once_for_each_expiry() {
        let mut notices = ExpiryNotices::default();
        let end = 100 * DAY;
        let days = |left: i64| end - left * DAY;
        assert_eq!(scan(&mut notices, end, days(7) - 1), None);
        assert_eq!(scan(&mut notices, end, days(7)), Some(Notice::SevenDays));
        assert_eq!(scan(&mut notices, end, days(2)), None);
        assert_eq!(scan(&mut notices, end, days(1)), Some(Notice::OneDay));
        // A clock that goes back repeats nothing.
        assert_eq!(scan(&mut notices, end, days(5)), None);
        assert_eq!(scan(&mut notices, end, end - 1), None);
        assert_eq!(scan(&mut notices, end, end), Some(Notice::Expired));
        assert_eq!(scan(&mut notices, end, end + DAY), None);
        // A new expiry has its own.
        let next = end + 3 * DAY;
        assert_eq!(scan(&mut notices, next, end + DAY), Some(Notice::SevenDays));
        assert_eq!(scan(&mut notices, next, next + DAY), Some(Notice::Expired));
    }

    #[test]
    fn what_expired_long_ago_is_neither_remembered_nor_told() {
        let mut notices = ExpiryNotices::default();
        assert_eq!(scan(&mut notices, 0, KEPT_AFTER_EXPIRY), None);
        assert_eq!(scan(&mut notices, 0, KEPT_AFTER_EXPIRY - 1), Some(Notice::Expired));
        assert_eq!(notices.since(KEPT_AFTER_EXPIRY - 1).len(), 1);
        assert!(notices.since(KEPT_AFTER_EXPIRY).is_empty());
        let tenant = TenantName::parse("acme").unwrap();
        for (path, expires_at, expected) in
            [("late", WEEK + KEPT_AFTER_EXPIRY - 1, 2), ("c", 0, 3), ("d", 0, 4), ("e", 0, 5)]
        {
            let expired = ExpiryNotice { expires_at, notice: Notice::Expired };
            notices.apply(&tenant, path, expired);
            assert_eq!(notices.0.len(), expected, "{path}");
        }
        // The eighth looks which ones are too old: all but itself and one.
        for (path, expected) in [("f", 6), ("g", 7), ("h", 2)] {
            let expires_at = WEEK + KEPT_AFTER_EXPIRY;
            let expiring = ExpiryNotice { expires_at, notice: Notice::SevenDays };
            let expires_at = if path == "h" { expires_at } else { 0 };
            notices.apply(&tenant, path, ExpiryNotice { expires_at, ..expiring });
            assert_eq!(notices.0.len(), expected, "{path}");
        }
    }

    #[test]
    fn a_secret_that_is_found_late_gets_the_newest_notice_alone() {
        let mut notices = ExpiryNotices::default();
        assert_eq!(scan(&mut notices, DAY, DAY / 2), Some(Notice::OneDay));
        assert_eq!(scan(&mut notices, DAY, DAY / 2), None);
    }
}
