use std::time::Duration;

use super::{MAX_BRACKETS, MAX_DEPTH, problem};
use crate::policy::Module;
use crate::policy::engine::RegoPolicy;

fn load(body: &str) -> Result<RegoPolicy, Vec<String>> {
    let text = format!("package strongroom.access\ndeny contains \"x\" if {body}\n");
    let module = Module { name: "a.rego".to_owned(), text };
    RegoPolicy::compile(&[module], Duration::from_secs(60))
}

/// An expression of `n` levels of each kind.
fn expressions(n: usize) -> [String; 12] {
    let nested = |open: &str, close: &str| format!("{}1{} == 2", open.repeat(n), close.repeat(n));
    [
        format!("input.time.hour == 1{}", " +\n1".repeat(n)),
        format!("1 in {{1}}{}", "|\n{1}".repeat(n)),
        format!("1 {}", "in\n[1] ".repeat(n)),
        format!("1 {}", "<\n1".repeat(n)),
        format!("{}1 == 2", "-\n".repeat(n)),
        format!("input{}", ".\nin".repeat(n)),
        format!("input{}", "[\n0]".repeat(n)),
        format!("1 == 1{}", " + # 1 1\n count(\"\\\" 1\") + `1 1`".repeat(n)),
        nested("abs(\n", ")"),
        nested("[\n", "]"),
        nested("{\n", "}"),
        nested("[1 |\n", "]"),
    ]
}

#[test]
fn a_deep_expression_is_refused_before_it_is_parsed() {
    for n in [200, 15_000] {
        for body in expressions(n) {
            let problems = load(&body).map(|_| ()).unwrap_err();
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            let is_named =
                problem.contains("too many operators") || problem.contains("within each other");
            assert!(is_named && problem.starts_with("a.rego:"), "{problem}");
        }
    }
}

#[test]
fn brackets_after_one_another_do_not_hide_what_is_in_them() {
    let mut body = "1".to_owned();
    for _ in 0..MAX_BRACKETS - 1 {
        body = format!("({body}{})", "+1".repeat(MAX_DEPTH / MAX_BRACKETS + 2));
    }
    assert!(problem("a.rego", &body).is_some());
}

#[test]
fn what_follows_one_another_is_not_deep() {
    let object = "{\"a\": [1, 2, {\"b\": -1}], \"c\": {x | some x in input.list; x > 1 + 2}},\n";
    let rules =
        "closed if { not input.a.b.c; input.x == 1 }\nlevel := 1 if input.a == \"[(\" # [\n";
    let text = format!("package a\nall := [{}]\n{}", object.repeat(1000), rules.repeat(1000));
    assert_eq!(problem("a.rego", &text), None);
}

#[test]
fn an_expression_at_the_limits_is_compiled() {
    let chain = "+1".repeat(MAX_DEPTH - 10);
    assert!(load(&format!("input.time.hour == 1{chain}")).is_ok());
    for (open, close) in [("[", "]"), ("abs(", ")"), ("{\"a\": ", "}"), ("[x | x := ", "]")] {
        let (open, close) = (open.repeat(MAX_BRACKETS), close.repeat(MAX_BRACKETS));
        assert!(load(&format!("{open}1{close} == 2")).is_ok(), "{open}");
    }
}
