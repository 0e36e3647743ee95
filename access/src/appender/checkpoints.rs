//! Writes checkpoints to a file, and checks the log against those that are there.

use std::path::Path;
use std::time::Duration;

use strongroom_core::Result;
use tracing::error;

use super::Appender;
use crate::log::checkpoint_file::{CheckpointFile, read_last};
use crate::log::verify::check_continues;

impl Appender {
    /// Fails if the log does not continue the last checkpoints of the file; else writes more of them to it.
    pub(crate) fn write_checkpoints_to(&mut self, path: &Path, interval: Duration) -> Result<()> {
        check_continues(&mut *self.store, &self.keys, &read_last(path)?)?;
        self.checkpoint_file = Some(CheckpointFile::open(path.to_owned(), interval, self.tail.0)?);
        Ok(())
    }

    pub(super) fn write_checkpoint_if_due(&mut self) {
        if self.checkpoint_file.as_ref().is_some_and(|file| file.is_due(self.tail.0)) {
            self.write_checkpoint();
        }
    }

    /// Writes a checkpoint of what was added since the last one.
    pub(super) fn write_last_checkpoint(&mut self) {
        if self.checkpoint_file.as_ref().is_some_and(|file| file.is_behind(self.tail.0)) {
            self.write_checkpoint();
        }
        if let Some(file) = self.checkpoint_file.take() {
            file.end();
        }
    }

    fn write_checkpoint(&mut self) {
        let signed = self.sign();
        let Some(file) = &mut self.checkpoint_file else { return };
        match signed {
            Ok((checkpoint, _)) => file.write(&checkpoint, self.tail.0),
            Err(error) => {
                file.postpone();
                error!(%error, "the audit log cannot be signed");
            }
        }
    }
}
