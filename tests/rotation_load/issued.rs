//! What an observer of the engine records: its steps, all keys, and the requests in flight when keys were
//! replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use strongroom::SecretValue;
use strongroom::rotation::{RotationEvent, RotationStep};
use strongroom_testkit::issuer::Issuer;

/// The records of an observer.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// How often each step happened.
    steps: BTreeMap<&'static str, usize>,
    /// Every key that ever worked.
    pub(crate) keys: Vec<SecretValue>,
    /// How many switches to a new key happened while requests carried an older one.
    pub(crate) busy_switches: usize,
    /// How often requests still carried an older key when `drain_timeout` was over.
    pub(crate) cut_short: usize,
}

impl Records {
    /// How often a step happened.
    pub(crate) fn count(&self, step: &str) -> usize {
        self.steps.get(step).copied().unwrap_or_default()
    }

    fn record(&mut self, event: &RotationEvent, issuer: &Issuer) {
        *self.steps.entry(event.step.name()).or_default() += 1;
        // A step happens between the creation and the revocation of each key, so none is missed.
        let live = issuer.live_keys();
        match event.step {
            RotationStep::Switched { .. } => {
                let older = live.split_last().map_or(&[][..], |(_, older)| older);
                let in_flight: usize = older.iter().map(|key| issuer.in_flight(key)).sum();
                self.busy_switches += usize::from(in_flight > 0);
            }
            RotationStep::Drained { timed_out } => self.cut_short += usize::from(timed_out),
            _ => {}
        }
        for key in live {
            if !self.keys.iter().any(|known| known.constant_time_eq(&key)) {
                self.keys.push(key);
            }
        }
    }
}

/// An observer for an engine, and its records.
pub(crate) fn observer(
    issuer: &Arc<Issuer>,
) -> (Arc<Mutex<Records>>, impl Fn(&RotationEvent) + Send + Sync + 'static) {
    let seen = Arc::new(Mutex::new(Records::default()));
    let (recorded, issuer) = (Arc::clone(&seen), Arc::clone(issuer));
    (seen, move |event: &RotationEvent| recorded.lock().unwrap().record(event, &issuer))
}
