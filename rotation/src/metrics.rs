//! Counters and gauges of rotation, through the facade crate `metrics`.
//!
//! The label `secret` is the path of the managed key: there are as many as the program adds.

use std::time::SystemTime;

use strongroom_core::SecretPath;

use super::clock;
use super::event::RotationStep;

/// Counts an event.
pub(crate) fn count(path: &SecretPath, step: &RotationStep) {
    let secret = || path.to_string();
    let counter = match step {
        RotationStep::Switched { .. } => {
            metrics::counter!("strongroom_rotations_total", "secret" => secret())
        }
        RotationStep::Failed { error } => {
            let kind = error.kind().phrase();
            metrics::counter!(
                "strongroom_rotation_failures_total", "secret" => secret(), "kind" => kind
            )
        }
        RotationStep::RevocationFailed { .. } | RotationStep::Orphaned { revoked: None } => {
            metrics::counter!("strongroom_unrevoked_keys_total", "secret" => secret())
        }
        _ => return,
    };
    counter.increment(1);
}

/// Sets the age of the current key and the time until it expires, in seconds. The time is negative after the
/// expiry, and NaN while no expiry is known.
pub(crate) fn set_times(path: &SecretPath, since: SystemTime, expiry: Option<SystemTime>) {
    let now = clock::wall();
    let seconds = |from: SystemTime, to: SystemTime| match to.duration_since(from) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(back) => -back.duration().as_secs_f64(),
    };
    metrics::gauge!("strongroom_key_age_seconds", "secret" => path.to_string())
        .set(seconds(since, now));
    // NaN replaces the figure of an earlier key that had an expiry.
    let left = expiry.map_or(f64::NAN, |expiry| seconds(now, expiry));
    metrics::gauge!("strongroom_key_expires_in_seconds", "secret" => path.to_string()).set(left);
}
