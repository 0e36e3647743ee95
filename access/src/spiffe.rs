//! SPIFFE IDs: the names of workloads.

mod pattern;
mod template;

use std::borrow::Cow;

use strongroom_core::{Error, ErrorKind};

pub use self::pattern::SpiffePattern;
pub use self::template::SpiffeTemplate;
pub use strongroom_core::SpiffeId;

pub(crate) const SCHEME: &str = "spiffe://";

fn error(advice: impl Into<Cow<'static, str>>, what: &str, rule: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, advice).because(format!("not a {what}: {rule}"))
}
