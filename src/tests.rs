//! The read path under a clock that tests set forward: every pause is exact, every schedule can be
//! run again.

mod bounds;
mod day;
mod flight;
mod lifetime;
mod many;
mod refresh;
mod runtime;
mod stale;
mod store;
mod watch;
mod writes;
