use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::Action;

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

#[test]
fn the_text_is_kept() {
    for text in [
        "secrets:read",
        "secrets:read+list:production/**",
        "secrets:*",
        "secrets:*:a/*/c",
        "secrets:lower_tier:a",
        "secrets:none",
        "secrets:read:a:b/c:d",
        "grants:read",
        "grants:write:production/**",
        "tokens:read",
        "tokens:write",
        "approvals:decide",
        "approvals:decide:production/*",
        "audit:read",
    ] {
        let scope = scope(text);
        assert_eq!(format!("{scope} {scope:?}"), format!("{text} `{text}`"));
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
}

#[test]
fn a_scope_without_a_pattern_is_for_every_path() {
    let everything = PathPattern::everything();
    let actions = Actions::from(Action::Read);
    assert_eq!(scope("secrets:read"), Scope::Secrets { actions, pattern: everything.clone() });
    assert_eq!(scope("secrets:read:**").to_string(), "secrets:read");
    assert_eq!(scope("approvals:decide"), Scope::Approvals { pattern: everything });
}

#[test]
fn actions_are_a_set() {
    assert_eq!(scope("secrets:list+read+list").to_string(), "secrets:read+list");
    let every: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
    assert_eq!(scope(&format!("secrets:{}", every.join("+"))), scope("secrets:*"));
}

#[test]
fn refuses_what_is_no_scope() {
    for text in [
        "",
        ":",
        "secrets",
        "secrets:",
        "secrets::a",
        "secrets:read:",
        "secrets:read:a/../b",
        "secrets:read:**/a",
        "secrets:Read",
        "Secrets:read",
        "secrets:read+",
        "secrets:read,list",
        "secrets: read",
        "secrets:read+*",
        "*",
        "*:read",
        "*:*",
        "**:read:a",
        "grants",
        "grants:*",
        "grants:read+write",
        "grants:delete",
        "grants:read:",
        "tokens",
        "tokens:*",
        "tokens:read:a",
        "tokens:write:**",
        "tokens:read:",
        "approvals",
        "approvals:read",
        "approvals:decide:",
        "audit",
        "audit:*",
        "audit:write",
        "audit:read:a",
        "audit:read:",
        "secret:read",
        "secrets:read:ä",
        "secrets:read:%61",
        "ѕecrets:read",
    ] {
        assert_eq!(Scope::parse(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
    }
    assert!(Scope::parse(&format!("secrets:{}", "read+".repeat(100_000))).is_err());
}

#[test]
fn an_error_lists_what_exists_and_repeats_nothing() {
    for (text, listed) in [
        ("hunter2:read", "secrets grants tokens approvals audit"),
        ("hunter2", "secrets grants tokens approvals audit"),
        ("secrets:hunter2", "read describe list write delete destroy lower_tier"),
        ("grants:hunter2", "`grants:read` or `grants:write`"),
        ("tokens:hunter2", "`tokens:read` or `tokens:write`"),
        ("approvals:hunter2", "`approvals:decide`"),
        ("audit:hunter2", "`audit:read`"),
        ("audit:read:hunter2", "leave the pattern out"),
        ("secrets:read:hunter2*", "`production/**`"),
    ] {
        let error = Scope::parse(text).unwrap_err();
        assert!(error.advice().contains(listed), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn writing_rules_includes_reading_them() {
    assert!(scope("tokens:write").covers(&scope("tokens:read")));
    assert!(!scope("tokens:read").covers(&scope("tokens:write")));
    assert!(scope("grants:write:a/**").covers(&scope("grants:read:a/b")));
    assert!(!scope("grants:read:a/**").covers(&scope("grants:write:a/b")));
    assert!(!scope("grants:write:a/**").covers(&scope("grants:read")));
    assert!(!scope("grants:write:prod/**").covers(&scope("grants:read:production/x")));
}

/// Every single thing that a scope permits, on paths of up to three segments.
fn permissions(text: &str) -> BTreeSet<String> {
    let names = ["a", "b", "z"];
    let mut paths: Vec<String> = names.map(str::to_owned).to_vec();
    for _ in 0..2 {
        let deeper: Vec<_> =
            paths.iter().flat_map(|path| names.map(|name| format!("{path}/{name}"))).collect();
        paths.extend(deeper);
    }
    let parts: Vec<_> = text.split(':').collect();
    let actions: Vec<_> = match parts[1] {
        "*" => Action::ALL.iter().map(|action| action.as_str()).collect(),
        "write" if parts[0] != "secrets" => vec!["read", "write"],
        some => some.split('+').collect(),
    };
    let matches = |path: &&String| match parts.get(2) {
        Some(&pattern) => match pattern.strip_suffix("**") {
            Some(start) => path.starts_with(start),
            None => *path == pattern,
        },
        None => true,
    };
    let on = |action: &&str| {
        let permission = format!("{}:{action}", parts[0]);
        paths
            .iter()
            .filter(matches)
            .map(move |path| format!("{permission}:{path}"))
            .collect::<Vec<_>>()
    };
    actions.iter().flat_map(on).collect()
}

#[test]
fn covers_exactly_the_scopes_that_permit_no_more() {
    let patterns = ["", ":**", ":a", ":a/**", ":a/b", ":a/b/**", ":b"];
    let with_patterns = [
        "secrets:read",
        "secrets:read+list",
        "secrets:write",
        "secrets:*",
        "grants:read",
        "grants:write",
        "approvals:decide",
    ];
    let mut texts =
        vec!["tokens:read".to_owned(), "tokens:write".to_owned(), "audit:read".to_owned()];
    texts
        .extend(with_patterns.iter().flat_map(|start| patterns.map(|end| format!("{start}{end}"))));
    for one in &texts {
        for other in &texts {
            let expected = permissions(other).is_subset(&permissions(one));
            assert_eq!(scope(one).covers(&scope(other)), expected, "{one} covers {other}");
        }
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_what_it_shows_is_the_same_scope(
        text in "(secrets|grants|tokens|approvals|audit):(read|write|decide|\\*|read\\+list)(:[ab*/:]{0,8})?|.{0,60}",
    ) {
        if let Ok(scope) = Scope::parse(&text) {
            prop_assert_eq!(Scope::parse(&scope.to_string()).unwrap(), scope.clone());
            prop_assert!(scope.covers(&scope));
        }
    }
}
