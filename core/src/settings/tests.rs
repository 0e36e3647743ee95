use super::*;

const FLAG: Setting = Setting::flag("SECRETS_FLAG", "Config::flag");
const NUMBER: Setting = Setting::number("SECRETS_NUMBER", "Config::number", "versions");
const TIME: Setting = Setting::duration("SECRETS_TIME", "Config::time");
const PAIRS: Setting = Setting::pairs("SECRETS_PAIRS", "Config::pairs");
const TOKEN: Setting = Setting::text("VAULT_TOKEN", "Config::token");

#[test]
fn debug_names_settings_and_hides_values() {
    let mut settings = Settings::new();
    settings.set("VAULT_TOKEN", "hunter2");
    assert_eq!(format!("{settings:?}"), r#"{"VAULT_TOKEN": "[REDACTED]"}"#);
}

#[test]
fn an_unusable_variable_is_a_problem_only_for_the_table_that_has_it() {
    let mut settings = Settings::new();
    for name in ["SECRETS_FLAG", "SECRETS_NUMBER", "SECRETS_TIME", "VAULT_TOKEN"] {
        settings.set_variable(name, name, OsString::new());
    }
    settings.set("SECRETS_TIME", "replaced");
    assert_eq!(settings.variables().collect::<Vec<_>>(), ["SECRETS_TIME"]);
    let mut problems = Problems::new();
    settings.validate(&[FLAG, TIME, TOKEN, PAIRS], &mut problems);
    let error = problems.into_result().unwrap_err();
    assert_eq!(error.problems(), ["`SECRETS_FLAG` is set but empty; unset it or give it a value"]);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_problem() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut settings = Settings::new();
    settings.set_variable("VAULT_TOKEN", "VAULT_TOKEN", OsString::from_vec(vec![0xff]));
    let mut problems = Problems::new();
    settings.validate(&[TOKEN], &mut problems);
    assert_eq!(problems.into_result().unwrap_err().problems(), ["`VAULT_TOKEN` is not UTF-8"]);
}

#[test]
fn malformed_settings_are_problems_that_hide_the_value() {
    let mut settings = Settings::new();
    for setting in [FLAG, NUMBER, TIME] {
        settings.set(setting.variable(), "hunter2");
    }
    let mut problems = Problems::new();
    assert_eq!(settings.flag(&FLAG, &mut problems), None);
    assert_eq!(settings.number(&NUMBER, &mut problems), None);
    assert_eq!(settings.duration(&TIME, &mut problems), None);
    assert_eq!(settings.flag(&TOKEN, &mut problems), None);
    let error = problems.into_result().unwrap_err();
    assert_eq!(error.problems().len(), 3);
    assert!(error.problems()[1].ends_with("is not a whole number of versions"), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn a_duration_has_a_unit_or_is_in_seconds() {
    let mut settings = Settings::new();
    for (text, milliseconds) in [("10", 10_000), ("10s", 10_000), ("500ms", 500)] {
        settings.set("SECRETS_TIME", text);
        let mut problems = Problems::new();
        let expected = Some(Duration::from_millis(milliseconds));
        assert_eq!(settings.duration(&TIME, &mut problems), expected);
        problems.into_result().unwrap();
    }
    for text in ["-1", "10 parsecs", "99999999999999999999s", "1.5"] {
        settings.set("SECRETS_TIME", text);
        let mut problems = Problems::new();
        assert_eq!(settings.duration(&TIME, &mut problems), None);
        assert_eq!(problems.into_result().unwrap_err().problems().len(), 1);
    }
}

#[test]
fn pairs_are_separated_by_commas() {
    let mut settings = Settings::new();
    assert_eq!(settings.pairs(&PAIRS).count(), 0);
    settings.set("SECRETS_PAIRS", "team=payments, note = a=b ,, lone");
    assert_eq!(
        settings.pairs(&PAIRS).collect::<Vec<_>>(),
        [Some(("team", "payments")), Some(("note", "a=b")), None]
    );
}

#[test]
fn a_setting_has_two_variables_and_they_may_not_differ() {
    const ALIASED: &[Setting] = &[TOKEN.alias("BAO_TOKEN")];
    let with = |pairs: &[(&str, &str)]| {
        let settings = Settings::from_variables(ALIASED, |name| {
            pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value))
        });
        let mut problems = Problems::new();
        settings.validate(ALIASED, &mut problems);
        let value = settings.expose_owned(&TOKEN);
        let name = settings.names(ALIASED).name(&TOKEN).into_owned();
        (value, name, problems.into_result().err().map(|error| error.problems().concat()))
    };
    let found = |name: &str| (Some("hunter2".to_owned()), name.to_owned(), None);
    assert_eq!(with(&[("VAULT_TOKEN", "hunter2")]), found("VAULT_TOKEN"));
    assert_eq!(with(&[("BAO_TOKEN", "hunter2")]), found("BAO_TOKEN"));
    assert_eq!(with(&[("VAULT_TOKEN", ""), ("BAO_TOKEN", "hunter2")]), found("BAO_TOKEN"));
    assert_eq!(with(&[("VAULT_TOKEN", "hunter2"), ("BAO_TOKEN", "")]), found("VAULT_TOKEN"));
    assert_eq!(with(&[("VAULT_TOKEN", "hunter2"), ("BAO_TOKEN", "hunter2")]), found("VAULT_TOKEN"));
    let (_, _, problem) = with(&[("VAULT_TOKEN", "hunter2"), ("BAO_TOKEN", "hunter3")]);
    let problem = problem.unwrap();
    assert_eq!(
        problem,
        "`VAULT_TOKEN` and `BAO_TOKEN` are set to different values; keep one of them"
    );
}
