//! Secrets that the store replaces by its own means.

use crate::decide::Step;
use crate::rules::REQUEST_CHECK;
use crate::{Call, Cause, Effect, Goal, Next, Pending, Phase};

impl Step<'_> {
    /// Has the store replace the secret, and waits until it has.
    pub(crate) fn request(&mut self) -> Next {
        let generation = self.me.in_use.generation;
        let until = match self.me.phase {
            Phase::Requested { until } => Some(until),
            _ => None,
        };
        let Some(wanted) = self.me.goal.replace else {
            if until.is_some_and(|until| until.has_come(self.now.at)) {
                self.me.phase = Phase::Idle;
            }
            return if self.may_act() { self.rest() } else { Next::Rest };
        };
        if generation > wanted {
            (self.me.goal, self.me.phase) = (Goal::default(), Phase::Idle);
            self.effects.push(Effect::Finished { generation });
            return self.rest();
        }
        match until {
            None if !self.may_act() => Next::Rest,
            None => {
                self.effects.push(Effect::Started);
                self.me.pending = Pending::Request;
                let limit = self.rules.attempt_lease;
                self.me.phase = Phase::Requested { until: self.now.at.after(limit) };
                Next::Call(Call::Request { limit })
            }
            Some(until) if !until.has_come(self.now.at) => self.await_request(),
            Some(_) => {
                self.me.phase = Phase::Idle;
                self.back_off(Cause::NotReplaced, self.next_pause(None))
            }
        }
    }

    pub(crate) fn await_request(&self) -> Next {
        Next::wait(self.now.at.after(REQUEST_CHECK))
    }
}
