use proptest::prelude::*;
use strongroom_core::ErrorKind;

use super::*;

fn matches(pattern: &str, id: &str) -> bool {
    SpiffePattern::parse(pattern).unwrap().matches(&SpiffeId::parse(id).unwrap())
}

#[test]
fn a_wildcard_is_a_whole_segment_of_the_path() {
    for (pattern, id, expected) in [
        ("spiffe://hexr.cloud/a", "spiffe://hexr.cloud/a", true),
        ("spiffe://hexr.cloud/a", "spiffe://hexr.cloud/a/b", false),
        ("spiffe://hexr.cloud/a/*", "spiffe://hexr.cloud/a/b", true),
        ("spiffe://hexr.cloud/a/*", "spiffe://hexr.cloud/a", false),
        ("spiffe://hexr.cloud/a/*", "spiffe://hexr.cloud/a/b/c", false),
        ("spiffe://hexr.cloud/a/*", "spiffe://hexr.cloud/ab/c", false),
        ("spiffe://hexr.cloud/*/c", "spiffe://hexr.cloud/b/c", true),
        ("spiffe://hexr.cloud/*/c", "spiffe://hexr.cloud/a/b/c", false),
        ("spiffe://hexr.cloud/a/**", "spiffe://hexr.cloud/a/b/c", true),
        ("spiffe://hexr.cloud/a/**", "spiffe://hexr.cloud/a", false),
        ("spiffe://hexr.cloud/a/**", "spiffe://hexr.cloud/A/b", false),
        ("spiffe://hexr.cloud/**", "spiffe://hexr.cloud/a", true),
        ("spiffe://hexr.cloud/**", "spiffe://hexr.cloud", false),
        ("spiffe://hexr.cloud/*", "spiffe://hexr.cloud", false),
    ] {
        assert_eq!(matches(pattern, id), expected, "{pattern} on {id}");
    }
}

#[test]
fn another_trust_domain_never_matches() {
    for domain in [
        "hexr.cloud.evil",
        "evil.hexr.cloud",
        "hexr.clou",
        "hexr.cloud-",
        "hexr-cloud",
        "hexrxcloud",
    ] {
        for pattern in ["spiffe://hexr.cloud/**", "spiffe://hexr.cloud/*", "spiffe://hexr.cloud/a"]
        {
            assert!(!matches(pattern, &format!("spiffe://{domain}/a")), "{domain}");
        }
    }
    assert!(!matches("spiffe://a/**", "spiffe://b/a/c"));
}

#[test]
fn refuses_what_is_no_pattern() {
    for path in [
        "",
        "/",
        "/a/",
        "//a",
        "/a/../b",
        "/./*",
        "/**/a",
        "/**/**",
        "/***",
        "/a*",
        "/*a/b",
        "/{tenant}",
        "/a%2a",
        "/a:b",
        "/ä",
        "/a ",
        "/＊",
        "?*",
        ":443/*",
    ] {
        let error = SpiffePattern::parse(&format!("spiffe://hexr.cloud{path}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}");
    }
    for text in [
        "",
        "*",
        "**",
        "spiffe://**",
        "spiffe://*/a",
        "spiffe://*.cloud/a",
        "spiffe:///a",
        "*://a/b",
    ] {
        assert!(SpiffePattern::parse(text).is_err(), "{text:?}");
    }
    assert!(SpiffePattern::parse(&format!("spiffe://a/{}", "*/".repeat(1_000_000))).is_err());
    let error = SpiffePattern::parse("hunter2 is the password").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn matching_allocates_nothing() {
    let pattern = SpiffePattern::parse("spiffe://hexr.cloud/*/b/**").unwrap();
    let ids = ["spiffe://hexr.cloud/a/b/c/d", "spiffe://hexr.cloud/a/c", "spiffe://b/a"];
    let ids = ids.map(|id| SpiffeId::parse(id).unwrap());
    let allocations = allocation_counter::measure(|| {
        assert_eq!(ids.iter().filter(|id| pattern.matches(id)).count(), 1);
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn is_text_in_serde() {
    let text = "spiffe://hexr.cloud/a/*/**";
    let pattern = SpiffePattern::parse(text).unwrap();
    assert_eq!(serde_json::to_string(&pattern).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<SpiffePattern>(&format!("\"{text}\"")).unwrap(), pattern);
    assert_eq!(
        format!("{pattern} {pattern:?} {}", pattern.as_str()),
        format!("{text} `{text}` {text}")
    );
}

/// Reads pattern and ID from the right, with the whole text split at `/`.
fn naive(pattern: &str, id: &str) -> bool {
    let mut found: Vec<_> = id.split('/').collect();
    let mut wanted: Vec<_> = pattern.split('/').collect();
    if wanted.last() == Some(&"**") {
        wanted.pop();
        if found.len() <= wanted.len() {
            return false;
        }
        found.truncate(wanted.len());
    }
    wanted.len() == found.len()
        && wanted.iter().zip(&found).rev().all(|(wanted, found)| *wanted == "*" || wanted == found)
}

proptest! {
    #[test]
    fn agrees_with_the_naive_matcher(
        pattern in "spiffe://(a|b)(/(a|aa|A|\\*)){1,5}(/\\*\\*)?",
        ids in prop::collection::vec("spiffe://(a|b)(/(a|aa|A)){0,7}", 1..20),
    ) {
        for id in ids {
            prop_assert_eq!(matches(&pattern, &id), naive(&pattern, &id), "{} on {}", pattern, id);
        }
    }

    #[test]
    fn an_id_with_a_path_is_the_pattern_of_itself_alone(
        id in "spiffe://[a-c]{1,2}(/[a-c]{1,2}){1,3}", other in "spiffe://[a-c]{1,2}(/[a-c]{1,2}){1,3}",
    ) {
        prop_assert!(matches(&id, &id));
        prop_assert_eq!(matches(&id, &other), id == other);
    }

    #[test]
    fn parsing_never_panics_and_round_trips(text in "(spiffe://a/)?[a-zA*/.]{0,20}|.{0,100}") {
        if let Ok(pattern) = SpiffePattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}
