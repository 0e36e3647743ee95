//! Warns of secrets that lists leave out because no path maps to their names.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::excerpt;

/// Whether a list has left out secrets before.
#[derive(Default)]
pub(crate) struct OmittedNames(AtomicBool);

impl OmittedNames {
    /// Logs how many secrets a page leaves out, and the first of them: the first time as a warning, which
    /// names the setting that maps paths to names.
    pub(crate) fn report(&self, names: &[String], setting: &str) {
        let Some(first) = names.first() else { return };
        let (count, first) = (names.len(), excerpt(first));
        if self.0.swap(true, Ordering::Relaxed) {
            tracing::debug!(count, first, "a list leaves out secrets whose names are no paths");
        } else {
            tracing::warn!(
                count,
                first,
                "a list leaves out secrets whose names are no paths: give them paths in `{setting}`; further \
                 pages and lists that leave out secrets are logged at DEBUG"
            );
        }
    }
}
