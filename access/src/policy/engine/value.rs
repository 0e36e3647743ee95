//! The input as a value of Rego.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use regorus::Value;
use strongroom_core::Tier;

use super::PolicyInput;
use crate::Action;
use crate::policy::input::{PrincipalInput, TimeInput, TokenInput};

/// The names of members and the texts that recur, which each input shares.
struct Names(BTreeMap<&'static str, Value>);

const RECURRING: &[&str] = &[
    "principal",
    "kind",
    "id",
    "tenant",
    "agent",
    "role",
    "name",
    "action",
    "path",
    "tier",
    "token",
    "presented_by",
    "time",
    "rfc3339",
    "ns",
    "hour",
    "weekday",
    "reason",
    "workload",
    "person",
];

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let actions = Action::ALL.iter().map(|action| action.as_str());
    let tiers = Tier::ALL.iter().map(|tier| tier.as_str());
    let all = RECURRING.iter().copied().chain(actions).chain(tiers);
    Names(all.map(|name| (name, text(name))).collect())
});

fn text(text: &str) -> Value {
    Value::String(Arc::from(text))
}

/// A text that recurs.
fn shared(name: &'static str) -> Value {
    NAMES.0.get(name).cloned().unwrap_or_else(|| text(name))
}

fn object<const N: usize>(members: [(&'static str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((shared(name), value?)));
    Value::from(members.collect::<BTreeMap<_, _>>())
}

/// The input of one decision.
pub(super) fn of(input: &PolicyInput<'_>) -> Value {
    object([
        ("principal", Some(principal(&input.principal))),
        ("action", Some(shared(input.action.as_str()))),
        ("path", Some(text(input.path))),
        ("tier", input.tier.map(|tier| shared(tier.as_str()))),
        ("token", input.token.as_ref().map(token)),
        ("time", Some(time(&input.time))),
        ("reason", input.reason.map(text)),
    ])
}

fn principal(principal: &PrincipalInput<'_>) -> Value {
    object([
        ("kind", Some(shared(principal.kind))),
        ("id", Some(text(principal.id))),
        ("tenant", Some(text(principal.tenant))),
        ("agent", principal.agent.map(text)),
        ("role", principal.role.map(text)),
        ("name", principal.name.map(text)),
    ])
}

fn token(token: &TokenInput<'_>) -> Value {
    object([("id", Some(text(&token.id))), ("presented_by", token.presented_by.map(text))])
}

fn time(time: &TimeInput) -> Value {
    object([
        ("rfc3339", Some(text(&time.rfc3339))),
        ("ns", Some(Value::from(time.ns))),
        ("hour", Some(Value::from(time.hour))),
        ("weekday", Some(text(time.weekday))),
    ])
}
