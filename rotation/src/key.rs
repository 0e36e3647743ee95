//! The key that a service uses now, in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use strongroom_core::{Error, ErrorKind, Result, SecretValue};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::header::{ExpiryHeaders, ExpiryObservation};
use super::key_header::Built;
use super::store_checks::Looks;
use crate::clock;

/// Ends of a key that are closer together are the same: headers tell whole seconds, or whole days.
const SAME: Duration = Duration::from_secs(60);

/// Stands for a key in logs: the same for the same key in all instances of a service, and of no use
/// to who wants the key. The first 32 bits of an HMAC-SHA-256 under a key that is stored beside it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    pub(crate) fn of(key: &SecretValue, salt: &[u8]) -> Self {
        // An HMAC takes keys of any length.
        let tag = Hmac::<Sha256>::new_from_slice(salt).map(|mac| {
            let tag = mac.chain_update(key.expose_bytes()).finalize().into_bytes();
            tag.iter().take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        });
        Self(Arc::from(format!("{:08x}", tag.unwrap_or_default())))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.0)
    }
}

/// What is known of a key, without the key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyState {
    /// Which key it is: each rotation counts one up.
    pub generation: u64,
    /// Stands for the key in logs.
    pub fingerprint: Fingerprint,
    /// When the key stops working, if that is known.
    pub expires_at: Option<SystemTime>,
    /// When it took the place of the one before it.
    pub rotated_at: Option<SystemTime>,
    /// Why the last rotation failed, as long as one is wanted, or why a header of the key's responses is
    /// not believed. The last good key stays in use.
    pub last_error: Option<Error>,
}

/// One generation of a key.
pub(crate) struct Held {
    pub(crate) value: SecretValue,
    pub(crate) generation: u64,
    /// Counts the keys that this process has used: also one that somebody put in the store by hand.
    pub(crate) serial: u64,
    pub(crate) fingerprint: Fingerprint,
    /// The key as a header, once a request has needed it.
    pub(super) header: Built,
    /// Dropped with the last request that carries the key.
    _in_flight: oneshot::Sender<()>,
}

/// Ends when no request carries a key any more.
pub(crate) type Drained = oneshot::Receiver<()>;

impl Held {
    pub(crate) fn new(
        value: SecretValue,
        generation: u64,
        serial: u64,
        fingerprint: Fingerprint,
    ) -> (Self, Drained) {
        let (in_flight, drained) = oneshot::channel();
        let header = Built::default();
        (Self { value, generation, serial, fingerprint, header, _in_flight: in_flight }, drained)
    }
}

/// A key that is replaced while it is used: what a service holds on to.
#[derive(Clone)]
pub struct RotatingKey(pub(crate) Arc<Current>);

/// What a key's handles share with the task that rotates it.
pub(crate) struct Current {
    pub(crate) held: ArcSwap<Held>,
    pub(crate) state: watch::Sender<KeyState>,
    /// Wishes for the task.
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) looks: Looks,
    pub(crate) headers: ExpiryHeaders,
    /// Whether the task was told of a header of this key's responses that is not believed.
    pub(crate) has_complained: AtomicBool,
    /// How many responses have been looked at.
    #[cfg(test)]
    pub(crate) observed: std::sync::atomic::AtomicU64,
}

/// What the task that rotates a key is asked for.
pub(crate) enum Wish {
    /// Replace the key, and say which generation took its place.
    Rotate(oneshot::Sender<Result<u64>>),
    /// The same, and have the old one revoked before it is said.
    ReplaceLeaked(oneshot::Sender<Result<u64>>),
    /// A response says when the key ends.
    Ends { serial: u64, at: SystemTime },
    /// A response says something about the end of the key that cannot be.
    Implausible { serial: u64, why: &'static str },
    /// Look at the store: a key was refused.
    Look,
}

impl RotatingKey {
    /// The current key, for one request: keep the guard until the response has been read. As long as
    /// it is kept, the key is not revoked (within the time that the drain may take). Never waits.
    #[must_use]
    #[inline]
    pub fn acquire(&self) -> KeyGuard {
        KeyGuard(self.0.held.load())
    }

    /// Whether no newer key has taken the place of this one.
    #[must_use]
    pub fn is_current(&self, guard: &KeyGuard) -> bool {
        self.0.held.load().serial == guard.0.serial
    }

    /// Replaces the key now, and returns the new generation as soon as this instance uses it. The old
    /// key is revoked afterwards, in the background. If a rotation is under way, it waits for its end
    /// first.
    ///
    /// # Errors
    /// Whatever the issuer or the store says: the last good key stays in use then.
    /// [`Closed`](strongroom_core::ErrorKind::Closed) once the key is removed from its engine, or that
    /// is shut down.
    pub async fn rotate(&self) -> Result<u64> {
        self.wish(Wish::Rotate).await
    }

    /// Replaces the key now because somebody else may know it, and returns the new generation once the
    /// old key is revoked. That is as soon as this instance uses the new one: neither requests in flight
    /// nor other instances are waited for, nor other keys that are being replaced. Requests with the old
    /// key are refused until their instance has noticed the new one. The layer and the middleware of this
    /// crate do so after a refusal and send the request once more, unless other refusals were in vain
    /// seconds before; by hand, [`refresh_after_rejection`](Self::refresh_after_rejection) does. Otherwise it takes a third of
    /// [`propagation_timeout`](super::RotationPolicy::propagation_timeout) at most. Only a step that is under way is waited for,
    /// and another instance that is getting a key already, for its
    /// [`attempt_lease`](super::RotationPolicy::attempt_lease).
    ///
    /// It goes on being tried after an error, also by whoever starts next or by another instance, if it
    /// could be noted in the store. Where the store replaces the secret by itself, this is the same as
    /// [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); whatever the issuer says to the revocation. The new key is in use
    /// then.
    pub async fn rotate_compromised(&self) -> Result<u64> {
        self.wish(Wish::ReplaceLeaked).await
    }

    async fn wish(&self, wish: fn(oneshot::Sender<Result<u64>>) -> Wish) -> Result<u64> {
        let (sender, receiver) = oneshot::channel();
        self.0.wishes.send(wish(sender)).await.map_err(|_| not_kept())?;
        receiver.await.unwrap_or_else(|_| Err(not_kept()))
    }

    /// Learns from the headers of a response when the key ends. If that is soon, the key is replaced in
    /// the background, once. Never waits. Give it the headers of responses to requests with the current
    /// key.
    pub fn observe(&self, headers: &http::HeaderMap) {
        #[cfg(test)]
        self.0.observed.fetch_add(1, Relaxed);
        let has_complained = self.0.has_complained.load(Relaxed);
        let serial = self.0.held.load().serial;
        let wish = match self.0.headers.read(headers, clock::wall()) {
            ExpiryObservation::Nothing => return,
            ExpiryObservation::Expiry { at, .. } if self.is_known(at) && !has_complained => return,
            ExpiryObservation::Expiry { at, .. } => Wish::Ends { serial, at },
            ExpiryObservation::Implausible { .. } if has_complained => return,
            ExpiryObservation::Implausible { why, .. } => Wish::Implausible { serial, why },
        };
        let is_complaint = matches!(wish, Wish::Implausible { .. });
        // A task that is busy hears it from the next response.
        let is_told = self.0.wishes.try_send(wish).is_ok();
        if is_told && is_complaint {
            self.0.has_complained.store(true, Relaxed);
        }
    }

    /// The same for the response to a request that carried this key. They say nothing about a newer
    /// one.
    pub fn observe_response(&self, guard: &KeyGuard, headers: &http::HeaderMap) {
        if self.is_current(guard) {
            self.observe(headers);
        }
    }

    /// Has the store looked at for a newer key, as after a 401 with the current one.
    pub fn check_store(&self) {
        let _ = self.0.wishes.try_send(Wish::Look);
    }

    /// To be asked after a 401 to a request with this key: whether there is another key to try. If the
    /// key is the current one here, the store is looked at first, for somebody may have replaced it
    /// elsewhere and had it revoked; that takes 2 seconds at most. Where such looks find nothing time and
    /// again they become rarer, up to one in 8 seconds, and nobody waits for the next: the same goes
    /// while one is late.
    pub async fn refresh_after_rejection(&self, refused: &KeyGuard) -> bool {
        if self.is_current(refused) {
            self.looked().await;
        }
        !self.is_current(refused)
    }

    /// Has the store looked at, and waits for that a little.
    pub(super) fn looked(&self) -> impl Future<Output = ()> + Send + use<> {
        let current = Arc::clone(&self.0);
        let next = current.looks.next();
        let wish = current.wishes.try_send(Wish::Look);
        // A task that is busy looks when it can.
        let is_kept = !matches!(wish, Err(TrySendError::Closed(_)));
        async move {
            if is_kept && !next.await {
                current.looks.give_up();
            }
        }
    }

    /// Whether a response says what the one before it said, but for the seconds that went by.
    fn is_known(&self, end: SystemTime) -> bool {
        let known = self.0.state.borrow().expires_at;
        known.is_some_and(|known| {
            let apart = known.duration_since(end).or_else(|_| end.duration_since(known));
            apart.is_ok_and(|apart| apart < SAME)
        })
    }

    /// What is known of the key now.
    #[must_use]
    pub fn state(&self) -> KeyState {
        self.0.state.borrow().clone()
    }

    /// Tells of each change of the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<KeyState> {
        self.0.state.subscribe()
    }
}

impl fmt::Debug for RotatingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingKey").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A key in use by one request.
pub struct KeyGuard(arc_swap::Guard<Arc<Held>>);

impl KeyGuard {
    /// The key, masked.
    #[must_use]
    pub fn value(&self) -> &SecretValue {
        &self.0.value
    }

    /// The key's text, in the clear.
    ///
    /// # Errors
    /// [`WrongType`](strongroom_core::ErrorKind::WrongType) if it is not UTF-8.
    pub fn expose_text(&self) -> Result<&str> {
        self.0.value.expose_text()
    }

    /// Which key it is: each rotation counts one up.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Stands for the key in logs.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    pub(super) fn header(&self) -> &Built {
        &self.0.header
    }
}

impl fmt::Debug for KeyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGuard(generation {}, {})", self.generation(), self.fingerprint())
    }
}

fn not_kept() -> Error {
    Error::new(ErrorKind::Closed, "add it to a rotation engine, and keep that")
        .because("the key is not kept fresh any more")
}
