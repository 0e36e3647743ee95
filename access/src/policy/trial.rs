//! What a policy would change, by recorded accesses.

use strongroom_core::Tier;

use super::input::{PrincipalInput, TimeInput, TokenInput};
use super::{LoadedPolicy, PolicyInput};
use crate::grant::to_millis;
use crate::{Action, AuditRecord, Principal, SpiffeId, Workload};

/// What a policy would change, from [`Access::try_policy`](crate::Access::try_policy).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyTrial {
    /// How many records were decided again: allowed accesses, and those that a policy denied.
    pub checked: u64,
    /// What was allowed and would be denied.
    pub denies: Vec<TrialDenial>,
    /// The records of what a policy denied and this one would allow.
    pub allows: Vec<u64>,
    /// The last record of the page; `None` if there was none. Go on after it for the next page.
    pub last: Option<u64>,
}

/// A recorded access that was allowed, and that a policy would deny.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrialDenial {
    /// The number of the record.
    pub seq: u64,
    /// The reasons of the policy, or why its evaluation failed.
    pub reasons: Vec<String>,
}

impl PolicyTrial {
    /// Decides records again. `workload` reads agent and role from a SPIFFE id.
    pub(crate) fn run(
        policy: &LoadedPolicy,
        records: &[AuditRecord],
        workload: impl Fn(&SpiffeId) -> Option<Workload>,
    ) -> Self {
        let mut trial = Self { last: records.last().map(|record| record.seq), ..Self::default() };
        for record in records {
            let Some(was_allowed) = was_allowed(record) else { continue };
            let Some(decided) = decide(policy, record, &workload) else { continue };
            trial.checked += 1;
            match decided {
                Err(reasons) if was_allowed => {
                    trial.denies.push(TrialDenial { seq: record.seq, reasons });
                }
                Ok(()) if !was_allowed => trial.allows.push(record.seq),
                _ => {}
            }
        }
        trial
    }
}

fn detail<'a>(record: &'a AuditRecord, name: &str) -> Option<&'a str> {
    record.details.get(name)?.as_str()
}

/// Whether an access was allowed; `None` if no policy was asked.
fn was_allowed(record: &AuditRecord) -> Option<bool> {
    match record.event.as_str() {
        "vault.accessed" => Some(true),
        "vault.denied" => {
            let denial = detail(record, "denial")?;
            matches!(denial, "policy" | "policy_failed").then_some(false)
        }
        _ => None,
    }
}

/// The decision, with the reasons of a denial; `None` if the record is not about one secret.
fn decide(
    policy: &LoadedPolicy,
    record: &AuditRecord,
    workload: impl Fn(&SpiffeId) -> Option<Workload>,
) -> Option<Result<(), Vec<String>>> {
    let action: Action = detail(record, "action")?.parse().ok()?;
    if action == Action::List {
        return None;
    }
    let principal = Principal::parse(&record.principal).ok();
    let workload = match &principal {
        Some(Principal::Workload(id)) => workload(id),
        _ => None,
    };
    let (kind, name) = match &principal {
        Some(Principal::Workload(_)) => ("workload", None),
        Some(Principal::Person(person)) => ("person", Some(person.name())),
        None => ("token", None),
    };
    let now = to_millis(record.time);
    let input = PolicyInput {
        principal: PrincipalInput {
            kind,
            id: &record.principal,
            tenant: record.tenant.as_deref()?,
            agent: workload.as_ref().map(|workload| workload.agent.as_str()),
            role: workload.as_ref().and_then(|workload| workload.role.as_deref()),
            name,
        },
        action,
        path: record.path.as_deref()?,
        tier: detail(record, "tier").and_then(|tier| tier.parse::<Tier>().ok()),
        token: record
            .token
            .clone()
            .map(|id| TokenInput { id, presented_by: record.presented_by.as_deref() }),
        time: TimeInput::at(now),
        reason: record.reason.as_deref(),
    };
    Some(policy.try_decide(&input).map_err(|denied| denied.reasons))
}
