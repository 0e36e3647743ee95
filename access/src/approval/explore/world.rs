//! The world of the model: a log, two processes, and the steps that they take.

use std::sync::Arc;

use super::{ApprovalCommand, ApprovalEvent, ApprovalRequest, commands};
use crate::approval::Approval;

/// A program around the core. All but the first are wrong in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Right,
    /// Appends wherever the log ends.
    AppendsWithoutCompare,
    /// Reads the new rows after a conflict, but appends the event that it proposed before.
    KeepsProposalAfterConflict,
    /// Trusts a clock that went back.
    TrustsClock,
    /// Acts on its proposal before the append.
    ServesBeforeAppend,
    /// Starts without the rows after the requests.
    ForgetsOnRestart,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) at: i64,
    /// `None` for a row about something else.
    pub(super) event: Option<ApprovalEvent>,
}

/// What a running process believes: the fold of the first `read` rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) read: usize,
    pub(super) newest: i64,
    pub(super) approvals: Vec<Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) log: Vec<Arc<Row>>,
    pub(super) processes: [Option<Arc<Process>>; 2],
    /// How many uses of each request got their secret.
    pub(super) served: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Read(usize),
    /// A process carries a command of the setup out, or logs something else (`None`).
    Act(Act),
    Crash(usize),
    Restart(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Act {
    pub(super) process: usize,
    pub(super) command: Option<usize>,
    pub(super) clock: i64,
    /// Whether the process crashes between the append and what follows it.
    pub(super) crashes: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Worlds {
    pub(super) shell: Shell,
    pub(super) requests: Vec<ApprovalRequest>,
    /// Each command with the request that it is for.
    pub(super) commands: Vec<(usize, ApprovalCommand)>,
    /// How many rows the log has at most.
    pub(super) max_rows: usize,
}

impl Worlds {
    pub(super) fn new(shell: Shell, requests: Vec<ApprovalRequest>, more_rows: usize) -> Self {
        let commands = (0..requests.len()).flat_map(commands).collect();
        let max_rows = requests.len() + more_rows;
        Self { shell, requests, commands, max_rows }
    }

    /// Lets a process carry a command out; `None` if nothing changes.
    pub(super) fn act(&self, world: &World, act: Act) -> Option<World> {
        let process = world.processes[act.process].as_ref()?;
        let now = self.time(process, act.clock);
        let mut row = Row { at: now, event: None };
        let mut used = None;
        if let Some(command) = act.command {
            let (index, command) = &self.commands[command];
            let event = process.approvals[*index].propose(command, now).ok()?;
            used = matches!(event, ApprovalEvent::Used { .. }).then_some(*index);
            row = Row { at: event.at(), event: Some(event) };
        }
        let is_behind = process.read < world.log.len();
        let appends_anyway =
            [Shell::AppendsWithoutCompare, Shell::KeepsProposalAfterConflict].contains(&self.shell);
        let is_refused = is_behind && !appends_anyway;
        if is_refused && act.crashes {
            // There is no append to crash after.
            return None;
        }
        let mut world = world.clone();
        if self.shell == Shell::ServesBeforeAppend
            && let Some(index) = used.take()
        {
            world.served[index] += 1;
        }
        if is_refused {
            // The requester may repeat the command.
            world.read(act.process);
            return Some(world);
        }
        world.log.push(Arc::new(row));
        if act.crashes {
            world.processes[act.process] = None;
            return Some(world);
        }
        if !is_behind || self.shell == Shell::KeepsProposalAfterConflict {
            world.read(act.process);
        }
        if let Some(index) = used {
            world.served[index] += 1;
        }
        Some(world)
    }

    /// The time that a process goes by.
    pub(super) fn time(&self, process: &Process, clock: i64) -> i64 {
        if self.shell == Shell::TrustsClock { clock } else { clock.max(process.newest) }
    }

    pub(super) fn start(&self, log: &[Arc<Row>]) -> Arc<Process> {
        let mut process = Process::new(&self.requests);
        if self.shell == Shell::ForgetsOnRestart {
            process.read = log.len();
        }
        process.read(log);
        Arc::new(process)
    }
}

impl World {
    pub(super) fn read(&mut self, i: usize) {
        if let Some(process) = &mut self.processes[i] {
            Arc::make_mut(process).read(&self.log);
        }
    }
}

impl Process {
    pub(super) fn new(requests: &[ApprovalRequest]) -> Self {
        let approvals = requests.iter().cloned().map(Approval::new).collect();
        Self { read: requests.len(), newest: 0, approvals }
    }

    pub(super) fn read(&mut self, log: &[Arc<Row>]) {
        for row in &log[self.read..] {
            self.newest = self.newest.max(row.at);
            if let Some(event) = &row.event {
                self.approvals.iter_mut().for_each(|approval| approval.apply(event));
            }
        }
        self.read = log.len();
    }
}
