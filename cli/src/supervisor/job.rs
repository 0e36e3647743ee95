//! The process group and the session of this process.
//!
//! In a PID namespace, as in a container, both may belong to a process outside, and have the number 0 then.
//! `rustix` has no such ids: its functions panic, or in a release build return an invalid one. So Linux's
//! `/proc/self/stat` tells them.

#[cfg(target_os = "linux")]
use std::fs;

/// The ids that tell which job of a shell this process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    group: i32,
    session: i32,
    /// The group that has the controlling terminal, or -1 without a terminal.
    foreground: i32,
}

impl Job {
    /// The job of this process, unless the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn current() -> Option<Self> {
        parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The job of this process, unless the system does not tell.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn current() -> Option<Self> {
        use rustix::process::{getpgrp, getsid};
        let terminal = std::fs::File::open("/dev/tty").ok();
        let foreground = terminal.and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
        Some(Self {
            group: getpgrp().as_raw_pid(),
            session: getsid(None).ok()?.as_raw_pid(),
            foreground: foreground.map_or(-1, rustix::process::Pid::as_raw_pid),
        })
    }

    /// Whether this process is in the group that leads its session, so that no shell controls it as a job.
    /// Where group and session are outside of the namespace, a shell may be there, too.
    pub(crate) fn is_alone(self) -> bool {
        self.group == self.session && self.session != 0
    }

    /// Whether it has the terminal. If its group and the one that has the terminal are both outside of the
    /// namespace, they count as the same; the kernel suspends a process that errs.
    pub(crate) fn is_foreground(self) -> bool {
        self.group == self.foreground
    }
}

/// The numbers in `/proc/self/stat` (proc(5)), all as the same namespace sees them. The name of the program
/// may hold spaces and parentheses.
#[cfg(target_os = "linux")]
fn parse(stat: &str) -> Option<Job> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut numbers = rest.split_whitespace().skip(2);
    let mut next = || numbers.next()?.parse().ok();
    let (group, session, _terminal, foreground) = (next()?, next()?, next()?, next()?);
    Some(Job { group, session, foreground })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_follow_the_name_of_the_program() {
        let job = parse("12 (a) b (c) S 1 11 10 34816 9 4194304 1 2").unwrap();
        assert_eq!(job, Job { group: 11, session: 10, foreground: 9 });
        assert!(!job.is_alone() && !job.is_foreground());
        let outside = parse("1 (strongroom) R 0 0 0 0 -1 4194304").unwrap();
        assert!(!outside.is_alone() && !outside.is_foreground());
        let leader = parse("10 (strongroom) R 0 10 10 34816 10 4194304").unwrap();
        assert!(leader.is_alone() && leader.is_foreground());
        assert_eq!(parse("12 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_system_tells_the_job_of_this_process() {
        assert!(Job::current().is_some());
    }
}
