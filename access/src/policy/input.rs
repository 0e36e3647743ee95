//! What a policy decides on.

use serde::Serialize;
use strongroom_core::{Rfc3339, Tier};

use crate::Action;
use crate::event::Context;
use crate::grant::from_millis;
use crate::identity::{Identity, IdentityKind};

/// The input of a decision. Members that are not known are absent, so that a rule about them is undefined.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyInput<'a> {
    pub(crate) principal: PrincipalInput<'a>,
    pub(crate) action: Action,
    /// Below the root of the tenant.
    pub(crate) path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<TokenInput<'a>>,
    pub(crate) time: TimeInput,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// Who acts.
#[derive(Debug, Serialize)]
pub(crate) struct PrincipalInput<'a> {
    /// `workload`, `person` or `token`.
    pub(crate) kind: &'static str,
    /// The principal as the audit names it.
    pub(crate) id: &'a str,
    pub(crate) tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'a str>,
    /// The name of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
}

/// The token that is used.
#[derive(Debug, Serialize)]
pub(crate) struct TokenInput<'a> {
    pub(crate) id: String,
    /// The person that presents it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presented_by: Option<&'a str>,
}

/// The time of the decision, in UTC.
#[derive(Debug, Serialize)]
pub(crate) struct TimeInput {
    pub(crate) rfc3339: String,
    pub(crate) ns: i64,
    /// 0 to 23.
    pub(crate) hour: i64,
    pub(crate) weekday: &'static str,
}

const WEEKDAYS: [&str; 7] =
    ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
const HOUR: i64 = 3_600_000;

impl TimeInput {
    /// `now` is in milliseconds since 1970.
    pub(crate) fn at(now: i64) -> Self {
        // 1970 began on a Thursday.
        let day = now.div_euclid(24 * HOUR).rem_euclid(7);
        let weekday = usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day));
        Self {
            rfc3339: Rfc3339::millis(from_millis(now)).to_string(),
            ns: now.saturating_mul(1_000_000),
            hour: now.div_euclid(HOUR).rem_euclid(24),
            weekday: weekday.unwrap_or(&"thursday"),
        }
    }
}

impl<'a> PolicyInput<'a> {
    pub(crate) fn new(
        identity: &'a Identity,
        context: &'a Context,
        action: Action,
        path: &'a str,
        tier: Option<Tier>,
        now: i64,
    ) -> Self {
        let token = identity.token_id().map(|id| TokenInput {
            id: id.to_string(),
            presented_by: context.presented_by.as_deref(),
        });
        Self {
            principal: PrincipalInput::new(identity),
            action,
            path,
            tier,
            token,
            time: TimeInput::at(now),
            reason: context.reason.as_deref(),
        }
    }
}

impl<'a> PrincipalInput<'a> {
    pub(crate) fn new(identity: &'a Identity) -> Self {
        let mut principal = Self {
            kind: "token",
            id: &identity.name,
            tenant: identity.tenant.as_str(),
            agent: None,
            role: None,
            name: None,
        };
        match &identity.kind {
            IdentityKind::Workload(workload) => {
                principal.kind = "workload";
                principal.agent = Some(&workload.agent);
                principal.role = workload.role.as_deref();
            }
            IdentityKind::Person(person) => {
                principal.kind = "person";
                principal.name = Some(person.name());
            }
            IdentityKind::Bearer => {}
        }
        principal
    }
}
