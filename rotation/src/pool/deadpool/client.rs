//! A connection in the pool, and one that is taken out of it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use deadpool::managed::{self, Object, WeakPool};
use deadpool_postgres::ClientWrapper;

use super::{RotatingManager, retire};
use crate::{KeyGuard, RotatingKey};

/// A connection in the pool, with the key that it logged in with.
pub struct PooledClient {
    client: ClientWrapper,
    /// Dropped after the client: until then the engine does not revoke the key (up to the drain timeout).
    guard: Arc<KeyGuard>,
    key: RotatingKey,
}

impl PooledClient {
    pub(super) fn new(client: ClientWrapper, guard: Arc<KeyGuard>, key: RotatingKey) -> Self {
        Self { client, guard, key }
    }

    /// Whether it logged in with the key that is in use now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.key.is_current(&self.guard)
    }
}

impl Deref for PooledClient {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for PooledClient {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

impl fmt::Debug for PooledClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledClient").field("key", &self.guard).finish_non_exhaustive()
    }
}

/// A connection for one user, which goes back to the pool when it is dropped.
///
/// It works like the `Client` of `deadpool-postgres`. If its key has been replaced meanwhile, it is closed.
#[must_use]
pub struct RotatingClient {
    // The order matters: the connection is back in the pool when `check` is dropped.
    object: Object<RotatingManager>,
    check: ReturnCheck,
}

/// Closes a connection that is returned after its key was replaced.
struct ReturnCheck {
    pool: Option<WeakPool<RotatingManager>>,
    key: RotatingKey,
    generation: u64,
}

impl Drop for ReturnCheck {
    fn drop(&mut self) {
        if self.key.acquire().generation() != self.generation
            && let Some(pool) = self.pool.as_ref().and_then(WeakPool::upgrade)
        {
            retire(&pool);
        }
    }
}

impl From<Object<RotatingManager>> for RotatingClient {
    fn from(object: Object<RotatingManager>) -> Self {
        let pool = Object::pool(&object).map(|pool| managed::Pool::weak(&pool));
        let (key, generation) = (object.key.clone(), object.guard.generation());
        let check = ReturnCheck { pool, key, generation };
        Self { object, check }
    }
}

impl RotatingClient {
    /// Which key it logged in with: each rotation counts one up.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.check.generation
    }
}

impl Deref for RotatingClient {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.object
    }
}

impl DerefMut for RotatingClient {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.object
    }
}

impl fmt::Debug for RotatingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingClient").field("key", &self.object.guard).finish_non_exhaustive()
    }
}
