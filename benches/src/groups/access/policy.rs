//! A decision with a policy in Rego, beside `regorus` alone with the same policy and the same input.

use anyhow::{Context as _, Result, ensure};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::{Engine, Value};
use serde_json::json;
use strongroom::access::{Access, AccessConfig, Action, NewGrant, Policy, Scope, Subject};
use strongroom::{SecretPath, Tier};
use strongroom_benches::measure::{Subject as Timed, compare};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::Builder;

use super::{TENANT, config, principal, rules};

/// The target of a decision with a policy.
const MAX_NS: f64 = 10_000.0;
const RULE: &str = "data.strongroom.access.deny";
const POLICY: &str = r#"package strongroom.access

production := {"main", "eu"}

deny contains "production is closed to this agent" if {
    input.action == "read"
    input.principal.agent == "agent-9"
    startswith(input.path, "production/")
}

deny contains "critical secrets need a reason" if {
    input.tier == "critical"
    not input.reason
}

deny contains sprintf("%s is frozen", [name]) if {
    some name in production
    startswith(input.path, concat("/", ["production", name]))
    input.action in {"write", "delete", "destroy"}
}
"#;

/// The same input as the decision has.
fn input() -> Value {
    Value::from(json!({
        "principal": {
            "kind": "workload", "id": format!("spiffe://bench.org/{TENANT}/agent-1"),
            "tenant": TENANT, "agent": "agent-1",
        },
        "action": "read",
        "path": "production/main/key",
        "tier": "sensitive",
        "time": {
            "rfc3339": "2026-01-01T00:00:00.000Z", "ns": 1_767_225_600_000_000_000_i64, "hour": 0,
            "weekday": "thursday",
        },
    }))
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let policy = Policy::from_text("bench.rego", POLICY);
    let opened = Access::open(config(AccessConfig::in_memory())?.policy(policy));
    let access = runtime.block_on(opened)?;
    let scope = Scope::parse("secrets:read:production/**")?;
    let grant = NewGrant::new(Subject::parse("agent:agent-1")?, [scope], "a bench");
    runtime.block_on(rules(&access)?.create_grant(grant))?;
    let actor = access.act_as(principal(1)?)?;
    let path = SecretPath::parse("production/main/key")?;
    let decide = || actor.explain_at(Action::Read, &path, Tier::Sensitive);
    ensure!(decide().denial.is_none() && decide().policy.is_some(), "the policy denies a read");

    let mut engine = Engine::new();
    engine.add_policy("bench.rego".to_owned(), POLICY.to_owned())?;
    let program =
        Compiler::compile_from_policy(&engine.compile_with_entrypoint(&RULE.into())?, &[RULE])
            .ok()
            .context("the policy compiles")?;
    let mut machine = RegoVM::new();
    machine.load_program(program);
    let prepared = input();
    let [own, bare, interpreted] = compare([
        Timed::new(decide),
        Timed::new(|| {
            machine.set_input(prepared.clone());
            machine.execute_entry_point_by_index(0).ok()
        }),
        Timed::new(|| {
            engine.set_input(prepared.clone());
            engine.eval_rule(RULE.to_owned()).ok()
        }),
    ]);
    report.add("access_decision_with_rego_ns", own.median(), "ns", Target::Max(MAX_NS))?;
    report.add("access_regorus_machine_ns", bare.median(), "ns", None)?;
    report.add("access_regorus_engine_ns", interpreted.median(), "ns", None)?;
    report.add("access_decision_with_rego_over_regorus_machine", own.over(&bare), "x", None)?;
    runtime.block_on(access.close());
    Ok(())
}
