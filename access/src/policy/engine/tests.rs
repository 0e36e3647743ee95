use super::*;
use crate::policy::Policy;
use crate::policy::input::{PrincipalInput, TimeInput, TokenInput};
use crate::{Action, policy::LoadedPolicy};
use strongroom_core::Tier;

const LIMIT: Duration = Duration::from_secs(60);

fn try_load(text: &str) -> Result<LoadedPolicy, Vec<String>> {
    let loaded = Policy::from_text("a.rego", text).load("the policy", LIMIT);
    loaded.map_err(|error| error.problems().to_vec())
}

fn compile(rules: &str, limit: Duration) -> RegoPolicy {
    let text = format!("package strongroom.access\n{rules}");
    RegoPolicy::compile(&[Module { name: "a.rego".to_owned(), text }], limit).unwrap()
}

fn input(path: &str, tier: Option<Tier>) -> PolicyInput<'_> {
    PolicyInput {
        principal: PrincipalInput {
            kind: "workload",
            id: "spiffe://example.org/agent/acme/bot/researcher",
            tenant: "acme",
            agent: Some("bot"),
            role: Some("researcher"),
            name: None,
        },
        action: Action::Read,
        path,
        tier,
        token: None,
        time: TimeInput::at(1_767_225_600_123),
        reason: None,
    }
}

fn evaluate(rules: &str, path: &str) -> Result<Vec<String>, String> {
    compile(rules, LIMIT).evaluate(&input(path, Some(Tier::Sensitive)))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with the result of an evaluation")]
fn reasons(texts: &[&str]) -> Result<Vec<String>, String> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn the_set_deny_decides() {
    let rules = r#"
        deny contains "production" if startswith(input.path, "production/")
        deny contains sprintf("%s at %s", [input.principal.role, input.tier]) if input.path == "a"
        deny contains "no reason" if { input.path == "b"; not input.reason }
        deny contains "at night" if { input.path == "c"; input.time.hour < 6 }
        deny contains reason if { some reason in {"two", "one"}; input.path == "d" }
    "#;
    assert_eq!(evaluate(rules, "other"), reasons(&[]));
    assert_eq!(evaluate(rules, "production/a"), reasons(&["production"]));
    assert_eq!(evaluate(rules, "a"), reasons(&["researcher at sensitive"]));
    assert_eq!(evaluate(rules, "b"), reasons(&["no reason"]));
    assert_eq!(evaluate(rules, "c"), reasons(&["at night"]));
    assert_eq!(evaluate(rules, "d"), reasons(&["one", "two"]));
}

#[test]
fn several_modules_make_one_policy() {
    let one = "package strongroom.access\nimport data.teams\n\
               deny contains \"closed\" if input.principal.agent in teams.closed\n";
    let two = "package teams\nclosed := {\"bot\"}\n";
    let module = |name: &str, text: &str| Module { name: name.to_owned(), text: text.to_owned() };
    let modules = [module("one.rego", one), module("two.rego", two)];
    let policy = RegoPolicy::compile(&modules, LIMIT).unwrap();
    assert_eq!(policy.evaluate(&input("a", None)), reasons(&["closed"]));
}

#[test]
fn what_does_not_compile_is_refused_with_its_line() {
    for (text, problem) in [
        ("package strongroom.access\ndeny contains if {", "the policy: a.rego:2:"),
        ("package strongroom.access\ndeny contains \"x\" if nosuch(input.path)", "nosuch"),
        ("package strongroom.access\ndeny contains \"x\" if unsafe == 1", "unsafe"),
        ("package other\ndeny contains \"x\" if true", "no module has the package"),
        ("package strongroom.access\nallow := true", "the package has no set `deny`"),
        ("package strongroom.access\ndeny := true", "the package has no set `deny`"),
        ("package strongroom.access\ndeny[\"a\"] := 1 if true", "the package has no set `deny`"),
        ("package strongroom.access\ndeny contains 1", "the package has no set `deny`"),
        (
            "package strongroom.access\ndeny := {\"x\"} if input.path == \"never\"",
            "has no set `deny`",
        ),
        ("deny contains \"x\"", "it is not a module"),
        ("", "it is not a module"),
    ] {
        let problems = try_load(text).unwrap_err();
        assert!(problems.iter().any(|it| it.contains(problem)), "{text}: {problems:?}");
    }
}

#[test]
fn built_ins_that_reach_outside_or_differ_each_time_are_refused_at_load() {
    for (name, call) in [
        ("http.send", r#"http.send({"method": "get", "url": "http://127.0.0.1/"})"#),
        ("opa.runtime", "opa.runtime().env.HOME"),
        ("time.now_ns", "time.now_ns() > 0"),
        ("rand.intn", r#"rand.intn("a", 10) == 1"#),
        ("print", "print(input.path)"),
        ("trace", r#"trace("x")"#),
        ("glob.match", r#"glob.match("a/*", ["/"], input.path)"#),
        ("numbers.range", "count(numbers.range(1, 1000000000)) > 0"),
        ("bits.lsh", "bits.lsh(1, 1000000000) > 0"),
        ("net.lookup_ip_addr", r#"net.lookup_ip_addr("example.org")"#),
        ("io.jwt.decode", "io.jwt.decode(input.path)"),
        ("rego.parse_module", r#"rego.parse_module("a", input.path)"#),
        ("__builtin_host_await", r#"__builtin_host_await(input.path, "x")"#),
    ] {
        let text = format!("package strongroom.access\ndeny contains \"x\" if {{ {call} }}");
        let problems = try_load(&text).map(|_| call).unwrap_err();
        assert!(problems.iter().any(|it| it.contains(name)), "{call}: {problems:?}");
    }
}

#[test]
fn what_is_absent_and_a_built_in_that_fails_are_undefined_as_in_opa() {
    for (rule, expected) in [
        (r#"deny contains "x" if startswith(input.reason, "a")"#, reasons(&[])),
        (r#"deny contains "x" if not startswith(input.reason, "a")"#, reasons(&["x"])),
        (r#"deny contains "x" if { input.path == "a"; to_number(input.path) > 5 }"#, reasons(&[])),
        (
            r#"deny contains "x" if { input.path == "a"; not to_number(input.path) > 5 }"#,
            reasons(&["x"]),
        ),
    ] {
        assert_eq!(evaluate(rule, "a"), expected, "{rule}");
    }
}

#[test]
fn a_built_in_that_fails_for_a_sample_is_refused_at_load() {
    for rule in [
        "deny contains \"x\" if to_number(input.path) > 5",
        "deny contains \"x\" if { input.action == \"write\"; regex.match(\"[\", input.path) }",
        "deny contains \"x\" if input.path + 1 == 2",
        "deny contains \"x\" if { input.principal.kind == \"person\"; startswith(input.time.hour, \"1\") }",
    ] {
        let problems = try_load(&format!("package strongroom.access\n{rule}")).unwrap_err();
        assert!(problems.iter().any(|it| it.starts_with("the policy: ")), "{rule}: {problems:?}");
    }
    let guarded =
        "deny contains \"x\" if { regex.match(`^\\d+$`, input.path); to_number(input.path) > 5 }";
    assert_eq!(evaluate(guarded, "7"), reasons(&["x"]));
    assert_eq!(evaluate(guarded, "5"), reasons(&[]));
}

#[test]
fn an_operator_on_a_wrong_type_ends_the_body_of_its_rule() {
    for condition in ["not input.path + 1 > 5", "count([x | x := input.path + 1]) == 0"] {
        let rule = format!("deny contains \"x\" if {{ input.path == \"a\"; {condition} }}");
        assert_eq!(evaluate(&rule, "a"), reasons(&[]), "{rule}");
    }
    let apart = "large if { input.path == \"a\"; input.path + 1 > 5 }\n\
                 deny contains \"x\" if { input.path == \"a\"; not large }";
    assert_eq!(evaluate(apart, "a"), reasons(&["x"]));
}

#[test]
fn what_fails_in_the_machine_for_a_sample_is_refused_at_load() {
    for rule in [
        "deny contains input.reason",
        "deny contains f(input.reason)\nf(x) := x",
        "deny contains object.get(input, \"reason\", input.reason)",
    ] {
        let problems = try_load(&format!("package strongroom.access\n{rule}")).unwrap_err();
        assert!(problems[0].contains("`deny` is not a set of texts"), "{rule}: {problems:?}");
    }
    let long = long_loop().replace("input.path == \"long\"", "input.tier == \"critical\"");
    let problems = try_load(&format!("package strongroom.access\n{long}")).unwrap_err();
    assert!(problems[0].contains("exceeded"), "{problems:?}");
}

#[test]
fn a_rule_with_several_values_is_refused_at_load() {
    for rules in [
        "level := 1 if input.path == \"a\"\nlevel := 2 if input.tier == \"sensitive\"\n\
         deny contains \"x\" if level == 3",
        "f(x) := 1 if x == \"a\"\nf(x) := 2 if x != \"b\"\ndeny contains \"x\" if f(input.path) == 3",
        "level := 1 if input.path == \"a\" else := 2\ndeny contains \"x\" if level == 2",
    ] {
        let problems = try_load(&format!("package strongroom.access\n{rules}")).unwrap_err();
        assert!(problems.iter().any(|it| it.contains("has several values")), "{problems:?}");
    }
    // Several conditions of one value are none, and neither is a default.
    let rules = "default level := 1\nlevel := 2 if input.path == \"a\"\n\
                 closed if level == 2\nclosed if level == 3\n\
                 is_a(x) if x == \"a\"\nis_a(x) if x == \"A\"\n\
                 deny contains \"x\" if { closed; is_a(input.path) }";
    assert_eq!(evaluate(rules, "a"), reasons(&["x"]));
    assert_eq!(evaluate(rules, "b"), reasons(&[]));
}

#[test]
fn a_result_that_is_no_set_of_texts_denies() {
    let result = evaluate("deny contains input.time.hour if input.path == \"a\"", "a");
    assert_eq!(result, Err("`deny` is not a set of texts".to_owned()));
}

/// Nested loops over a list of ten: 10 to the eighth steps.
fn long_loop() -> String {
    let loops: Vec<_> = (0..8).map(|n| format!("some v{n} in list; ")).collect();
    let loops = loops.concat();
    format!(
        "list := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n\
         deny contains \"x\" if {{ input.path == \"long\"; {loops} v0 + v7 > 100 }}"
    )
}

#[test]
fn a_loop_that_takes_too_long_denies_and_the_next_evaluation_works() {
    let policy = compile(&long_loop(), LIMIT);
    let result = policy.evaluate(&input("long", None));
    assert_eq!(result, Err("the evaluation exceeded 1000000 instructions".to_owned()));
    assert_eq!(policy.evaluate(&input("short", None)), reasons(&[]));

    let policy = compile(&long_loop(), Duration::from_nanos(1));
    let result = policy.evaluate(&input("long", None));
    assert_eq!(result, Err("the evaluation exceeded its time limit".to_owned()));
    assert_eq!(policy.evaluate(&input("short", None)), reasons(&[]));
}

#[test]
fn a_value_that_grows_in_a_loop_ends_at_a_limit() {
    let rules = "deny contains \"x\" if { input.path == \"long\"; count(all) > 0 }\n\
        list := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n\
        all := [[a, b, c, d, e, f, g, h] | some a in list; some b in list; some c in list; some d in list; \
        some e in list; some f in list; some g in list; some h in list]";
    let result = evaluate(rules, "long");
    assert!(matches!(&result, Err(it) if it.contains("exceeded")), "{result:?}");
}

#[test]
fn the_value_is_the_documented_input() {
    let mut input = input("a/b", Some(Tier::Critical));
    input.token = Some(TokenInput { id: "id".to_owned(), presented_by: Some("person:acme/ann") });
    input.reason = Some("a reason");
    let json = value::of(&input).to_json_str().unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::to_value(&input).unwrap());
    let expected = serde_json::json!({
        "principal": {
            "kind": "workload", "id": "spiffe://example.org/agent/acme/bot/researcher",
            "tenant": "acme", "agent": "bot", "role": "researcher",
        },
        "action": "read", "path": "a/b", "tier": "critical",
        "token": { "id": "id", "presented_by": "person:acme/ann" },
        "time": {
            "rfc3339": "2026-01-01T00:00:00.123Z", "ns": 1_767_225_600_123_000_000_u64,
            "hour": 0, "weekday": "thursday",
        },
        "reason": "a reason",
    });
    assert_eq!(json, expected);
}
