//! The actions that are possible in a world.

use strongroom_rotation_protocol::{Call, Event, Record, Time};

use crate::calls::Fault;
use crate::issuer::Kind;
use crate::world::{Action, Node, Setup, World};

const FAULTS: [Fault; 6] = [
    Fault::Fail,
    Fault::LoseAnswer,
    Fault::WriteLate,
    Fault::ReadPast,
    Fault::Refuse,
    Fault::GiveBrokenKey,
];

impl World {
    /// The possible next actions.
    pub(crate) fn actions(&self, setup: &Setup, actions: &mut Vec<Action>) {
        let mut is_busy = false;
        for (i, node) in self.nodes.iter().enumerate() {
            if node.instance.is_none() {
                actions.push(Action::Restart(i));
                continue;
            }
            if node.stands_still {
                actions.push(Action::Continue(i));
                continue;
            }
            if let Some(call) = &node.call {
                is_busy = true;
                actions.push(Action::Answer(i));
                if self.budget.faults > 0 {
                    self.faults(setup, i, call, actions);
                }
                continue;
            }
            if node.waits_for_drain && !node.in_flight || node.timer.has_come(Time::START) {
                is_busy = true;
                actions.push(Action::Wake(i));
                continue;
            }
            if node.in_flight {
                actions.push(Action::Drain(i));
            }
            if self.budget.rotations > 0 {
                actions.push(Action::Rotate(i));
            }
            if self.budget.compromises > 0 {
                actions.push(Action::RotateCompromised(i));
            }
        }
        let runs = |node: &Node| node.instance.is_some() && !node.stands_still;
        if !is_busy && self.nodes.iter().any(runs) {
            actions.push(Action::Tick);
        }
        if self.late.is_some() {
            actions.push(Action::LandLate);
        }
        // No instance can detect a rollback by an operator between its confirming write and the revocation after
        // it.
        let revokes = |node: &Node| {
            let is_confirmed = matches!(node.answer, Some(Event::Written(_)));
            is_confirmed || matches!(node.call, Some(Call::Revoke { .. }))
        };
        if self.budget.rollbacks > 0 && !self.nodes.iter().any(revokes) {
            let usable = |record: &Record| self.issuer.live.has(record.key);
            let backups = self.backups.iter().enumerate().filter(|(_, record)| usable(record));
            actions.extend(backups.map(|(i, _)| Action::RollBack(i)));
        }
    }

    fn faults(&self, setup: &Setup, i: usize, call: &Call, actions: &mut Vec<Action>) {
        let can = |fault: Fault| match (fault, call) {
            (Fault::Fail, _)
            | (Fault::LoseAnswer, Call::Write(_) | Call::Issue { .. } | Call::Revoke { .. })
            | (Fault::Refuse, Call::Issue { .. } | Call::Revoke { .. }) => true,
            (Fault::WriteLate, Call::Write(_)) => self.late.is_none(),
            (Fault::ReadPast, Call::Read) => !self.past.is_empty(),
            (Fault::GiveBrokenKey, Call::Issue { .. }) => setup.kind != Kind::TwoRoles,
            _ => false,
        };
        actions
            .extend(FAULTS.into_iter().filter(|fault| can(*fault)).map(|it| Action::Fault(i, it)));
        actions.push(Action::Crash(i, false));
        actions.push(Action::StandStill(i, false));
        if !matches!(call, Call::Read | Call::Verify { .. } | Call::List { .. }) {
            actions.push(Action::Crash(i, true));
            actions.push(Action::StandStill(i, true));
        }
    }
}
