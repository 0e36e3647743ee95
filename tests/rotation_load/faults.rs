//! An issuer that fails at random.

use std::time::Duration;

use fastrand::Rng;
use strongroom_testkit::issuer::{Fault, Issuer};

/// How long the engine waits for a response of this issuer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// Replaces the faults of the next requests: up to two for each kind of request.
pub(crate) fn set(issuer: &Issuer, rng: &mut Rng) {
    issuer.clear_faults();
    for _ in 0..rng.usize(0..=2) {
        issuer.next_issues(1, one(rng));
    }
    for _ in 0..rng.usize(0..=2) {
        issuer.next_revocations(1, one(rng));
    }
}

fn one(rng: &mut Rng) -> Fault {
    match rng.u32(0..10) {
        0 => Fault::Status(400),
        1 => Fault::Status(403),
        2 => Fault::Status(500),
        3 => Fault::Status(503),
        4 => Fault::SlowDown(1),
        5 => Fault::Late(CALL_TIMEOUT / 4),
        6 => Fault::Late(CALL_TIMEOUT * 2),
        7 => Fault::LoseAnswer,
        8 => Fault::Hang,
        _ => Fault::ActAndHang,
    }
}
