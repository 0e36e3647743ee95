use std::time::Duration;

use super::MAX_CHAIN;
use crate::Action;
use crate::policy::engine::RegoPolicy;
use crate::policy::input::{PrincipalInput, TimeInput};
use crate::policy::loaded::Evaluator as _;
use crate::policy::{Module, PolicyInput};

fn compile(modules: &[&str]) -> Result<RegoPolicy, Vec<String>> {
    let modules = modules.iter().enumerate().map(|(n, text)| {
        let name = format!("{n}.rego");
        Module { name, text: (*text).to_owned() }
    });
    RegoPolicy::compile(&modules.collect::<Vec<_>>(), Duration::from_secs(60))
}

fn rules(rules: &str) -> Result<RegoPolicy, Vec<String>> {
    compile(&[&format!("package strongroom.access\n{rules}")])
}

fn input(path: &str) -> PolicyInput<'_> {
    PolicyInput {
        principal: PrincipalInput {
            kind: "person",
            id: "person:acme/ann",
            tenant: "acme",
            agent: None,
            role: None,
            name: Some("ann"),
        },
        action: Action::Read,
        path,
        tier: None,
        token: None,
        time: TimeInput::at(0),
        reason: None,
    }
}

/// A chain of `length` rules, `deny` among them, of which each calls the next by `call`.
fn chain(length: usize, call: impl Fn(usize) -> String) -> String {
    let called = (1..length).map(|n| match n + 1 {
        last if last == length => format!("r{n} := input.path"),
        next => format!("r{n} := v if {{ input.path != \"\"; v := {} }}", call(next)),
    });
    let called: Vec<_> = called.collect();
    format!("deny contains \"x\" if {} == \"deep\"\n{}", call(1), called.join("\n"))
}

#[test]
fn recursion_is_refused_at_load() {
    for (text, named) in [
        ("f(x) := f(x)\ndeny contains \"x\" if f(1) == 1", "access.f"),
        (
            "f(x) := y if { startswith(input.path, \"prod/\"); y := f(x) }\n\
             deny contains \"x\" if { f(1) == 1 }",
            "access.f",
        ),
        (
            "a if { input.path == \"q\"; b }\nb if { input.path == \"q\"; a }\n\
             deny contains \"x\" if a",
            "access.a",
        ),
        ("deny contains \"x\" if { input.path == \"q\"; \"x\" in deny }", "access.deny"),
        ("deny contains \"x\" if { input.path == \"q\"; count(deny) > 0 }", "access.deny"),
        (
            "m[k] := v if { some k in [\"a\"]; v := m[\"b\"] }\ndeny contains \"x\" if m.a == 1",
            "access.m",
        ),
        (
            "a if { input.path == \"q\"; data.strongroom.access.a }\ndeny contains \"x\" if a",
            "access.a",
        ),
        (
            "deny contains \"x\" if { input.path == \"q\"; data.strongroom.access[input.path] }",
            "access.deny",
        ),
        (
            "deny contains \"x\" if { input.path == \"q\"; some n; data.strongroom.access[n] }",
            "access.deny",
        ),
        (
            "a if { input.path == \"q\"; data.strongroom[input.path].a }\ndeny contains \"x\" if a",
            "access.a",
        ),
        (
            "a if { input.path == \"q\"; count(data.strongroom) > 0 }\ndeny contains \"x\" if a",
            "access.a",
        ),
        ("a := [1 | input.path == \"q\"; a]\ndeny contains \"x\" if count(a) > 1", "access.a"),
        ("a := {1 | input.path == \"q\"; a}\ndeny contains \"x\" if count(a) > 1", "access.a"),
        ("a := {1: 2 | input.path == \"q\"; a}\ndeny contains \"x\" if count(a) > 1", "access.a"),
        ("a if { input.path == \"q\"; not a }\ndeny contains \"x\" if a", "access.a"),
        (
            "a if { every x in [1] { input.path == \"q\"; a; x == 1 } }\ndeny contains \"x\" if a",
            "access.a",
        ),
        ("a := 1 if { input.path == \"q\" } else := a\ndeny contains \"x\" if a == 2", "access.a"),
        ("default a := 1\na := 2 if a == 1\ndeny contains \"x\" if a == 2", "access.a"),
        ("f([x, y]) := f([y, x])\ndeny contains \"x\" if f([1, input.path]) == 1", "access.f"),
        ("f(x) := g(x)\ng(x) := f(x)\ndeny contains f(input.path)", "access.g"),
    ] {
        let problems = rules(text).map(|_| text).unwrap_err();
        let is_named = |it: &String| it.contains("recurs") && it.contains(named);
        assert!(problems.iter().any(is_named), "{text}: {problems:?}");
    }
}

#[test]
fn recursion_over_two_modules_is_refused_at_load() {
    let one = "package strongroom.access\nimport data.teams\n\
               deny contains \"x\" if teams.closed\nopen if { input.path == \"q\"; teams.closed }";
    for two in [
        "package teams\nclosed if { input.path == \"q\"; data.strongroom.access.open }",
        "package teams\nimport data.strongroom.access\nclosed if { input.path == \"q\"; access.open }",
        "package teams\nclosed if { input.path == \"q\"; data.strongroom.access[input.path] }",
        "package teams\nclosed if { input.path == \"q\"; count(data.strongroom.access.deny) > 0 }",
    ] {
        let problems = compile(&[one, two]).map(|_| two).unwrap_err();
        let is_named = |it: &String| it.contains("recurs") && it.contains("teams.closed");
        assert!(problems.iter().any(is_named), "{two}: {problems:?}");
    }
}

#[test]
fn a_rule_that_several_call_is_not_recursive() {
    let policy = rules(
        "is_q if input.path == \"q\"\na if is_q\nb if { is_q; a }\n\
         f(x) := g(x)\ng(x) := x\ndeny contains f(\"x\") if { a; b; g(1) == f(1) }",
    );
    assert_eq!(policy.unwrap().evaluate(&input("q")), Ok(vec!["x".to_owned()]));
}

#[test]
fn a_chain_of_rules_has_a_limit() {
    for length in [MAX_CHAIN + 1, 200, 1000] {
        for call in [|n| format!("r{n}"), |n| format!("data.strongroom.access.r{n}")] {
            let problems = rules(&chain(length, call)).map(|_| length).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("more than 32 rules"), "{problems:?}");
        }
    }
}

/// Functions of which each wraps what the next returns, and a test of what the first one returns.
fn functions(wrap: impl Fn(&str) -> String, test: &str) -> String {
    let functions = (1..MAX_CHAIN).map(|n| match n + 1 {
        MAX_CHAIN => format!("f{n}(x) := x"),
        next => format!("f{n}(x) := v if v := {}", wrap(&format!("f{next}(x)"))),
    });
    let functions: Vec<_> = functions.collect();
    format!("deny contains \"x\" if {test}\n{}", functions.join("\n"))
}

/// Threads of tokio have 2 MiB.
#[test]
fn the_deepest_policies_work_on_a_thread_with_two_mebibytes_of_stack() {
    let in_loops = |call: &str| format!("[z | some y in [1, 2]; y > 1; z := {call}][0]");
    let in_sum = |call: &str| format!("0{}+{call}", "+0".repeat(100));
    let in_arrays = |call: &str| format!("[[[[[[[[{call}]]]]]]]]");
    let of_value =
        "{ v := f1(input.path); w := f1(input.path); v == w; json.marshal(v) == json.marshal(w)
        count({v, w, [v]}) == 2; input.path == \"deep\" }";
    for text in [
        chain(MAX_CHAIN, |n| format!("r{n}")),
        functions(in_loops, "f1(input.path) == \"deep\""),
        functions(in_sum, "{ f1(count(input.path)) == 4 }"),
        functions(in_arrays, of_value),
    ] {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let evaluated = thread.spawn(move || {
            let policy = rules(&text).unwrap();
            (policy.evaluate(&input("deep")), policy.evaluate(&input("other")))
        });
        let evaluated = evaluated.unwrap().join().unwrap();
        assert_eq!(evaluated, (Ok(vec!["x".to_owned()]), Ok(Vec::new())));
    }
}
