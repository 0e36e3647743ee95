//! To which principals a grant applies.

use std::fmt;

use strongroom_core::{Error, ErrorKind, Result};

use crate::{Person, Principal, SpiffePattern};

/// The principals of one tenant to which a grant applies.
///
/// Its text is `agent:NAME` (every role of that agent), `role:NAME` (that role of every agent), a
/// [`SpiffePattern`], or `person:TENANT/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// Every workload of this agent.
    Agent(String),
    /// Every workload with this role.
    Role(String),
    /// Every workload whose SPIFFE id matches.
    Workloads(SpiffePattern),
    /// This person.
    Person(Person),
}

impl Subject {
    /// Reads a subject from its text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the forms that exist.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("agent:") {
            return segment(name).map(Self::Agent);
        }
        if let Some(name) = text.strip_prefix("role:") {
            return segment(name).map(Self::Role);
        }
        if text.starts_with("person:") {
            return match Principal::parse(text)? {
                Principal::Person(person) => Ok(Self::Person(person)),
                Principal::Workload(_) => Err(unknown()),
            };
        }
        if text.starts_with("spiffe:") {
            return SpiffePattern::parse(text).map(Self::Workloads);
        }
        Err(unknown())
    }
}

/// A segment of a SPIFFE id, as a template captures it.
fn segment(name: &str) -> Result<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 255 || !name.bytes().all(is_allowed) {
        return Err(Error::new(ErrorKind::InvalidInput, "use 1 to 255 of `A-Z a-z 0-9 . _ -`")
            .because("the name of an agent or a role is not valid"));
    }
    Ok(name.to_owned())
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "use `agent:NAME`, `role:NAME`, `person:TENANT/NAME` or a pattern such as \
         `spiffe://example.org/agent/acme/*/researcher`",
    )
    .because("not a subject of a grant")
}

impl From<Person> for Subject {
    fn from(person: Person) -> Self {
        Self::Person(person)
    }
}

impl From<SpiffePattern> for Subject {
    fn from(pattern: SpiffePattern) -> Self {
        Self::Workloads(pattern)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Workloads(pattern) => pattern.fmt(f),
            Self::Person(person) => write!(f, "{}", Principal::Person(person.clone())),
        }
    }
}

crate::text::impl_text!(Subject);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_text() {
        for text in [
            "agent:my-agent",
            "role:researcher",
            "spiffe://a.org/agent/*/x",
            "person:acme/ann@acme.io",
        ] {
            assert_eq!(Subject::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "agent:", "agent:a/b", "agent:*", "role:ä", "ann", "token:1", "Agent:a"]
        {
            assert_eq!(
                Subject::parse(wrong).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong}"
            );
        }
    }
}
