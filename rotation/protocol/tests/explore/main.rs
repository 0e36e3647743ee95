//! Explores the protocol: everything that two or three instances, a store and an issuer can do, with
//! each fault at each point.
#![expect(clippy::indexing_slicing, clippy::expect_used, reason = "a test stops at a surprise")]
#![expect(clippy::print_stdout, reason = "the exploration tells how much it has visited")]

mod actions;
mod calls;
mod fair;
mod issuer;
mod mutant;
mod setups;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

use fair::Settled;
use mutant::Mutant;
use world::{Action, Setup, World};

/// The depth of explorations in which a rotation does not end.
const DEPTH: usize = 400;

/// All worlds of one setup.
struct Worlds {
    setup: Setup,
    settled: Settled,
}

impl Model for Worlds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.setup)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.facts.violation.is_none() {
            world.actions(&self.setup, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(world.after(&self.setup, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no key is revoked too early", |_, world: &World| {
                world.facts.violation.is_none()
            }),
            Property::always("the key in the store works", |_, world: &World| {
                world.issuer.live.has(world.record.key)
            }),
            Property::always("each rotation costs one key", |worlds: &Self, world: &World| {
                let lost = world.facts.faults + u8::from(world.facts.was_rolled_back);
                let wanted = worlds.setup.budget.rotations - world.budget.rotations
                    + worlds.setup.budget.compromises
                    - world.budget.compromises;
                world.issuer.made.len() <= u32::from(wanted + lost)
            }),
            Property::always("all settles once faults stop", |worlds: &Self, world: &World| {
                worlds.settled.settle(&worlds.setup, world).is_none()
            }),
        ]
    }
}

fn explore(setup: &Setup) -> Result<usize, String> {
    let name = setup.name;
    let start = Instant::now();
    let worlds = Worlds { setup: setup.clone(), settled: Settled::default() };
    let mut checker = worlds.checker().threads(2).finish_when(HasDiscoveries::Any);
    if setup.never_revokes {
        // The engine asks such an issuer repeatedly, so the number of states is infinite.
        checker = checker.target_max_depth(DEPTH);
    }
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{name}: {states} states, {} steps deep at most, {:.1} s",
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    match checker.discoveries().into_iter().next() {
        None => Ok(states),
        Some((property, path)) => {
            let last = path.last_state();
            let why =
                Settled::default().settle(setup, last).or(last.facts.violation).unwrap_or_default();
            let trace = fair::trace(setup, last);
            Err(format!("not so: {property}; {why}\n{path}\n{trace}"))
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each exploration uses both cores.
    arguments.test_threads = Some(1);
    let is_deep = std::env::var_os("STRONGROOM_EXPLORE_DEEP").is_some();
    let states: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let mut trials: Vec<Trial> = setups::all(is_deep)
        .into_iter()
        .map(|setup| {
            Trial::test(setup.name, move || {
                let explored = explore(&setup).map_err(Failed::from)?;
                states.fetch_add(explored, Ordering::Relaxed);
                Ok(())
            })
        })
        .collect();
    trials.extend(Mutant::ALL.into_iter().map(|mutant| {
        Trial::test(format!("finds {mutant:?}"), move || {
            let setup = setups::all(false).into_iter().find(|setup| setup.name == mutant.setup());
            let setup = setup.ok_or("no setup has this name")?;
            let found = explore(&Setup { mutant: Some(mutant), ..setup }).is_err();
            if found { Ok(()) } else { Err("the defect is not found".into()) }
        })
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{} states explored without a defect", states.load(Ordering::Relaxed));
    conclusion.exit_code()
}
