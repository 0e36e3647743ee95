//! Counters and gauges of rotation, through the facade crate `metrics`. Without its feature they cost
//! nothing.
//!
//! The label `secret` is the path of the managed key: there are as many as the program adds.

use std::time::SystemTime;

use strongroom_core::SecretPath;

use super::event::RotationStep;

/// Counts what an event tells.
pub(crate) fn count(path: &SecretPath, step: &RotationStep) {
    #[cfg(feature = "metrics")]
    {
        let secret = path.to_string();
        match step {
            RotationStep::Switched { .. } => {
                metrics::counter!("strongroom_rotations_total", "secret" => secret).increment(1);
            }
            RotationStep::Failed { error } => {
                let kind = error.kind().phrase();
                metrics::counter!(
                    "strongroom_rotation_failures_total", "secret" => secret, "kind" => kind
                )
                .increment(1);
            }
            RotationStep::RevocationFailed { .. } | RotationStep::Orphaned { revoked: None } => {
                metrics::counter!("strongroom_unrevoked_keys_total", "secret" => secret)
                    .increment(1);
            }
            _ => {}
        }
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (path, step);
}

/// Sets the age of the current key and the time until it expires, in seconds. A negative time is how long
/// ago it expired; it is not a number while no expiry is known.
pub(crate) fn set_times(path: &SecretPath, since: SystemTime, expiry: Option<SystemTime>) {
    #[cfg(feature = "metrics")]
    {
        let now = super::clock::wall();
        let seconds = |from: SystemTime, to: SystemTime| match to.duration_since(from) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        metrics::gauge!("strongroom_key_age_seconds", "secret" => path.to_string())
            .set(seconds(since, now));
        // A key without a known expiry must not keep the figure of the one before.
        let left = expiry.map_or(f64::NAN, |expiry| seconds(now, expiry));
        metrics::gauge!("strongroom_key_expires_in_seconds", "secret" => path.to_string())
            .set(left);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (path, since, expiry);
}
