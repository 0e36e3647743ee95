use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// Every path of up to this many segments is enumerated. Patterns have fewer, so that `**` shows what it does.
const DEPTH: usize = 5;

/// Names of which patterns use all but the last: it stands for every name that no pattern mentions.
const NAMES: [&str; 3] = ["a", "ab", "z"];

/// Every text of `len` segments that come from `names`.
fn sequences(names: &[&str], len: usize) -> Vec<String> {
    match len {
        0 => vec![],
        1 => names.iter().map(|&name| name.to_owned()).collect(),
        _ => sequences(names, len - 1)
            .iter()
            .flat_map(|start| names.iter().map(move |name| format!("{start}/{name}")))
            .collect(),
    }
}

fn every_path(depth: usize) -> Vec<String> {
    (1..=depth).flat_map(|len| sequences(&NAMES, len)).collect()
}

/// The paths that a pattern means, produced by writing every name in place of each wildcard.
fn meaning(pattern: &str) -> BTreeSet<String> {
    let mut starts = vec![String::new()];
    for segment in pattern.split('/') {
        let continuations = match segment {
            "*" => sequences(&NAMES, 1),
            "**" => every_path(DEPTH),
            name => vec![name.to_owned()],
        };
        starts = starts
            .iter()
            .flat_map(|start| continuations.iter().map(move |next| format!("{start}/{next}")))
            .filter(|path| path.matches('/').count() <= DEPTH)
            .collect();
    }
    starts.iter().map(|path| path[1..].to_owned()).collect()
}

/// Every pattern of up to three segments, with and without `/**` behind them, and `**`.
fn every_pattern() -> Vec<String> {
    let fixed: Vec<_> = (1..=3).flat_map(|len| sequences(&["a", "ab", "*"], len)).collect();
    let deep = fixed.iter().map(|text| format!("{text}/**"));
    deep.chain(fixed.clone()).chain(["**".to_owned()]).collect()
}

#[test]
fn matches_exactly_the_paths_that_a_pattern_means() {
    let paths = every_path(DEPTH);
    for text in every_pattern() {
        let (pattern, meaning) = (pattern(&text), meaning(&text));
        for path in &paths {
            assert_eq!(pattern.matches(path), meaning.contains(path), "{text} on {path}");
        }
    }
}

#[test]
fn covers_a_pattern_exactly_if_every_path_it_means_matches() {
    let patterns: Vec<_> =
        every_pattern().iter().map(|text| (pattern(text), meaning(text))).collect();
    for (one, meant_by_one) in &patterns {
        for (other, meant_by_other) in &patterns {
            let expected = meant_by_other.is_subset(meant_by_one);
            assert_eq!(one.covers(other), expected, "{one} covers {other}");
        }
    }
}

#[test]
fn could_match_below_a_prefix_exactly_if_some_path_there_matches() {
    let prefixes = every_path(DEPTH - 1);
    for text in every_pattern() {
        let (pattern, meaning) = (pattern(&text), meaning(&text));
        assert!(pattern.could_match_below(None));
        for prefix in &prefixes {
            let below = format!("{prefix}/");
            let expected = meaning.iter().any(|path| path.starts_with(&below));
            assert_eq!(pattern.could_match_below(Some(prefix)), expected, "{text} below {prefix}");
        }
    }
}

#[test]
fn a_segment_is_compared_as_a_whole() {
    for (text, path) in [
        ("prod/*", "production/x"),
        ("prod/**", "production/x"),
        ("prod/**", "prod-eu/x"),
        ("prod", "prod/x"),
        ("prod", "production"),
        ("production", "prod"),
        ("prod/**", "prod"),
        ("prod/*", "prod"),
        ("prod/*", "prod/x/y"),
        ("*/key", "prod/key2"),
        ("*/key", "prod/x/key"),
        ("*/prod/**", "x/production/y"),
    ] {
        assert!(!pattern(text).matches(path), "{text} on {path}");
    }
    assert!(!pattern("prod/**").covers(&pattern("production/**")));
    assert!(!pattern("prod/**").could_match_below(Some("production")));
    assert!(!pattern("production/**").could_match_below(Some("prod")));
}

#[test]
fn case_and_lookalikes_are_other_names() {
    for other in ["Prod/x", "PROD/x", "prod/X", "рrod/x", "prod／x", "prod/x\u{200b}", "prоd/x"]
    {
        assert!(!pattern("prod/x").matches(other), "{other}");
    }
    assert!(!pattern("prod/**").matches("Prod/x"));
    assert!(!pattern("prod/*").covers(&pattern("PROD/*")));
    assert!(!pattern("prod/**").matches("pr%6fd/x") && !pattern("a/*/c").matches("a%2Fb/c"));
}

#[test]
fn a_wildcard_never_leaves_its_place_even_in_text_that_is_no_path() {
    for text in
        ["prod/..", "prod/../dev/x", "prod/.", "prod/", "prod//x", "prod/x/", "prod/x/..", "", "/"]
    {
        for wildcard in ["prod/*", "prod/**", "prod/*/**", "**", "*", "*/*", "*/**"] {
            assert!(!pattern(wildcard).matches(text), "{wildcard} on {text:?}");
        }
    }
    for prefix in ["", "..", "prod/..", "prod//x", "/prod", "prod/"] {
        assert!(!pattern("**").could_match_below(Some(prefix)), "{prefix:?}");
        assert!(!pattern("*/*/*/**").could_match_below(Some(prefix)), "{prefix:?}");
    }
}

#[test]
fn refuses_what_is_no_pattern() {
    for text in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./**",
        "../**",
        "**/a",
        "a/**/b",
        "**/**",
        "**/*",
        "***",
        "a*",
        "*a",
        "a/b*c",
        "a/**b",
        "a*/b",
        "* ",
        "a b",
        "a\nb",
        "a\0b",
        "ä/*",
        "a%2f*",
        "a\\*",
        "a?b",
        "a#b",
        "[a]",
        "{a}",
        "a/*/",
        "a,b",
        "！",
        "＊",
        "a/\u{200b}",
    ] {
        let error = PathPattern::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
    }
    let error = PathPattern::parse("hunter2 is the password").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn every_path_has_a_pattern_for_itself_and_one_for_what_is_below() {
    for text in ["a", "a/b@c:d+e", &"x".repeat(512), &vec!["x"; 256].join("/")] {
        let (exact, below) = (PathPattern::exact(&path(text)), PathPattern::below(&path(text)));
        assert_eq!(pattern(text), exact);
        assert_eq!(pattern(&format!("{text}/**")), below);
        assert!(exact.is_exact() && !below.is_exact());
        assert!(exact.matches(text) && !below.matches(text));
        assert!(
            PathPattern::everything().covers(&exact) && PathPattern::everything().covers(&below)
        );
        assert!(!below.covers(&exact) && !exact.covers(&below));
    }
    assert_eq!(PathPattern::everything(), pattern("**"));
}

#[test]
fn limits_bytes_and_segments() {
    assert!(PathPattern::parse(&"x".repeat(513)).is_err());
    assert!(PathPattern::parse(&"x/".repeat(1_000_000)).is_err());
    assert!(PathPattern::parse(&"*".repeat(1_000_000)).is_err());
    assert!(PathPattern::parse(&vec!["*"; 32].join("/")).is_ok());
    assert!(PathPattern::parse(&vec!["*"; 33].join("/")).is_err());
    assert!(PathPattern::parse(&format!("{}/**", vec!["*"; 31].join("/"))).is_ok());
    assert!(PathPattern::parse(&format!("{}/**", vec!["*"; 32].join("/"))).is_err());
}

#[test]
fn long_text_takes_linear_time() {
    let wide = pattern(&format!("{}/z", vec!["*"; 31].join("/")));
    let text = format!("{}/z", vec!["a"; 500_000].join("/"));
    let start = std::time::Instant::now();
    assert!(!wide.matches(&text) && pattern("**").matches(&text) && !pattern("a/*").matches(&text));
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn matching_allocates_nothing() {
    let patterns = every_pattern().iter().map(|text| pattern(text)).collect::<Vec<_>>();
    let paths = every_path(3);
    let allocations = allocation_counter::measure(|| {
        for one in &patterns {
            for path in &paths {
                std::hint::black_box((one.matches(path), one.could_match_below(Some(path))));
            }
            for other in &patterns {
                std::hint::black_box(one.covers(other));
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn is_text_in_serde() {
    let pattern = pattern("a/*/**");
    assert_eq!(serde_json::to_string(&pattern).unwrap(), r#""a/*/**""#);
    assert_eq!(serde_json::from_str::<PathPattern>(r#""a/*/**""#).unwrap(), pattern);
    assert!(serde_json::from_str::<PathPattern>(r#""a/../b""#).is_err());
    assert_eq!(format!("{pattern} {pattern:?}"), "a/*/** `a/*/**`");
    assert_eq!(pattern.segments().collect::<Vec<_>>(), ["a", "*", "**"]);
}

/// Reads a pattern from the left, one segment at a time.
fn naive(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) | (["**"], [_, ..]) => true,
        ([first, pattern @ ..], [name, path @ ..]) => {
            (*first == "*" || first == name) && naive(pattern, path)
        }
        _ => false,
    }
}

/// Names that are easily taken for one another.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "A", "aa", "a.", ".a", "...", "a-b", "prod", "production"])
            .prop_map(str::to_owned),
        1 => "[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]{0,6}",
    ]
}

fn pattern_text() -> impl Strategy<Value = String> {
    let segment = prop_oneof![2 => name(), 1 => Just("*".to_owned())];
    (prop::collection::vec(segment, 1..6), any::<bool>()).prop_map(|(segments, deep)| {
        let deep = if deep { "/**" } else { "" };
        format!("{}{deep}", segments.join("/"))
    })
}

fn path_text() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..8).prop_map(|names| names.join("/"))
}

/// A pattern and a path that has some of its segments.
fn pattern_and_path() -> impl Strategy<Value = (String, String)> {
    (pattern_text(), prop::collection::vec(name(), 8), prop::collection::vec(0..8_u8, 8)).prop_map(
        |(pattern, names, choices)| {
            let mut path = Vec::new();
            for ((segment, name), choice) in pattern.split('/').zip(&names).zip(&choices) {
                path.push(if segment.contains('*') || *choice == 0 { name } else { segment });
            }
            path.extend(names.iter().map(String::as_str).take(usize::from(choices[7] % 3)));
            let path = path.join("/");
            (pattern, path)
        },
    )
}

proptest! {
    #[test]
    fn parsing_never_panics_and_round_trips(text in "[a-zA-Z*/.ä %]{0,40}|.{0,600}") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text.clone());
            prop_assert_eq!(pattern.is_exact(), SecretPath::parse(&text).is_ok());
            prop_assert!(pattern.covers(&pattern));
            prop_assert!(PathPattern::everything().covers(&pattern));
        }
    }

    #[test]
    fn agrees_with_the_naive_matcher((text, path) in pattern_and_path()) {
        let segments = |text: &'_ str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (wanted, found) = (segments(&text), segments(&path));
        let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        let pattern = pattern(&text);
        prop_assert_eq!(pattern.matches(&path), naive(&wanted, &found), "{} on {}", text, path);
        for end in 1..found.len() {
            if pattern.matches(&path) {
                let prefix = found[..end].join("/");
                prop_assert!(pattern.could_match_below(Some(&prefix)));
            }
        }
    }

    #[test]
    fn what_is_covered_never_matches_more(
        one in pattern_text(), (other, path) in pattern_and_path(), free in path_text(),
    ) {
        let (one, other) = (pattern(&one), pattern(&other));
        if one.covers(&other) {
            for path in [&path, &free] {
                prop_assert!(one.matches(path) || !other.matches(path), "{} {} {}", one, other, path);
            }
        }
        let exact = PathPattern::exact(&SecretPath::parse(&path).unwrap());
        prop_assert_eq!(other.covers(&exact), other.matches(&path));
    }
}
