//! The key that a service uses now, in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use strongroom_core::{Error, ErrorKind, Result, SecretValue};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::callers::Answer;
use super::clock;
use super::drain::Drained;
use super::fingerprint::Fingerprint;
use super::header::{ExpiryHeaders, ExpiryObservation};
use super::key_header::{CachedHeader, KeyHeader};
use super::store_checks::StoreChecks;

/// Expiries closer together than this count as one, because headers report whole seconds or whole days.
const SAME_EXPIRY_WINDOW: Duration = Duration::from_secs(60);

/// The state of a key, without its value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyState {
    /// How often the key was replaced.
    pub generation: u64,
    /// Stands for the key in logs.
    pub fingerprint: Fingerprint,
    /// When the key stops working, if that is known.
    pub expires_at: Option<SystemTime>,
    /// When the key replaced the previous one.
    pub rotated_at: Option<SystemTime>,
    /// Why the last rotation failed, until one succeeds or is no longer due, or why a header of the key's
    /// responses is implausible. The last good key stays in use.
    pub last_error: Option<Error>,
}

/// One generation of a key.
///
/// The alignment keeps the reference count in another cache line, or pair of lines that a processor
/// fetches at once. A thread with more than 8 guards changes the count for each further one, which would
/// slow down all threads that read the key.
#[repr(align(128))]
pub(crate) struct KeyGeneration {
    pub(crate) value: SecretValue,
    pub(crate) generation: u64,
    /// Counts the keys that this process has used, also those that an operator has stored.
    pub(crate) serial: u64,
    pub(crate) fingerprint: Fingerprint,
    /// The key as a header, once a request has needed it.
    pub(super) header: CachedHeader,
    /// Dropped with the last request that carries the key.
    _in_flight: oneshot::Sender<()>,
}

impl KeyGeneration {
    pub(crate) fn new(
        value: SecretValue,
        generation: u64,
        serial: u64,
        fingerprint: Fingerprint,
    ) -> (Self, Drained) {
        let (in_flight, drained) = oneshot::channel();
        let header = CachedHeader::default();
        (Self { value, generation, serial, fingerprint, header, _in_flight: in_flight }, drained)
    }
}

/// A handle of a key that is replaced while it is in use. Clones share the key.
#[derive(Clone)]
pub struct RotatingKey(pub(crate) Arc<SharedKey>);

/// The state that a key's handles share with the task that rotates it.
///
/// Aligned as [`KeyGeneration`] is: a service that clones its handle for each request changes the
/// reference count, which would slow down all threads that acquire the key.
#[repr(align(128))]
pub(crate) struct SharedKey {
    pub(crate) current: ArcSwap<KeyGeneration>,
    /// The previous key, while the store holds it. It tracks no requests.
    pub(crate) previous: ArcSwapOption<KeyGeneration>,
    pub(crate) state: watch::Sender<KeyState>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) checks: StoreChecks,
    pub(crate) headers: ExpiryHeaders,
    /// Whether the task has received an implausible header of this key's responses.
    pub(crate) has_reported_implausible: AtomicBool,
    /// How many responses were observed.
    #[cfg(test)]
    pub(crate) observed: std::sync::atomic::AtomicU64,
}

/// A command for the task that rotates a key.
pub(crate) enum Command {
    /// Replace the key.
    Rotate(Answer),
    /// Replace the key and revoke it.
    RotateCompromised(Answer),
    /// A response reports when the key expires.
    ObserveExpiry { serial: u64, at: SystemTime },
    /// A response reports an implausible expiry.
    ObserveImplausible { serial: u64, why: &'static str },
    /// Read the store: a request was refused.
    CheckStore,
}

impl SharedKey {
    pub(crate) fn new(
        current: KeyGeneration,
        state: KeyState,
        commands: mpsc::Sender<Command>,
        headers: ExpiryHeaders,
    ) -> Self {
        Self {
            current: ArcSwap::from_pointee(current),
            previous: ArcSwapOption::empty(),
            state: watch::Sender::new(state),
            commands,
            checks: StoreChecks::default(),
            headers,
            has_reported_implausible: AtomicBool::new(false),
            #[cfg(test)]
            observed: std::sync::atomic::AtomicU64::new(0),
        }
    }
}

impl RotatingKey {
    /// Returns the current key for one request. Never waits.
    ///
    /// Keep the guard until the response has been read: as long as it is kept, the key is not revoked
    /// (within [`drain_timeout`](super::RotationPolicy::drain_timeout)).
    #[must_use]
    #[inline]
    pub fn acquire(&self) -> KeyGuard {
        KeyGuard(self.0.current.load())
    }

    /// Returns the previous key until it is revoked, for verifiers of signatures and webhooks, which have to
    /// accept what was signed just before the rotation. Never waits, and does not delay the revocation.
    ///
    /// A verifier in another instance may receive signatures by a key that it has not noticed yet. Before you
    /// reject one, call [`refresh_after_rejection`](Self::refresh_after_rejection) and verify once more.
    ///
    /// # Examples
    /// ```
    /// # fn verify(_key: &str, _body: &[u8], _tag: &[u8]) -> bool { true }
    /// # fn check(key: &strongroom_rotation::RotatingKey, body: &[u8], tag: &[u8])
    /// # -> strongroom_core::Result<bool> {
    /// let is_genuine = verify(key.acquire().expose_text()?, body, tag);
    /// let is_genuine = is_genuine
    ///     || match key.previous() {
    ///         Some(previous) => verify(previous.expose_text()?, body, tag),
    ///         None => false,
    ///     };
    /// # Ok(is_genuine)
    /// # }
    /// ```
    #[must_use]
    pub fn previous(&self) -> Option<KeyGuard> {
        self.0.previous.load_full().map(|previous| KeyGuard(Guard::from_inner(previous)))
    }

    /// Whether this key is still the current one.
    #[must_use]
    pub fn is_current(&self, guard: &KeyGuard) -> bool {
        self.0.current.load().serial == guard.generation_of().serial
    }

    /// Replaces the key now, and returns the new generation as soon as this instance uses it. The old key
    /// is revoked afterwards, in the background. A running rotation ends first.
    ///
    /// # Errors
    /// The error of the issuer or the store: the last good key stays in use.
    /// [`Closed`](strongroom_core::ErrorKind::Closed) once the key is removed from its engine, or the
    /// engine is shut down.
    pub async fn rotate(&self) -> Result<u64> {
        self.ask(Command::Rotate).await
    }

    /// Replaces a compromised key now, and returns the new generation once the old key is revoked.
    ///
    /// The old key is revoked as soon as this instance uses the new one. The engine waits neither for
    /// requests in flight, nor for other instances, nor for other keys that are being replaced. Requests
    /// with the old key are refused until their instance has noticed the new one: the layer and the
    /// middleware of this crate read the store after a refusal and send the request once more;
    /// [`refresh_after_rejection`](Self::refresh_after_rejection) does so by hand. Otherwise an instance
    /// notices within a third of
    /// [`propagation_timeout`](super::RotationPolicy::propagation_timeout). If another instance is getting
    /// a key already, this call waits for its
    /// [`attempt_lease`](super::RotationPolicy::attempt_lease) at most.
    ///
    /// After an error, the engine keeps trying, also after a restart or in another instance, if the
    /// store could note it. If the store itself replaces the secret, this is the same as
    /// [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate). If the issuer does not revoke the old key, its error: the new key is in use.
    pub async fn rotate_compromised(&self) -> Result<u64> {
        self.ask(Command::RotateCompromised).await
    }

    async fn ask(&self, command: fn(Answer) -> Command) -> Result<u64> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.send(command(answer)).await.map_err(|_| not_managed_error())?;
        answered.await.unwrap_or_else(|_| Err(not_managed_error()))
    }

    /// Reads from the headers of a response when the key expires. If that is soon, the engine replaces the
    /// key in the background, once. Never waits. Pass the headers of responses to requests with the
    /// current key.
    pub fn observe(&self, headers: &http::HeaderMap) {
        #[cfg(test)]
        self.0.observed.fetch_add(1, Relaxed);
        let has_reported_implausible = self.0.has_reported_implausible.load(Relaxed);
        let serial = self.0.current.load().serial;
        let command = match self.0.headers.read(headers, clock::wall()) {
            ExpiryObservation::Nothing => return,
            ExpiryObservation::Expiry { at, .. }
                if self.repeats_expiry(at) && !has_reported_implausible =>
            {
                return;
            }
            ExpiryObservation::Expiry { at, .. } => Command::ObserveExpiry { serial, at },
            ExpiryObservation::Implausible { .. } if has_reported_implausible => return,
            ExpiryObservation::Implausible { why, .. } => {
                Command::ObserveImplausible { serial, why }
            }
        };
        let is_implausible = matches!(command, Command::ObserveImplausible { .. });
        // A busy task receives it with the next response.
        let is_sent = self.0.commands.try_send(command).is_ok();
        if is_sent && is_implausible {
            self.0.has_reported_implausible.store(true, Relaxed);
        }
    }

    /// Observes the response to a request that carried this key, unless the key has been replaced.
    pub fn observe_response(&self, guard: &KeyGuard, headers: &http::HeaderMap) {
        if self.is_current(guard) {
            self.observe(headers);
        }
    }

    /// Reads the store for a newer key in the background, as after a 401 to the current one. Never waits.
    pub fn check_store(&self) {
        let _ = self.0.commands.try_send(Command::CheckStore);
    }

    /// Call this after a service rejected this key. Returns whether there is another key to try.
    ///
    /// If the key is the current one here, another instance may have replaced it and revoked it: this call
    /// reads the store first, which takes 2 seconds at most. Fruitless reads become rarer, up to one in 8
    /// seconds, and calls do not wait for the next one then, nor while a read is late. A store that reads from a
    /// replica may show the newer key later, within the bound of the replica.
    pub async fn refresh_after_rejection(&self, rejected: &KeyGuard) -> bool {
        if self.is_current(rejected) {
            self.wait_for_store_check().await;
        }
        !self.is_current(rejected)
    }

    /// Requests a read of the store, and waits for it for a limited time.
    pub(super) fn wait_for_store_check(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.0);
        let next = shared.checks.next();
        let sent = shared.commands.try_send(Command::CheckStore);
        // A busy task reads the store when it can.
        let is_managed = !matches!(sent, Err(TrySendError::Closed(_)));
        async move {
            if is_managed && !next.await {
                shared.checks.give_up();
            }
        }
    }

    /// Whether a response reports the same expiry as the previous one, apart from rounding.
    fn repeats_expiry(&self, expiry: SystemTime) -> bool {
        let known = self.0.state.borrow().expires_at;
        known.is_some_and(|known| {
            let apart = known.duration_since(expiry).or_else(|_| expiry.duration_since(known));
            apart.is_ok_and(|apart| apart < SAME_EXPIRY_WINDOW)
        })
    }

    /// The current state of the key.
    #[must_use]
    pub fn state(&self) -> KeyState {
        self.0.state.borrow().clone()
    }

    /// Receives each change of the state.
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
pub struct KeyGuard(Guard<Arc<KeyGeneration>>);

impl KeyGuard {
    /// The key, masked.
    #[must_use]
    #[inline]
    pub fn value(&self) -> &SecretValue {
        &self.generation_of().value
    }

    /// The key's text, in the clear.
    ///
    /// # Errors
    /// [`WrongType`](strongroom_core::ErrorKind::WrongType) if it is not UTF-8.
    pub fn expose_text(&self) -> Result<&str> {
        self.generation_of().value.expose_text()
    }

    /// How often the key was replaced before it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation_of().generation
    }

    /// Stands for the key in logs.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.generation_of().fingerprint
    }

    pub(super) fn header(&self) -> &CachedHeader {
        &self.generation_of().header
    }

    #[inline]
    fn generation_of(&self) -> &KeyGeneration {
        &self.0
    }
}

impl KeyHeader {
    /// Puts a key into the headers of a request, and replaces all values that the header has there.
    ///
    /// Keep the guard until the response has been read.
    ///
    /// # Errors
    /// [`WrongType`](ErrorKind::WrongType) if the key cannot be in a header: it is empty, is not
    /// printable ASCII, or begins or ends with a space. [`InvalidInput`](ErrorKind::InvalidInput) if the
    /// request already has the maximum number of headers.
    pub fn put(&self, guard: &KeyGuard, headers: &mut http::HeaderMap) -> Result<()> {
        let value = guard.header().value(self, guard.value())?;
        match headers.try_insert(self.name().clone(), value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::InvalidInput, "send fewer headers")),
        }
    }
}

impl fmt::Debug for KeyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGuard(generation {}, {})", self.generation(), self.fingerprint())
    }
}

fn not_managed_error() -> Error {
    Error::new(ErrorKind::Closed, "add it to a rotation engine, and keep the engine")
        .because("no rotation engine manages the key any more")
}

#[cfg(test)]
mod tests;
