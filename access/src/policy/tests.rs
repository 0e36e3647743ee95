use super::*;
use crate::policy::input::TimeInput;

const CANARY: &str = "canary-8f3a1c";

#[test]
fn a_file_that_is_no_module_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.rego");
    for content in [CANARY.to_owned(), format!("# {CANARY}\n\n {CANARY} package"), String::new()] {
        std::fs::write(&file, content).unwrap();
        let problems = Policy::from_file(&file).read().err().unwrap();
        assert_eq!(problems, ["policy.rego: it is not a module; begin it with `package`"]);
    }
    let problems = Policy::from_file(folder.path().join("none")).read().err().unwrap();
    assert!(problems[0].ends_with("it does not exist; create its folder, or name another path"));
    std::fs::write(&file, "# a comment\n\npackage strongroom.access\n").unwrap();
    assert_eq!(Policy::from_file(&file).read().unwrap()[0].name, "policy.rego");
}

#[test]
fn all_that_cannot_be_read_is_named_at_once() {
    let policy = Policy::from_file("/none/a").file("/none/b").text("c", "x").text("d", "package d");
    assert_eq!(policy.read().err().unwrap().len(), 3);
    assert_eq!(Policy::default().read().err().unwrap(), ["use 1 to 64 modules"]);
    let twice = Policy::from_text("a", "package a").text("a", "package b");
    assert_eq!(twice.read().err().unwrap(), ["two modules have the same name; rename one"]);
    let long = format!("package a\n#{}", "x".repeat(1024 * 1024));
    assert_eq!(Policy::from_text("a", long).read().err().unwrap().len(), 1);
}

#[test]
fn debug_shows_no_text() {
    let shown = format!("{:?}", Policy::from_text("a.rego", CANARY));
    assert!(shown.contains("a.rego") && !shown.contains("canary"), "{shown}");
}

#[test]
fn the_digest_depends_on_names_and_texts() {
    let module = |name: &str, text: &str| Module { name: name.into(), text: text.into() };
    let one = digest(&[module("a", "bc")]);
    assert_eq!(one.len(), 64);
    assert_eq!(one, digest(&[module("a", "bc")]));
    assert_ne!(one, digest(&[module("ab", "c")]));
    assert_ne!(one, digest(&[module("a", "bd")]));
}

#[test]
fn the_time_is_that_of_the_decision_in_utc() {
    // 2024-02-29T23:59:59.999Z, a Thursday.
    let time = TimeInput::at(1_709_251_199_999);
    assert_eq!((time.hour, time.weekday), (23, "thursday"));
    assert_eq!(time.rfc3339, "2024-02-29T23:59:59.999Z");
    assert_eq!(time.ns, 1_709_251_199_999_000_000);
    let next = TimeInput::at(1_709_251_200_000);
    assert_eq!((next.hour, next.weekday), (0, "friday"));
}

#[cfg(not(feature = "rego"))]
#[test]
fn a_policy_without_the_feature_is_an_error_that_names_it() {
    let limit = std::time::Duration::from_millis(10);
    let error = Policy::from_text("a", "package a").load("`x`", limit).unwrap_err();
    assert!(error.problems()[0].contains("needs the cargo feature `rego`"), "{error}");
}
