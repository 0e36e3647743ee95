//! Who asks: workloads and persons, and the tenants they belong to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, ErrorKind, Result};

use crate::SpiffeId;
use crate::spiffe::SCHEME;
use crate::text::impl_text;

/// How the text of a person begins.
const PERSON: &str = "person:";

/// The name of a tenant, such as `acme`.
///
/// A name has 1 to 63 bytes of `a-z 0-9 -` and neither begins nor ends with `-`. It is lower case, so that a store
/// that ignores case cannot take one tenant for another. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

impl TenantName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// Validates `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]. The text itself is not repeated: it may be a value that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        if Self::is_valid(text) {
            return Ok(Self(Arc::from(text)));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "use 1 to 63 characters of `a-z 0-9 -`, without a `-` at either end",
        )
        .because("not the name of a tenant"))
    }

    pub(crate) fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.starts_with('-')
            && !text.ends_with('-')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl_text!(TenantName);

/// Looks up text in a map with names as keys; hash and order are those of the text.
impl Borrow<str> for TenantName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// A workload with what a [`SpiffeTemplate`](crate::SpiffeTemplate) read from its ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The whole ID.
    pub id: SpiffeId,
    /// The tenant that the workload belongs to.
    pub tenant: TenantName,
    /// The agent that it runs.
    pub agent: String,
    /// The role of the agent, if the template names one.
    pub role: Option<String>,
}

/// A person of a tenant, whom an identity provider has authenticated. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    tenant: TenantName,
    name: Arc<str>,
}

impl Person {
    /// The longest name, in bytes.
    pub const MAX_NAME_LEN: usize = 128;

    /// A person by tenant and name: an e-mail address or a user name of 1 to 128 bytes of
    /// `A-Z a-z 0-9 . _ - + @`, which is compared byte for byte.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if either name is malformed. The text itself is not repeated: it may be a value
    /// that was passed by mistake.
    pub fn new(tenant: &str, name: &str) -> Result<Self> {
        let tenant = TenantName::parse(tenant)?;
        let is_allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'@')
        };
        if !(1..=Self::MAX_NAME_LEN).contains(&name.len()) || !name.bytes().all(is_allowed) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "use an e-mail address or a user name of 1 to 128 characters of `A-Z a-z 0-9 . _ - + @`",
            )
            .because("not the name of a person"));
        }
        Ok(Self { tenant, name: Arc::from(name) })
    }

    /// The tenant that the person belongs to.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The name within the tenant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Shows the text of the [`Principal`], such as `person:acme/alice@example.org`.
impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PERSON}{}/{}", self.tenant, self.name)
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// The authenticated caller of an operation.
///
/// # Examples
/// ```
/// use strongroom_access::Principal;
///
/// let principal = Principal::parse("person:acme/alice@example.org")?;
/// assert!(matches!(&principal, Principal::Person(person) if person.tenant().as_str() == "acme"));
/// assert_eq!(principal.to_string(), "person:acme/alice@example.org");
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// A workload, by its SPIFFE ID.
    Workload(SpiffeId),
    /// A person.
    Person(Person),
}

impl Principal {
    /// Parses `spiffe://…` or `person:TENANT/NAME`, as `Display` writes them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the rule that was broken. The text itself is not repeated: it may be a value
    /// that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with(SCHEME) {
            return SpiffeId::parse(text).map(Self::Workload);
        }
        let person = text.strip_prefix(PERSON).and_then(|person| person.split_once('/'));
        let (tenant, name) = person.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "use a SPIFFE ID, or `person:TENANT/NAME` for a person",
            )
            .because("not a principal")
        })?;
        Person::new(tenant, name).map(Self::Person)
    }
}

impl_text!(Principal);

impl From<SpiffeId> for Principal {
    fn from(id: SpiffeId) -> Self {
        Self::Workload(id)
    }
}

impl From<Person> for Principal {
    fn from(person: Person) -> Self {
        Self::Person(person)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => id.fmt(f),
            Self::Person(person) => person.fmt(f),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests;
