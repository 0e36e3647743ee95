//! Where `scan` looks, and how it reports what it has found. The search itself is `strongroom_redact::Scanner`.

mod files;
mod git;
mod places;
mod report;
mod sarif;

pub(crate) use self::files::scan as scan_files;
pub(crate) use self::git::Repository;
pub(crate) use self::places::{environment, shell_history};
pub(crate) use self::report::{Findings, print};
pub(crate) use self::sarif::document as sarif;
