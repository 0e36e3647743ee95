//! Keys without an engine, which a test replaces.

use std::sync::Arc;
#[cfg(any(feature = "reqwest", feature = "tower"))]
use std::sync::atomic::Ordering;

use strongroom_core::SecretValue;
use tokio::sync::mpsc;

use crate::drain::Drained;
use crate::key::{Command, KeyGeneration, SharedKey};
use crate::{ExpiryHeaders, Fingerprint, KeyState, RotatingKey};

fn generation(value: &str, number: u64) -> (KeyGeneration, Drained) {
    let value = SecretValue::from(value);
    let fingerprint = Fingerprint::of(&value, b"salt");
    KeyGeneration::new(value, number, number, fingerprint)
}

impl RotatingKey {
    /// A key, and the signal that no request carries it once it is replaced.
    pub(crate) fn fixed(value: &str, generation: u64) -> (Self, Drained) {
        Self::with_commands(value, generation, mpsc::channel(1).0)
    }

    /// A key that a read of the store replaces with `newer`, or leaves as it is.
    #[cfg(any(feature = "reqwest", feature = "tower"))]
    pub(crate) fn looking(value: &str, newer: Option<&'static str>) -> Self {
        let (commands, mut received) = mpsc::channel(1);
        let (key, _) = Self::with_commands(value, 1, commands);
        let looking = key.clone();
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                if let Some(newer) = newer {
                    looking.replace(newer);
                }
                looking.0.checks.release();
            }
        });
        key
    }

    fn with_commands(value: &str, number: u64, commands: mpsc::Sender<Command>) -> (Self, Drained) {
        let (current, drained) = generation(value, number);
        let state = KeyState {
            generation: number,
            fingerprint: current.fingerprint.clone(),
            expires_at: None,
            rotated_at: None,
            last_error: None,
        };
        let shared = SharedKey::new(current, state, commands, ExpiryHeaders::none());
        (Self(Arc::new(shared)), drained)
    }

    /// Replaces the key with the next generation.
    pub(crate) fn replace(&self, value: &str) -> Drained {
        let (next, drained) = generation(value, self.0.current.load().generation + 1);
        self.0.state.send_modify(|state| {
            state.generation = next.generation;
            state.fingerprint = next.fingerprint.clone();
        });
        self.0.current.store(Arc::new(next));
        drained
    }

    /// How many responses have been observed.
    #[cfg(any(feature = "reqwest", feature = "tower"))]
    pub(crate) fn observed(&self) -> u64 {
        self.0.observed.load(Ordering::Relaxed)
    }
}
