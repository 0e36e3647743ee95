//! The setups to explore: kinds of issuers, numbers of instances, and numbers of faults.

use std::time::Duration;

use strongroom_rotation_protocol::{Issuer, Rules};

use crate::issuer::Kind::{self, Idempotent, Listing, Opaque, TwoRoles};
use crate::world::{Budget, Setup};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn setup(name: &'static str, kind: Kind, nodes: usize, budget: Budget) -> Setup {
    let rules = Rules {
        issuer: Issuer::Remote { is_idempotent: kind.is_idempotent() },
        drain_timeout: seconds(3),
        propagation_timeout: if nodes > 1 { seconds(30) } else { Duration::ZERO },
        attempt_lease: seconds(20),
        max_read_lag: seconds(5),
        revocation_pause: seconds(120),
    };
    Setup {
        name,
        kind,
        rules,
        nodes,
        budget,
        works_after: Duration::ZERO,
        long_requests: false,
        never_revokes: false,
        mutant: None,
    }
}

const ONE: Budget = Budget { rotations: 1, compromises: 0, rollbacks: 0, faults: 0 };
const COMPROMISE: Budget = Budget { rotations: 0, compromises: 1, rollbacks: 0, faults: 0 };
const ROLLBACK: Budget = Budget { rotations: 1, compromises: 0, rollbacks: 1, faults: 0 };

/// All setups; the deep ones have one more fault.
pub(crate) fn all(is_deep: bool) -> Vec<Setup> {
    let with = |budget: Budget, faults: u8| Budget { faults: faults + u8::from(is_deep), ..budget };
    let slow = |setup: Setup| Setup { works_after: seconds(7), ..setup };
    let never = |setup: Setup| Setup { never_revokes: true, ..setup };
    let long = |setup: Setup| Setup { long_requests: true, ..setup };
    let two = Budget { rotations: 2, ..ONE };
    vec![
        setup("one instance, idempotent", Idempotent, 1, with(ONE, 3)),
        setup("one instance, listing", Listing, 1, with(ONE, 3)),
        setup("one instance, opaque", Opaque, 1, with(ONE, 3)),
        setup("one instance, two rotations", Listing, 1, with(two, 2)),
        setup("one instance, compromised", Listing, 1, with(COMPROMISE, 3)),
        slow(setup("one instance, slow keys", Opaque, 1, with(ONE, 2))),
        long(setup("one instance, long requests", Idempotent, 1, with(ONE, 2))),
        never(setup("one instance, never revoked", Listing, 1, with(two, 1))),
        never(setup("two instances, never revoked", Idempotent, 2, with(ONE, 1))),
        setup("one instance, rolled back", Listing, 1, with(ROLLBACK, 2)),
        setup("two instances, idempotent", Idempotent, 2, with(ONE, 2)),
        setup("two instances, listing", Listing, 2, with(ONE, 2)),
        setup("two instances, opaque", Opaque, 2, with(ONE, 1)),
        setup("two instances, two roles", TwoRoles, 2, with(ONE, 1)),
        setup("two instances, two rotations", Idempotent, 2, with(two, 1)),
        setup("two instances, compromised", Idempotent, 2, with(COMPROMISE, 1)),
        setup(
            "two instances, compromised meanwhile",
            Opaque,
            2,
            with(Budget { compromises: 1, ..ONE }, 0),
        ),
        slow(setup("two instances, slow keys", Listing, 2, with(ONE, 1))),
        long(setup("two instances, long requests", TwoRoles, 2, with(ONE, 1))),
        setup("two instances, rolled back", Idempotent, 2, with(ROLLBACK, 0)),
        slow(setup("two instances, slow repeated keys", Idempotent, 2, with(ONE, 1))),
        setup("three instances, listing", Listing, 3, with(ONE, 1)),
        setup("three instances, idempotent", Idempotent, 3, with(ONE, 1)),
    ]
}
