//! The cases of the backend contract, run for each backend.
//!
//! A backend plugs in with a [`Target`], which opens a fresh store for each case, and a test
//! target with `harness = false`:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use strongroom_core::{Capabilities, MemoryBackend, async_trait};
//! use strongroom_testkit::conformance::{self, Fixture, Target};
//!
//! struct Memory;
//!
//! #[async_trait]
//! impl Target for Memory {
//!     fn name(&self) -> &'static str {
//!         "memory"
//!     }
//!
//!     fn expected_capabilities(&self) -> Capabilities {
//!         Capabilities::none() // written out, not taken from the backend
//!     }
//!
//!     async fn open(&self) -> Fixture {
//!         Fixture::new(MemoryBackend::new())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     conformance::main(vec![Box::new(Memory)])
//! }
//! ```
//!
//! Every case is named `target::case`. A case runs if the expected capabilities of the target include the
//! capabilities that it needs. For each capability that a target lacks, other cases check that its
//! operations return `Unsupported`. No capability goes unchecked. A target that stands for another store, such
//! as an emulator, lists the cases that it fails, and how; see [`Deviation`].

mod cases;
mod expect;
mod fixture;
mod runner;
mod unsupported;
mod witnessed;

use futures_util::future::LocalBoxFuture;
use strongroom_core::{Capabilities, Capability, async_trait};

pub use fixture::Fixture;
pub use runner::main;

/// A backend to run the cases against.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// The first part of the names of its cases.
    fn name(&self) -> &'static str;

    /// The capabilities that the backend must declare. A case compares them, so declaring fewer fails.
    fn expected_capabilities(&self) -> Capabilities;

    /// The cases that the target's server fails, because it differs from the store that it stands for.
    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }

    /// Opens an empty store, or an unused prefix in a shared store; see [`Fixture::below`].
    async fn open(&self) -> Fixture;

    /// Opens a store that contains `seeds`. A read-only target overrides this.
    /// The path of a seed is [`Fixture::DEFAULT_PREFIX`] and, below it, [`Seed::path`].
    async fn open_seeded(&self, seeds: &[Seed]) -> Fixture {
        let store = self.open().await;
        for seed in seeds {
            store.put(seed.path, seed.text).await;
        }
        store
    }
}

/// A case that a server fails in a known way. Another failure is a failure of the test, and so is a case that
/// passes although the server always differs: the list then no longer says how.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    case: &'static str,
    difference: &'static str,
    message: &'static str,
    may_pass: bool,
}

impl Deviation {
    /// A case that always fails, with a message that has `message` as a part; `difference` says what the server
    /// does differently, as the guide says it.
    #[must_use]
    pub const fn always(
        case: &'static str,
        difference: &'static str,
        message: &'static str,
    ) -> Self {
        Self { case, difference, message, may_pass: false }
    }

    /// A case whose concurrent calls decide whether it fails.
    #[must_use]
    pub const fn sometimes(
        case: &'static str,
        difference: &'static str,
        message: &'static str,
    ) -> Self {
        Self { case, difference, message, may_pass: true }
    }
}

/// A text secret that exists before a case starts.
#[derive(Clone, Copy)]
pub struct Seed {
    /// The path, below the fixture's prefix.
    pub path: &'static str,
    /// The value: any text, with line breaks, quotes and characters beyond ASCII.
    pub text: &'static str,
}

/// One case of the contract.
struct Case {
    name: &'static str,
    needs: &'static [Capability],
    seeds: &'static [Seed],
    run: Run,
}

type Run = for<'a> fn(&'a Fixture) -> LocalBoxFuture<'a, ()>;

impl Case {
    fn runs_with(&self, capabilities: Capabilities) -> bool {
        self.needs.iter().all(|need| capabilities.has(*need))
    }
}

/// Defines a [`Case`] from an async function, the capabilities that it needs and the seeds that it reads.
macro_rules! case {
    ($run:ident, [$($need:ident),*]) => {
        case!($run, [$($need),*], &[])
    };
    ($run:ident, [$($need:ident),*], $seeds:expr) => {
        crate::conformance::Case {
            name: stringify!($run),
            needs: &[$(strongroom_core::Capability::$need),*],
            seeds: $seeds,
            run: |store| Box::pin($run(store)),
        }
    };
}
use case;
