//! Secrets that the store itself replaces.

use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::event::RotationStep;
use super::turn::{Next, Turn};

/// How often the store is looked at for the secret that it was asked to replace.
const LOOK: Duration = Duration::from_secs(1);

impl Turn {
    /// Asks the store to replace the secret, and waits until it has.
    pub(super) async fn delegate(&mut self, may_act: bool) -> Result<Next> {
        let Some(wanted) = self.wanted else {
            self.asked.take_if(|at| at.elapsed() >= self.policy.attempt_lease);
            return Ok(Next::Rest);
        };
        let generation = self.key.held.load().generation;
        if generation > wanted {
            (self.wanted, self.asked) = (None, None);
            self.events.tell(&self.path, RotationStep::Finished { generation });
            return Ok(Next::Rest);
        }
        match self.asked {
            None if !may_act => Ok(Next::Rest),
            None => {
                self.events.tell(&self.path, RotationStep::Started);
                self.asked = Some(Instant::now());
                match self.store.rotate(self.policy.attempt_lease).await {
                    // It may be at it all the same.
                    Err(error) if error.kind() == ErrorKind::Timeout => {}
                    Err(error) => {
                        self.asked = None;
                        return Err(error);
                    }
                    Ok(()) => {}
                }
                Ok(Next::Go)
            }
            Some(at) if at.elapsed() < self.policy.attempt_lease => Ok(Next::Wait(LOOK)),
            Some(_) => {
                self.asked = None;
                Err(Error::new(
                    ErrorKind::Timeout,
                    "see in the store why, or raise `attempt_lease`",
                )
                .because("the store was asked to replace the secret and has not"))
            }
        }
    }
}
