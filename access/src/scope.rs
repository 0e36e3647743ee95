//! What a token may do at all.

use std::fmt;

use strongroom_core::{Error, ErrorKind, Result};

use crate::text::impl_text;
use crate::{Actions, PathPattern};

/// A part of what a token permits, as text `resource:actions[:pattern]`.
///
/// | text | permits |
/// |---|---|
/// | `secrets:read+list:production/**` | these [`Action`](crate::Action)s on secrets whose paths the pattern matches; `*` for every action |
/// | `grants:read`, `grants:write` | seeing, or creating and deleting as well, the grants on paths that the pattern covers |
/// | `tokens:read`, `tokens:write` | seeing, or issuing and revoking as well, tokens |
/// | `approvals:decide` | deciding requests for the paths that the pattern matches |
/// | `audit:read` | reading the audit |
///
/// `secrets`, `grants` and `approvals` take a [`PathPattern`]; without one they stand for every path. There is no
/// wildcard for the resource.
///
/// # Examples
/// ```
/// use strongroom_access::Scope;
///
/// let scope = Scope::parse("secrets:read+list:production/**")?;
/// assert!(scope.covers(&Scope::parse("secrets:read:production/openai/*")?));
/// assert!(!scope.covers(&Scope::parse("secrets:write:production/openai/*")?));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Secrets.
    Secrets {
        /// What may be done.
        actions: Actions,
        /// On which paths.
        pattern: PathPattern,
    },
    /// Grants.
    Grants {
        /// Whether they may be changed.
        access: RuleAccess,
        /// On paths that this pattern covers.
        pattern: PathPattern,
    },
    /// Tokens.
    Tokens {
        /// Whether they may be issued and revoked.
        access: RuleAccess,
    },
    /// Decisions on requests for approval.
    Approvals {
        /// For which paths.
        pattern: PathPattern,
    },
    /// Reading the audit.
    Audit,
}

/// What may be done with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RuleAccess {
    /// Seeing them.
    Read,
    /// Seeing, creating and deleting them.
    Write,
}

impl RuleAccess {
    /// The name in scopes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Whether this access includes `other`; writing includes reading.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self >= other
    }

    fn parse(text: &str, advice: &'static str) -> Result<Self> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(invalid("unknown action of a scope", advice)),
        }
    }
}

impl fmt::Display for RuleAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scope {
    /// Parses a scope.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]; for an unknown resource or action it lists those there are. The text itself is
    /// not repeated: it may be a value that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        // A path may contain `:`.
        let mut parts = text.splitn(3, ':');
        let resource = parts.next().unwrap_or_default();
        let actions = parts.next().unwrap_or_default();
        let pattern = parts.next();
        let path_pattern =
            || pattern.map_or_else(|| Ok(PathPattern::everything()), PathPattern::parse);
        let scope = match resource {
            "secrets" => {
                return Ok(Self::Secrets { actions: actions.parse()?, pattern: path_pattern()? });
            }
            "grants" => {
                let advice = "use `grants:read` or `grants:write`; writing includes reading";
                let access = RuleAccess::parse(actions, advice)?;
                return Ok(Self::Grants { access, pattern: path_pattern()? });
            }
            "approvals" if actions == "decide" => {
                return Ok(Self::Approvals { pattern: path_pattern()? });
            }
            "approvals" => {
                return Err(invalid("unknown action of a scope", "use `approvals:decide`"));
            }
            "tokens" => {
                let advice = "use `tokens:read` or `tokens:write`; writing includes reading";
                Self::Tokens { access: RuleAccess::parse(actions, advice)? }
            }
            "audit" if actions == "read" => Self::Audit,
            "audit" => return Err(invalid("unknown action of a scope", "use `audit:read`")),
            _ => {
                return Err(invalid(
                    "unknown resource of a scope",
                    "use `RESOURCE:ACTIONS` or `RESOURCE:ACTIONS:PATTERN` with one of the resources: \
                     secrets grants tokens approvals audit",
                ));
            }
        };
        if pattern.is_some() {
            return Err(invalid(
                "a scope for tokens or the audit has a pattern",
                "leave the pattern out",
            ));
        }
        Ok(scope)
    }

    /// Whether this scope permits everything that `other` permits, so that its owner may hand `other` out.
    #[must_use]
    pub fn covers(&self, other: &Scope) -> bool {
        match (self, other) {
            (
                Self::Secrets { actions, pattern },
                Self::Secrets { actions: other_actions, pattern: other_pattern },
            ) => actions.contains_all(*other_actions) && pattern.covers(other_pattern),
            (
                Self::Grants { access, pattern },
                Self::Grants { access: other_access, pattern: other_pattern },
            ) => access.includes(*other_access) && pattern.covers(other_pattern),
            (Self::Tokens { access }, Self::Tokens { access: other }) => access.includes(*other),
            (Self::Approvals { pattern }, Self::Approvals { pattern: other }) => {
                pattern.covers(other)
            }
            (Self::Audit, Self::Audit) => true,
            _ => false,
        }
    }

    const fn pattern(&self) -> Option<&PathPattern> {
        match self {
            Self::Secrets { pattern, .. }
            | Self::Grants { pattern, .. }
            | Self::Approvals { pattern } => Some(pattern),
            Self::Tokens { .. } | Self::Audit => None,
        }
    }
}

impl_text!(Scope);

/// Leaves out a pattern for every path.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secrets { actions, .. } => write!(f, "secrets:{actions}")?,
            Self::Grants { access, .. } => write!(f, "grants:{access}")?,
            Self::Tokens { access } => write!(f, "tokens:{access}")?,
            Self::Approvals { .. } => f.write_str("approvals:decide")?,
            Self::Audit => f.write_str("audit:read")?,
        }
        match self.pattern() {
            Some(pattern) if *pattern != PathPattern::everything() => write!(f, ":{pattern}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

fn invalid(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, advice).because(cause)
}

#[cfg(test)]
mod tests;
