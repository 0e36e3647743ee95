//! The cache under a model checker: `shuttle` runs the real read path with threads that it schedules itself, and
//! tries many interleavings of their steps.
//!
//! The tests in `tests/` are compiled only under `cfg(shuttle)`; `cargo xtask test` runs them.
