//! Templates that read tenant, agent and role from a SPIFFE ID.

use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, Result};

use super::{SpiffeId, SpiffePattern};
use crate::text::impl_text;
use crate::{TenantName, Workload};

/// The shape of the SPIFFE IDs of workloads, such as `spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}`.
///
/// A name in braces is a whole segment of the path. `{tenant}` and `{agent}` occur exactly once, `{role}` at most
/// once; every other segment is literal, and so is the trust domain. Cloning shares the text.
///
/// # Examples
/// ```
/// use strongroom_access::{SpiffeId, SpiffeTemplate};
///
/// let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}")?;
/// let workload = template.matches(&SpiffeId::parse("spiffe://hexr.cloud/agent/acme/crawler")?);
/// assert_eq!(workload.unwrap().tenant.as_str(), "acme");
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeTemplate {
    text: Arc<str>,
    trust_domain: Arc<str>,
    segments: Arc<[Segment]>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Literal(Box<str>),
    Tenant,
    Agent,
    Role,
}

impl SpiffeTemplate {
    /// Parses a template of at most 2048 bytes.
    ///
    /// # Errors
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) with the rule that was broken. The text itself is
    /// not repeated: it may be a value that was passed by mistake.
    pub fn parse(text: &str) -> Result<Self> {
        let (trust_domain, path) = SpiffeId::split(text).map_err(invalid)?;
        let path = path.ok_or_else(|| invalid("it has no path"))?;
        let segments = path
            .split('/')
            .map(Segment::parse)
            .collect::<Result<Arc<[_]>, _>>()
            .map_err(invalid)?;
        let count = |wanted: &Segment| segments.iter().filter(|segment| *segment == wanted).count();
        if count(&Segment::Tenant) != 1 || count(&Segment::Agent) != 1 {
            return Err(invalid("it does not have `{tenant}` and `{agent}` exactly once each"));
        }
        if count(&Segment::Role) > 1 {
            return Err(invalid("it has `{role}` more than once"));
        }
        Ok(Self { text: Arc::from(text), trust_domain: Arc::from(trust_domain), segments })
    }

    /// Reads the workload from `id`, or returns `None` if the ID does not have the shape of the template: the same
    /// trust domain, the same number of segments, the same literal segments, and a valid [`TenantName`].
    ///
    /// Takes time linear in the length of `id`. An ID that does not match costs no allocation.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> Option<Workload> {
        if *self.trust_domain != *id.trust_domain() {
            return None;
        }
        let (mut tenant, mut agent, mut role) = (None, None, None);
        let mut found = id.segments();
        for segment in &*self.segments {
            let text = found.next()?;
            match segment {
                Segment::Literal(literal) if **literal == *text => {}
                Segment::Literal(_) => return None,
                Segment::Tenant => tenant = Some(text),
                Segment::Agent => agent = Some(text),
                Segment::Role => role = Some(text),
            }
        }
        // A tenant that is no name is checked first: its error would be allocated.
        let tenant = tenant.filter(|tenant| TenantName::is_valid(tenant))?;
        if found.next().is_some() {
            return None;
        }
        Some(Workload {
            id: id.clone(),
            tenant: TenantName::parse(tenant).ok()?,
            agent: agent?.to_owned(),
            role: role.map(str::to_owned),
        })
    }

    /// The pattern of an id with another role, or with `*` for any; `None` if the id does not have the shape of the
    /// template, or the template has no `{role}`.
    pub(crate) fn with_role(&self, id: &SpiffeId, role: &str) -> Option<Result<SpiffePattern>> {
        self.matches(id)?.role?;
        if role != "*" && SpiffeId::check_segment(role).is_err() {
            let advice = "use a role, a segment of `A-Z a-z 0-9 . _ -`, or `*`";
            return Some(Err(super::error(advice, "role", "it is no segment of a SPIFFE ID")));
        }
        let mut text = format!("{}{}", super::SCHEME, id.trust_domain());
        for (segment, found) in self.segments.iter().zip(id.segments()) {
            text.push('/');
            text.push_str(if *segment == Segment::Role { role } else { found });
        }
        Some(SpiffePattern::parse(&text))
    }

    /// The template as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "{tenant}" => Ok(Self::Tenant),
            "{agent}" => Ok(Self::Agent),
            "{role}" => Ok(Self::Role),
            _ if text.contains(['{', '}']) => Err(
                "a segment with braces is not `{tenant}`, `{agent}` or `{role}` as a whole, the only names there are",
            ),
            _ => SpiffeId::check_segment(text).map(|()| Self::Literal(text.into())),
        }
    }
}

impl_text!(SpiffeTemplate);

fn invalid(rule: &'static str) -> Error {
    super::error(
        "use a template such as `spiffe://example.org/agent/{tenant}/{agent}/{role}`",
        "template of SPIFFE IDs",
        rule,
    )
}

impl fmt::Display for SpiffeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

#[cfg(test)]
mod tests;
