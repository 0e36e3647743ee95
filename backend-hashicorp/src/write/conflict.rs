//! Why the condition of a write does not hold.

use strongroom_core::{Error, ErrorKind};

use crate::response::KvMetadata;

/// What the secret was like before a write whose condition does not hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conflict {
    /// It must not exist, and this is its active version.
    Exists(u64),
    /// It must not exist, and it is deleted.
    IsDeleted,
    /// Another version must be active.
    OtherVersion(u64),
    /// There must be a version, and there is none.
    IsMissing,
    /// The role may not read metadata, or the secret has changed since.
    Unknown,
}

impl Conflict {
    pub(super) fn new(cas: Option<u64>, before: Option<&KvMetadata>) -> Self {
        match (cas, before) {
            (Some(0), Some(before)) if before.is_live() => Self::Exists(before.current_version),
            (Some(0), Some(_)) => Self::IsDeleted,
            (Some(required), Some(before)) if before.current_version != required => {
                Self::OtherVersion(before.current_version)
            }
            (Some(required), None) if required > 0 => Self::IsMissing,
            _ => Self::Unknown,
        }
    }

    /// Says which case a conflict is.
    pub(super) fn explain(self, error: Error) -> Error {
        if error.kind() != ErrorKind::Conflict {
            return error;
        }
        match self {
            Self::Exists(version) => {
                error.because(format!("the secret exists; version {version} is active"))
            }
            Self::IsDeleted => {
                error.because("the secret is deleted, and the store keeps its versions").advise(
                    "undelete it, destroy it, or put without the condition that it must not exist",
                )
            }
            Self::OtherVersion(version) => error.because(format!("version {version} is active")),
            Self::IsMissing => error
                .because("the secret does not exist, or the role may not read its metadata")
                .advise("put under the condition that it must not exist"),
            Self::Unknown => error,
        }
    }
}
