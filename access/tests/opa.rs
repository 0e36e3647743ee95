//! The policy engine beside the Open Policy Agent: the same reasons for generated policies and inputs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

#[path = "opa/generate.rs"]
mod generate;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use strongroom_access::{
    Access, AccessConfig, Action, Actor, NewGrant, Policy, Principal, Scope, SpiffeTemplate,
    Subject, TenantName,
};
use strongroom_core::{SecretPath, Tier};

use self::generate::{Case, Generator};

const SEED: u64 = 0x5e_c0de;
const POLICIES: usize = 150;
const CASES: usize = 8;

/// The reasons that the Open Policy Agent gives for each case of each policy.
fn ask_opa(asked: &Value) -> Vec<Vec<BTreeSet<String>>> {
    let python = std::env::var_os("STRONGROOM_TEST_PYTHON").expect(
        "STRONGROOM_TEST_PYTHON names no interpreter: run `cargo xtask test`, which installs one with \
         what this test needs",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("opa/evaluate.py");
    let mut child = Command::new(python)
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The script reads everything before it writes.
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn access(policy: &str) -> Access {
    let template = SpiffeTemplate::parse("spiffe://example.org/agent/{tenant}/{agent}/{role}");
    let config = AccessConfig::in_memory()
        .template(template.unwrap())
        .policy_time_limit(std::time::Duration::from_secs(1))
        .policy(Policy::from_text("generated.rego", policy));
    let access = Access::open(config).await.unwrap();
    let rules = access.administrator("host", &TenantName::parse("acme").unwrap()).unwrap();
    for subject in ["spiffe://example.org/agent/acme/**", "person:acme/ann"] {
        let scope = Scope::parse("secrets:*").unwrap();
        let grant = NewGrant::new(Subject::parse(subject).unwrap(), [scope], "a test");
        rules.create_grant(grant).await.unwrap();
    }
    access
}

fn actor(access: &Access, case: &Case) -> Actor {
    let actor = access.act_as(Principal::parse(&case.principal).unwrap()).unwrap();
    match &case.reason {
        Some(reason) => actor.because(reason).unwrap(),
        None => actor,
    }
}

/// The reasons that this engine gives.
fn explain(access: &Access, case: &Case) -> BTreeSet<String> {
    let path = SecretPath::parse(&case.path).unwrap();
    let actor = actor(access, case);
    let explained = match case.tier {
        Some(tier) => actor.explain_at(case.action, &path, tier),
        None => actor.explain(case.action, &path),
    };
    assert!(explained.rule.is_some(), "{case:?}");
    assert_eq!(explained.denial.is_some(), !explained.reasons.is_empty(), "{explained:?}");
    explained.reasons.into_iter().collect()
}

#[tokio::test]
async fn generated_policies_give_the_reasons_that_opa_gives() {
    let mut generator = Generator::new(SEED);
    let policies: Vec<(String, Vec<Case>)> = (0..POLICIES)
        .map(|_| (generator.policy(), (0..CASES).map(|_| generator.case()).collect()))
        .collect();
    let asked = policies.iter().map(|(policy, cases)| {
        let inputs: Vec<_> = cases.iter().map(Case::to_input).collect();
        json!({ "policy": policy, "inputs": inputs })
    });
    let expected = ask_opa(&asked.collect());
    assert_eq!(expected.len(), POLICIES);
    let (mut denied, mut allowed) = (0_usize, 0_usize);
    for ((policy, cases), expected) in policies.iter().zip(&expected) {
        let access = access(policy).await;
        for (case, expected) in cases.iter().zip(expected) {
            assert_eq!(&explain(&access, case), expected, "{case:?}\n{policy}");
            *(if expected.is_empty() { &mut allowed } else { &mut denied }) += 1;
        }
        access.close().await;
    }
    assert_eq!(denied + allowed, POLICIES * CASES);
    // Both answers are frequent, or little is compared.
    assert!(denied * 5 > allowed && allowed * 5 > denied, "{denied} denied, {allowed} allowed");
}

/// The guide names this difference.
#[tokio::test]
async fn a_built_in_with_an_undefined_argument_under_not_is_untrue_here_and_undefined_in_opa() {
    let case = Case { tier: None, reason: None, ..Generator::new(SEED).case() };
    for (condition, ours, opa) in [
        ("not startswith(input.reason, \"a\")", true, false),
        ("not input.reason > \"a\"", true, false),
        ("not input.reason == \"a\"", true, true),
        ("not input.reason", true, true),
        ("startswith(input.reason, \"a\")", false, false),
    ] {
        let policy = format!("package strongroom.access\ndeny contains \"x\" if {condition}");
        let asked = json!([{ "policy": policy, "inputs": [case.to_input()] }]);
        let expected = ask_opa(&asked);
        let is_denied = expected.first().and_then(|of| of.first()).map(|set| !set.is_empty());
        assert_eq!(is_denied, Some(opa), "{condition}");
        assert_eq!(!explain(&access(&policy).await, &case).is_empty(), ours, "{condition}");
    }
}

#[test]
fn a_case_is_an_input() {
    let case = Case {
        principal: "spiffe://example.org/agent/acme/bot/reader".to_owned(),
        action: Action::Read,
        path: "a/b".to_owned(),
        tier: Some(Tier::Critical),
        reason: None,
    };
    let expected = json!({
        "principal": {
            "kind": "workload", "id": case.principal, "tenant": "acme", "agent": "bot",
            "role": "reader",
        },
        "action": "read", "path": "a/b", "tier": "critical",
    });
    assert_eq!(case.to_input(), expected);
}
