//! `__supervised`: becomes the command of `run`, or the leader of its session.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use clap::Args;

use super::Run;
use crate::child::{Inheritance, Program, forbid_core_dumps};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::supervisor;

/// Run a command below `strongroom run`
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Supervised {
    /// Lead a session whose terminal is standard output
    #[arg(long)]
    terminal: bool,
    /// The process id of the supervisor
    #[arg(long, value_name = "PID")]
    supervisor: i32,
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Run for Supervised {
    async fn run(self, _context: &Context) -> Outcome {
        // If the supervisor is killed, the command ends too.
        #[cfg(target_os = "linux")]
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
        // It may have been killed before, and then no signal comes.
        if rustix::process::getppid() != rustix::process::Pid::from_raw(self.supervisor) {
            return Ok(Exit::NOT_STARTED);
        }
        forbid_core_dumps();
        let program = Program::new(&self.command, Inheritance::All)?;
        if self.terminal {
            return supervisor::lead_session(&program).await;
        }
        let error = program.command().exec();
        Err(program.failure(&error))
    }
}
