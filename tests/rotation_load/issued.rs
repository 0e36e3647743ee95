//! What an engine does, seen from its steps: which keys there ever were, and what was under way when
//! they were replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use strongroom::SecretValue;
use strongroom::rotation::{RotationEvent, RotationStep};
use strongroom_testkit::issuer::Issuer;

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each step was made.
    steps: BTreeMap<&'static str, usize>,
    /// Every key that ever worked.
    pub(crate) keys: Vec<SecretValue>,
    /// How many switches to a new key found requests under way with an older one.
    pub(crate) busy_switches: usize,
    /// How often requests with an older key had not ended within the time for that.
    pub(crate) cut_short: usize,
}

impl Seen {
    /// How often a step was made.
    pub(crate) fn count(&self, step: &str) -> usize {
        self.steps.get(step).copied().unwrap_or_default()
    }

    fn note(&mut self, event: &RotationEvent, issuer: &Issuer) {
        *self.steps.entry(event.step.name()).or_default() += 1;
        // Between the moment when a key is made and the one when it is revoked, there is a step.
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

/// An observer for an engine, and what it notes.
pub(crate) fn observer(
    issuer: &Arc<Issuer>,
) -> (Arc<Mutex<Seen>>, impl Fn(&RotationEvent) + Send + Sync + 'static) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (noted, issuer) = (Arc::clone(&seen), Arc::clone(issuer));
    (seen, move |event: &RotationEvent| noted.lock().unwrap().note(event, &issuer))
}
