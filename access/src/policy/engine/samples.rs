//! Inputs by which a policy is checked when it is loaded.

use regorus::Value;
use strongroom_core::Tier;

use super::{PolicyInput, value};
use crate::Action;
use crate::policy::input::{PrincipalInput, TimeInput, TokenInput};

fn workload() -> PrincipalInput<'static> {
    PrincipalInput {
        kind: "workload",
        id: "spiffe://example.org/agent/tenant/agent/role",
        tenant: "tenant",
        agent: Some("agent"),
        role: Some("role"),
        name: None,
    }
}

fn person() -> PrincipalInput<'static> {
    PrincipalInput {
        kind: "person",
        id: "person:tenant/name",
        tenant: "tenant",
        agent: None,
        role: None,
        name: Some("name"),
    }
}

fn bearer() -> PrincipalInput<'static> {
    let id = "token:00000000-0000-7000-8000-000000000000";
    PrincipalInput { kind: "token", id, tenant: "tenant", agent: None, role: None, name: None }
}

/// Each action with each tier and each kind of principal.
pub(super) fn all() -> Vec<Value> {
    let tiers = Tier::ALL.iter().copied().map(Some).chain([None]);
    let mut samples = Vec::new();
    for tier in tiers {
        for action in Action::ALL.iter().copied() {
            for principal in [workload(), person(), bearer()] {
                let has_token = principal.kind == "token";
                samples.push(value::of(&PolicyInput {
                    principal,
                    action,
                    path: "folder/name",
                    tier,
                    token: has_token.then(|| TokenInput {
                        id: "00000000-0000-7000-8000-000000000000".to_owned(),
                        presented_by: Some("person:tenant/name"),
                    }),
                    time: TimeInput::at(0),
                    reason: has_token.then_some("reason"),
                }));
            }
        }
    }
    samples
}
