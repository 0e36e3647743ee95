//! Finds secrets by ids that follow from their paths.
//!
//! An id is a reference under a key of the audit's log, so it stays the same, is the same on each server of the rules, and
//! does not tell the path. The index from ids to paths is in memory, and follows from a listing of the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use strongroom::access::{Access, Guarded, TenantName};
use strongroom_core::{Result, SecretPath};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until};

/// What an id begins with.
const PREFIX: &str = "sec_";
/// How many hexadecimal digits an id has: 128 bits.
const DIGITS: usize = 32;
/// How far apart two listings for one tenant are at least: ids that a caller makes up must not keep the store busy.
const INTERVAL: Duration = Duration::from_secs(1);

/// The id of a secret.
pub(crate) fn id_of(access: &Access, tenant: &TenantName, path: &SecretPath) -> String {
    let reference = access.reference(tenant, Some(path));
    let digits = reference.rsplit(':').next().and_then(|digits| digits.get(..DIGITS));
    format!("{PREFIX}{}", digits.unwrap_or_default())
}

/// The paths of secrets by their ids.
#[derive(Default)]
pub(crate) struct SecretIds(Mutex<HashMap<TenantName, Arc<Index>>>);

/// The secrets of one tenant.
#[derive(Default)]
struct Index {
    paths: RwLock<HashMap<String, SecretPath>>,
    /// Held during a listing.
    listings: AsyncMutex<Listings>,
}

/// When the last listings of a tenant began.
#[derive(Default)]
struct Listings {
    /// Of any, which the next one keeps its distance to.
    any: Option<Instant>,
    /// Of one that has come to its end.
    complete: Option<Instant>,
}

impl Index {
    fn get(&self, id: &str) -> Option<SecretPath> {
        self.paths.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl SecretIds {
    /// The path of the secret with this id; `None` if there is none. The secret may have been deleted since. The caller's right to
    /// it is still to be decided.
    pub(crate) async fn find(
        &self,
        access: &Access,
        tenant: &TenantName,
        secrets: &Guarded,
        id: &str,
    ) -> Result<Option<SecretPath>> {
        if id.strip_prefix(PREFIX).is_none_or(|digits| digits.len() != DIGITS) {
            return Ok(None);
        }
        let index = self.of(tenant);
        if let Some(path) = index.get(id) {
            return Ok(Some(path));
        }
        let asked = Instant::now();
        let mut listings = index.listings.lock().await;
        // A listing that began after the question, and was not cut off, has its answer.
        if listings.complete.is_none_or(|began| began < asked) {
            if let Some(began) = listings.any {
                sleep_until(began + INTERVAL).await;
            }
            let began = Instant::now();
            listings.any = Some(began);
            let paths = secrets.paths_for_index().await?;
            let paths = paths.into_iter().map(|path| (id_of(access, tenant, &path), path));
            let paths = paths.collect();
            *index.paths.write().unwrap_or_else(PoisonError::into_inner) = paths;
            listings.complete = Some(began);
        }
        Ok(index.get(id))
    }

    fn of(&self, tenant: &TenantName) -> Arc<Index> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }
}
