//! Explores the deliveries of a webhook exhaustively: two processes with one log, each possibly behind it, ending or
//! crashing at any step, on two machines whose clocks differ by more than a lease and run apart or stand still, and an
//! endpoint that fails, refuses, or takes a message whose answer is lost; right processes, and wrong ones that the
//! exploration has to find.

mod world;

use stateright::{Checker as _, HasDiscoveries, Model, Property};

use self::world::{Endpoint, MARGIN, Step, TAKE_OVER, Variant, World, Worlds};

impl Model for Worlds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.last < self.max_records {
            steps.push(Step::Append);
        }
        for i in 0..2 {
            let is_ahead = world.ticks[i] - world.ticks[1 - i] >= self.max_apart;
            if world.ticks[i] < self.max_ticks && !is_ahead {
                steps.push(Step::Tick(i));
            }
        }
        for (i, process) in world.processes.iter().enumerate() {
            let Some(process) = process else {
                steps.push(Step::Restart(i));
                continue;
            };
            if world.disturbances < self.max_disturbances {
                steps.push(Step::Crash(i));
                steps.push(Step::Close(i));
            }
            if !world.is_read_by(process) {
                steps.push(Step::Read(i));
            }
            for endpoint in self.endpoints {
                steps.push(Step::Act(i, *endpoint));
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        self.take(&mut world, step).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no event is skipped", |_: &Self, world: &World| {
                let Some(cursor) = &world.cursor else { return true };
                let first = world.started_after.unwrap_or(u64::MAX).saturating_add(1);
                (first..=cursor.settled_to)
                    .filter(|seq| World::matches(*seq))
                    .all(|seq| world.received(seq) > 0 || world.dead.contains(&seq))
            }),
            Property::always("events arrive in order", |_: &Self, world: &World| world.is_in_order),
            Property::always(
                "two processes never hold the lease",
                |worlds: &Self, world: &World| {
                    // A machine that stood still does not know yet that it has lost the lease.
                    let may_overlap = worlds.max_apart > MARGIN;
                    may_overlap || !(worlds.holds(world, 0) && worlds.holds(world, 1))
                },
            ),
            Property::always(
                "an event is repeated after a disturbance alone",
                |_: &Self, world: &World| {
                    let most = 1 + world.disturbances + world.takeovers;
                    world.counts.iter().all(|count| *count <= most)
                },
            ),
            Property::always(
                "what the log settles is not sent again",
                |_: &Self, world: &World| !world.repeats_settled,
            ),
            Property::sometimes("all events are delivered", |worlds: &Self, world: &World| {
                let cursor = world.cursor.as_ref();
                world.last == worlds.max_records
                    && cursor.is_some_and(|cursor| cursor.settled_to == world.last)
                    && world.dead.is_empty()
                    && u64::from(world.counts.iter().sum::<u8>()) >= worlds.max_records - 2
            }),
            Property::sometimes(
                "a refused event is a dead letter",
                |worlds: &Self, world: &World| {
                    !world.dead.is_empty() && !world.has_expired
                        || !worlds.endpoints.contains(&Endpoint::Refuses)
                },
            ),
            Property::sometimes(
                "an event is given up for its age",
                |worlds: &Self, world: &World| {
                    world.has_expired || !worlds.endpoints.contains(&Endpoint::Fails)
                },
            ),
            Property::sometimes(
                "a process takes over and repeats",
                |worlds: &Self, world: &World| {
                    let may_observe = worlds.max_ticks >= TAKE_OVER;
                    !may_observe || world.takeovers > 0 && world.counts.iter().any(|it| *it > 1)
                },
            ),
        ]
    }
}

fn explore(worlds: Worlds) {
    let start = std::time::Instant::now();
    let checker = worlds.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} steps deep at most, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

/// The log is full when the processes begin, and the endpoint works.
const FULL: Worlds = Worlds {
    variant: Variant::Right,
    endpoints: &[Endpoint::Takes],
    max_records: 4,
    begins_full: true,
    max_ticks: 4,
    max_apart: MARGIN,
    max_disturbances: 1,
};

#[test]
fn a_log_that_grows() {
    explore(Worlds { begins_full: false, max_ticks: 1, ..FULL });
}

#[test]
fn answers_that_are_lost() {
    let endpoints = &[Endpoint::Takes, Endpoint::LosesAnswer];
    explore(Worlds { endpoints, max_ticks: 3, ..FULL });
}

#[test]
fn an_endpoint_that_fails() {
    let endpoints = &[Endpoint::Takes, Endpoint::Fails];
    explore(Worlds { endpoints, max_records: 3, ..FULL });
}

#[test]
fn an_endpoint_that_refuses() {
    explore(Worlds { endpoints: &[Endpoint::Takes, Endpoint::Refuses], max_ticks: 3, ..FULL });
}

#[test]
fn clocks_that_run_apart_as_far_as_the_margin() {
    explore(FULL);
}

#[test]
fn a_machine_that_stands_still() {
    explore(Worlds { max_apart: 4, ..FULL });
}

/// Asserts that the exploration of a wrong process finds a violation of `property`.
fn finds(variant: Variant, property: &'static str) {
    let endpoints = &[Endpoint::Takes, Endpoint::Refuses];
    // What begins at the end needs a log that grows.
    let begins_full = variant != Variant::StartsAtEnd;
    let worlds = Worlds { variant, endpoints, begins_full, ..FULL };
    let finish = HasDiscoveries::AnyOf([property].into());
    let checker = worlds.checker().threads(2).finish_when(finish).spawn_bfs().join();
    assert!(
        checker.discovery(property).is_some(),
        "{variant:?} passes: {:?}",
        checker.discoveries()
    );
}

#[test]
fn finds_progress_before_the_delivery() {
    finds(Variant::SettlesBeforeDelivery, "no event is skipped");
}

#[test]
fn finds_a_dead_letter_that_is_not_recorded() {
    finds(Variant::ForgetsDeadLetters, "no event is skipped");
}

#[test]
fn finds_a_restart_at_the_end_of_the_log() {
    finds(Variant::StartsAtEnd, "no event is skipped");
}

#[test]
fn finds_a_process_that_believes_its_own_claim_for_ever() {
    finds(Variant::TrustsOwnClaim, "two processes never hold the lease");
}

#[test]
fn finds_a_process_that_compares_the_clocks_of_two_machines() {
    finds(Variant::ComparesClocks, "two processes never hold the lease");
}

#[test]
fn finds_a_claim_over_a_cursor_that_was_not_observed() {
    finds(Variant::ClaimsUnobserved, "two processes never hold the lease");
}

#[test]
fn finds_a_process_that_does_not_follow_the_cursor() {
    finds(Variant::IgnoresCursor, "what the log settles is not sent again");
}
