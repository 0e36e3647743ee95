//! The capabilities of a backend, declared as data.

use std::fmt;

/// An operation that not every store has. Every backend has `get` and `health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Writing secrets.
    Put,
    /// Writes with a [`Condition`](crate::Condition), atomic against all other writers.
    Conditions,
    /// Binary values, byte for byte.
    Binary,
    /// Reading earlier versions and listing them.
    Versions,
    /// Making an earlier version the active one.
    Rollback,
    /// Deleting and destroying secrets.
    Delete,
    /// Restoring a deleted secret.
    Undelete,
    /// Listing paths.
    List,
    /// Keeping metadata, with expiry; reading and changing it.
    Metadata,
    /// Rotation by the store itself.
    Rotate,
    /// Reading the version that carries a label.
    Stages,
    /// Giving a role of the writer's agent the right to read, with the write: see
    /// [`PutOptions::scope`](crate::PutOptions::scope).
    Scopes,
}

impl Capability {
    /// Every capability, in order.
    pub const ALL: &'static [Self] = &[
        Self::Put,
        Self::Conditions,
        Self::Binary,
        Self::Versions,
        Self::Rollback,
        Self::Delete,
        Self::Undelete,
        Self::List,
        Self::Metadata,
        Self::Rotate,
        Self::Stages,
        Self::Scopes,
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The set of the capabilities of one backend.
///
/// # Examples
/// ```
/// use strongroom_core::{Capabilities, Capability};
///
/// const READ_ONLY: Capabilities = Capabilities::none().with(Capability::Binary);
/// assert!(!READ_ONLY.has(Capability::Put));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Reading the active version, nothing else.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// This set with one more capability.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// This set with several more capabilities.
    #[must_use]
    pub fn with_all(self, capabilities: &[Capability]) -> Self {
        capabilities.iter().fold(self, |set, capability| set.with(*capability))
    }

    /// Whether the set has this capability.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// The capabilities in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.has(*capability))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
