//! The rotations of secrets, as the log records them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::Access;
use crate::event::{Context, Draft, Event};

/// The longest text of an error, in bytes.
const MAX_ERROR: usize = 1024;

/// A step of a rotation, or what interrupts one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RotationStage {
    /// The key expires soon.
    Expiring,
    /// The key is due for replacement.
    Due,
    /// An attempt to get a new key has started.
    Started,
    /// The issuer has issued a new key.
    Issued,
    /// The new key is stored.
    Stored,
    /// New requests use the new key.
    Switched,
    /// No request carries the old key any more.
    Drained,
    /// The old key is revoked.
    Revoked,
    /// An old key is not revoked.
    RevocationFailed,
    /// The issuer may have issued a key that the store does not hold.
    Orphaned,
    /// The rotation is over.
    Finished,
    /// A step failed, and is tried again.
    Failed,
}

/// Each stage, with its name and that of its event.
const STAGES: [(RotationStage, &str, &str); 12] = [
    (RotationStage::Expiring, "expiring", "rotation.expiring"),
    (RotationStage::Due, "due", "rotation.due"),
    (RotationStage::Started, "started", "rotation.started"),
    (RotationStage::Issued, "issued", "rotation.issued"),
    (RotationStage::Stored, "stored", "rotation.stored"),
    (RotationStage::Switched, "switched", "rotation.switched"),
    (RotationStage::Drained, "drained", "rotation.drained"),
    (RotationStage::Revoked, "revoked", "rotation.revoked"),
    (RotationStage::RevocationFailed, "revocation_failed", "rotation.revocation_failed"),
    (RotationStage::Orphaned, "orphaned", "rotation.orphaned"),
    (RotationStage::Finished, "finished", "rotation.finished"),
    (RotationStage::Failed, "failed", "rotation.failed"),
];

impl RotationStage {
    /// The name, as the rotation engine's logs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The name of its event.
    pub(crate) fn event(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (Self, &'static str, &'static str) {
        let found = STAGES.iter().find(|(stage, ..)| *stage == self);
        found.copied().unwrap_or((self, "unknown", "rotation.unknown"))
    }
}

impl fmt::Display for RotationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RotationStage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = STAGES.iter().find(|(_, name, _)| *name == text);
        found.map(|(stage, ..)| *stage).ok_or_else(|| {
            let names: Vec<_> = STAGES.iter().map(|(_, name, _)| *name).collect();
            Error::new(ErrorKind::InvalidInput, format!("use one of: {}", names.join(" ")))
                .because("not a step of a rotation")
        })
    }
}

/// What is recorded about a rotation. It never holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationRecord {
    /// The step.
    pub stage: RotationStage,
    /// The generation of the key that the step is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Why a step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RotationRecord {
    /// A step without details.
    #[must_use]
    pub fn new(stage: RotationStage) -> Self {
        Self { stage, generation: None, error: None }
    }

    /// Names the generation of the key.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Says why the step failed: at most 1,024 bytes are kept.
    #[must_use]
    pub fn error(mut self, error: &Error) -> Self {
        let mut text = error.to_string();
        let end = (0..=MAX_ERROR.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        self.error = Some(text);
        self
    }
}

impl Access {
    /// Records a step of the rotation of a secret as `rotation.*`, with the next batch: nothing waits for it. `path` is
    /// the whole path in the store. The facade's `record_rotations` makes an observer of the rotation engine of it.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the rules are closed.
    pub fn record_rotation(&self, path: &SecretPath, record: RotationRecord) -> Result<()> {
        let (tenant, path) = match self.0.tenant_of(path) {
            Some((tenant, path)) => (Some(tenant), path),
            // It is for the host alone.
            None => (None, path.to_string()),
        };
        self.0.note(Draft {
            tenant,
            principal: "rotation".to_owned(),
            path: Some(path),
            context: Context::default(),
            event: Event::Rotation(record),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_one_name_everywhere() {
        for (stage, name, event) in STAGES {
            assert_eq!(name.parse::<RotationStage>().unwrap(), stage);
            assert_eq!(serde_json::to_value(stage).unwrap(), name);
            assert_eq!(event, format!("rotation.{name}"));
        }
        assert_eq!("done".parse::<RotationStage>().unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = Error::new(ErrorKind::Internal, "ä".repeat(1000));
        let record = RotationRecord::new(RotationStage::Failed).error(&error);
        assert!(record.error.unwrap().len() <= MAX_ERROR);
    }
}
