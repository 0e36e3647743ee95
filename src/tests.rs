//! The read path under a clock that tests set forward: every pause is exact, every schedule can be
//! run again.

mod backend;
mod batch;
mod changes;
mod day;
mod file_settings;
mod flight;
mod lifetime;
mod limits;
mod order;
mod refresh;
#[cfg(feature = "rotation")]
mod rotation;
mod runtime;
mod stale;
mod store;
mod watch;
mod writes;
