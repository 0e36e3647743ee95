//! The writers against real readers, and against the rules of those that a machine may not have.

mod readers;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use strongroom::{ErrorKind, SecretPath, SecretValue};

use super::check::{self, round_trip};
use super::*;

/// Values that break out of formats in which they are not escaped.
const NASTY: &[&str] = &[
    "",
    " ",
    "plain",
    "'",
    "\"",
    "''",
    "\\",
    "\\'",
    "\\\\",
    "a\\",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "$HOME",
    "$$",
    "!!",
    "'; touch pwned; '",
    "'\n touch pwned\n'",
    "\"; touch pwned; \"",
    "x\ntouch pwned\n",
    "line one\nline two\n",
    "\r\n",
    "cr\rhere",
    "\ttab\t",
    " leading and trailing ",
    "# comment",
    "; comment",
    "a # b",
    "a=b",
    "{a,b}",
    "*",
    "~",
    "~root",
    "a & b | c > d < e",
    "(touch pwned)",
    "%s %d %n",
    "%25%0A",
    "::set-output name=a::b",
    "::add-mask::x",
    "EOF",
    "- item",
    "key: value",
    "&anchor",
    "*alias",
    "!!python/object:os.system",
    "null",
    "true",
    "1e3",
    "0x10",
    "---",
    "...",
    "{\"user\": \"app\"}",
    "\u{7f}\u{1}\u{1b}[2J",
    "\u{85}\u{2028}\u{2029}",
    "\u{feff}bom",
    "\u{2018}smart\u{2019}; touch pwned; \u{201a}\u{201b}",
    "ä é 漢字 😀",
    "\u{e000}\u{f600}\u{f8ff}\u{fdd0}\u{ffff}\u{10ffff}",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
];

fn entry(index: usize, value: impl Into<SecretValue>) -> Entry {
    Entry {
        path: SecretPath::parse(&format!("secret/{index}")).unwrap(),
        name: format!("V{index}"),
        value: value.into(),
    }
}

fn entries(values: &[String]) -> Vec<Entry> {
    values.iter().enumerate().map(|(index, value)| entry(index, value.as_str())).collect()
}

/// The nasty values, and the same random ones in each run. Without NUL, which no variable can hold.
fn values() -> Vec<String> {
    let pieces = prop::sample::select(NASTY);
    let any = prop_oneof![
        3 => prop::collection::vec(pieces, 1..4).prop_map(|pieces| pieces.concat()),
        2 => "[ -~]{0,12}",
        1 => "\\PC{0,8}",
        1 => any::<String>(),
    ];
    let mut runner = TestRunner::deterministic();
    let random = std::iter::repeat_with(|| any.new_tree(&mut runner).unwrap().current());
    let all = NASTY.iter().map(|value| (*value).to_owned()).chain(random.take(800));
    all.filter(|value| !value.contains('\0')).collect()
}

/// Writes the values that a format can hold, and asserts that a reader of all of them finds exactly those.
fn check_reader(format: &TextFormat, least: usize, read: impl FnOnce(&[u8], usize) -> Vec<String>) {
    let holds = |value: &String| write(format, &[entry(0, value.as_str())]).is_ok();
    let values: Vec<_> = values().into_iter().filter(holds).collect();
    assert!(values.len() >= least, "{format:?} holds only {} values", values.len());
    let output = write(format, &entries(&values)).unwrap();
    let found = read(&output, values.len());
    assert_eq!(found.len(), values.len());
    for (found, value) in found.iter().zip(&values) {
        assert_eq!(found, value, "{format:?}");
    }
}

#[test]
fn shells_read_every_value() {
    for shell in ["bash", "dash", "sh"] {
        for how in [readers::source, readers::eval] {
            check_reader(&TextFormat::Shell, 800, |output, count| {
                readers::shell(shell, how, output, count)
            });
        }
    }
}

#[test]
fn pyyaml_reads_every_value() {
    check_reader(&TextFormat::Yaml, 800, readers::pyyaml);
}

#[test]
fn pyyaml_reads_the_data_of_a_manifest() {
    let manifest = Manifest { name: "app".to_owned(), namespace: None };
    check_reader(&TextFormat::K8s(manifest), 800, readers::manifest);
}

#[test]
fn python_reads_every_value_in_json() {
    check_reader(&TextFormat::Json, 800, readers::json);
}

#[test]
fn docker_reads_every_value_on_one_line() {
    check_reader(&TextFormat::Docker, 400, |output, count| {
        let found = check::read_docker(std::str::from_utf8(output).unwrap()).unwrap();
        readers::in_order(&found, count)
    });
    // Docker's library for Python removes blanks around a line, and takes more characters for blanks.
    let plain = |value: &String| {
        !value.is_empty() && value.trim() == value && !value.ends_with(char::is_control)
    };
    let values: Vec<_> = values().into_iter().filter(plain).collect();
    let holds = |value: &String| {
        !value.contains(readers::PYTHON_LINE_BREAKS)
            && write(&TextFormat::Docker, &[entry(0, value.as_str())]).is_ok()
    };
    let values: Vec<_> = values.into_iter().filter(holds).collect();
    let output = write(&TextFormat::Docker, &entries(&values)).unwrap();
    assert_eq!(readers::docker_py(&output, values.len()), values);
}

/// `python-dotenv` has no form for one kind of value, and the writer says which.
#[test]
fn python_dotenv_reads_every_value_that_it_has_a_form_for() {
    let formless = |value: &str| {
        value.ends_with('\\')
            && value.contains(|c: char| matches!(c, '\'' | '"' | '#') || c.is_control())
    };
    let values: Vec<_> = values()
        .into_iter()
        .filter(|value| {
            !formless(value)
                && !value.contains('\r')
                && value.chars().all(|c| c == '\n' || !c.is_control())
        })
        .collect();
    assert!(values.len() > 400, "{}", values.len());
    let output = write(&TextFormat::Dotenv, &entries(&values)).unwrap();
    assert_eq!(readers::python_dotenv(&output, values.len()), values);
}

#[test]
fn every_format_is_read_back_by_its_rules() {
    for (index, value) in values().into_iter().enumerate() {
        let held = round_trip(&[entry(index, value.as_str())]);
        assert!(held >= 7, "{value:?} is held by {held} formats");
    }
    assert_eq!(round_trip(&entries(&["a".to_owned(), "b c".to_owned()])), 10);
    assert_eq!(round_trip(&[]), 10);
}

proptest! {
    #[test]
    fn no_name_and_no_value_breaks_out(
        pairs in prop::collection::vec((prop_oneof![any::<String>(), "[A-Za-z_.-]{1,8}"], any::<String>()), 0..4)
    ) {
        let entries: Vec<_> = pairs
            .into_iter()
            .enumerate()
            .map(|(index, (name, value))| Entry { name, ..entry(index, value) })
            .collect();
        round_trip(&entries);
    }

    #[test]
    fn binary_values_are_held_by_a_manifest_alone(bytes in prop::collection::vec(any::<u8>(), 1..32)) {
        prop_assume!(std::str::from_utf8(&bytes).is_err());
        prop_assert_eq!(round_trip(&[entry(0, SecretValue::binary(bytes))]), 1);
    }
}

#[test]
fn a_value_that_a_format_cannot_hold_is_refused_by_the_path_of_its_secret() {
    for (format, value) in [
        (TextFormat::Docker, "hunter2\nx".to_owned()),
        (TextFormat::Docker, "hunter2\r".to_owned()),
        (TextFormat::Docker, "hunter2".repeat(10_000)),
        (TextFormat::Systemd, "hunter2\u{1b}".to_owned()),
        (TextFormat::Systemd, "hunter2\u{fdd0}".to_owned()),
        (TextFormat::Systemd, "hunter2\u{1fffe}".to_owned()),
        (TextFormat::Shell, "hunter2\0".to_owned()),
        (TextFormat::Dotenv, "hunter2\0".to_owned()),
        (TextFormat::Fish, "hunter2\0".to_owned()),
    ] {
        let error = write(&format, &[entry(7, value)]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::WrongType, "{format:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("`secret/7`") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_name_that_programs_obey_is_refused_where_it_would_be_a_variable() {
    let named = |name: &str| [Entry { name: name.to_owned(), ..entry(0, "x") }];
    for (format, _) in check::formats() {
        let is_variable =
            !matches!(format, TextFormat::Json | TextFormat::Yaml | TextFormat::K8s(_));
        for name in ["LD_PRELOAD", "PATH", "BASH_ENV", "IFS", "NODE_OPTIONS"] {
            assert_eq!(write(&format, &named(name)).is_err(), is_variable, "{format:?} {name}");
        }
    }
    for name in ["GITHUB_TOKEN", "RUNNER_TEMP"] {
        assert!(gha::write(&named(name), "d").is_err(), "{name}");
        assert!(write(&TextFormat::Shell, &named(name)).is_ok(), "{name}");
    }
}

#[test]
fn two_secrets_with_one_name_are_refused() {
    let same = |index| Entry { name: "A_B".to_owned(), ..entry(index, "x") };
    for (format, _) in check::formats() {
        let error = write(&format, &[same(1), same(2)]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("`secret/1` has the name `A_B`"), "{error}");
    }
}

#[test]
fn fields_are_an_object_in_json() {
    let value = SecretValue::fields([("user", "app"), ("password", "a\"b")]);
    let output = write(&TextFormat::Json, &[entry(0, value)]).unwrap();
    let found: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&output).unwrap();
    assert_eq!(found["V0"]["password"], "a\"b");
}

#[test]
fn a_delimiter_that_occurs_in_a_value_is_refused() {
    assert!(gha::write(&[entry(0, "x\ndelimiter\ny")], "delimiter").is_err());
}
