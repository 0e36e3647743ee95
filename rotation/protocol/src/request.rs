//! Secrets that the store itself replaces.

use crate::decide::Step;
use crate::rules::REQUEST_CHECK;
use crate::{Call, Cause, Goal, LocalEffect, Next, Pending, Phase};

impl Step<'_> {
    /// Asks the store to replace the secret, and waits until it has.
    pub(crate) fn request(&mut self) -> Next {
        let generation = self.instance.in_use.generation;
        let until = match self.instance.phase {
            Phase::Requested { until } => Some(until),
            _ => None,
        };
        let Some(wanted) = self.instance.goal.replace else {
            if until.is_some_and(|until| until.has_come(self.now.at)) {
                self.instance.phase = Phase::Idle;
            }
            return if self.is_backoff_over() { self.rest() } else { Next::Rest };
        };
        if generation > wanted {
            (self.instance.goal, self.instance.phase) = (Goal::default(), Phase::Idle);
            self.effects.push(LocalEffect::Finished { generation });
            return self.rest();
        }
        match until {
            None if !self.is_backoff_over() => Next::Rest,
            None => {
                self.effects.push(LocalEffect::Started);
                self.instance.pending = Pending::Request;
                let limit = self.rules.attempt_lease;
                self.instance.phase = Phase::Requested { until: self.now.at.after(limit) };
                Next::Call(Call::Request { limit })
            }
            Some(until) if !until.has_come(self.now.at) => self.await_request(),
            Some(_) => {
                self.instance.phase = Phase::Idle;
                self.back_off(Cause::NotReplaced, self.next_pause(None))
            }
        }
    }

    pub(crate) fn await_request(&self) -> Next {
        Next::wait(self.now.at.after(REQUEST_CHECK))
    }
}
