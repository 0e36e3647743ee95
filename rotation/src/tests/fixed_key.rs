//! Keys that only a test replaces.

use std::sync::Arc;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use strongroom_core::SecretValue;
use tokio::sync::{mpsc, watch};

use crate::key::{Current, Drained, Held, Wish};
use crate::store_checks::Looks;
use crate::{ExpiryHeaders, Fingerprint, KeyState, RotatingKey};

fn held(value: &str, generation: u64) -> (Held, Drained) {
    let value = SecretValue::from(value);
    let fingerprint = Fingerprint::of(&value, b"salt");
    Held::new(value, generation, generation, fingerprint)
}

impl RotatingKey {
    /// A key, and the end of its last request once it is replaced.
    pub(crate) fn fixed(value: &str, generation: u64) -> (Self, Drained) {
        Self::with_wishes(value, generation, mpsc::channel(1).0)
    }

    /// A key that turns out to be replaced, or not, when the store is looked at.
    #[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
    pub(crate) fn looking(value: &str, newer: Option<&'static str>) -> Self {
        let (wishes, mut wished) = mpsc::channel(1);
        let (key, _) = Self::with_wishes(value, 1, wishes);
        let looking = key.clone();
        tokio::spawn(async move {
            while wished.recv().await.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                if let Some(newer) = newer {
                    looking.replace(newer);
                }
                looking.0.looks.release();
            }
        });
        key
    }

    fn with_wishes(value: &str, generation: u64, wishes: mpsc::Sender<Wish>) -> (Self, Drained) {
        let (held, drained) = held(value, generation);
        let state = KeyState {
            generation,
            fingerprint: held.fingerprint.clone(),
            expires_at: None,
            rotated_at: None,
            last_error: None,
        };
        let current = Current {
            held: ArcSwap::from_pointee(held),
            state: watch::Sender::new(state),
            wishes,
            looks: Looks::default(),
            headers: ExpiryHeaders::none(),
            has_complained: AtomicBool::new(false),
            observed: AtomicU64::new(0),
        };
        (Self(Arc::new(current)), drained)
    }

    /// Puts the next generation in place.
    pub(crate) fn replace(&self, value: &str) -> Drained {
        let (next, drained) = held(value, self.0.held.load().generation + 1);
        self.0.state.send_modify(|state| {
            state.generation = next.generation;
            state.fingerprint = next.fingerprint.clone();
        });
        self.0.held.store(Arc::new(next));
        drained
    }

    /// How many responses have been observed.
    #[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
    pub(crate) fn observed(&self) -> u64 {
        self.0.observed.load(Ordering::Relaxed)
    }
}
