//! `run` and `redact` with the real binary: in place of the command, below a supervisor, and behind a
//! pseudo-terminal.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

#[path = "run/environment.rs"]
mod environment;
#[path = "run/exec.rs"]
mod exec;
#[path = "run/files.rs"]
mod files;
#[path = "run/filter.rs"]
mod filter;
#[path = "run/job_control.rs"]
mod job_control;
#[path = "run/known.rs"]
mod known;
#[path = "run/namespace.rs"]
mod namespace;
#[path = "run/session.rs"]
mod session;
#[path = "run/supervised.rs"]
mod supervised;
mod support;
#[path = "run/watch.rs"]
mod watch;
