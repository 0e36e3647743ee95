//! What the writer writes, the parser reads back byte for byte; and so does `python-dotenv`.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use strongroom_backend_env::dotenv;
use strongroom_core::{ErrorKind, SecretValue};

use crate::readers::{here, python};

/// Any characters, or many of those that matter.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ab '\"#$\\\\`=\t\r\n\u{a0}{}nrt]{0,12}", "[!-~]{1,40}"]
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z_][A-Za-z0-9_.-]{0,8}"
}

fn write(name: &str, value: &str) -> String {
    dotenv::write([(name, &SecretValue::from(value))]).unwrap().to_string()
}

proptest! {
    #[test]
    fn every_text_is_read_back(variables in prop::collection::btree_map(name(), value(), 0..5)) {
        let values: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), SecretValue::from(value.as_str())))
            .collect();
        let text = dotenv::write(values.iter().map(|(name, value)| (*name, value))).unwrap();
        prop_assert_eq!(here(&text), Some(variables.clone()));
        // Also as other editors save it.
        let with_crlf = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        prop_assert_eq!(here(&with_crlf), Some(variables));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = dotenv::parse(&text);
    }
}

#[test]
fn python_dotenv_reads_the_same_values() {
    let mut runner = TestRunner::deterministic();
    let mut values = Vec::new();
    while values.len() < 1000 {
        let value = value().new_tree(&mut runner).unwrap().current();
        // The writer's documentation names those that it cannot read.
        if !(value.ends_with('\\') && value.contains(['"', '\'', '#', '\n', '\r', '`'])) {
            values.push(value);
        }
    }
    let texts: Vec<_> = values.iter().map(|value| write("A", value) + "B=\"x\"\n").collect();
    for ((value, text), found) in values.iter().zip(&texts).zip(python(&texts)) {
        let found = found.unwrap_or_else(|| panic!("{text:?} is malformed for it"));
        assert_eq!(found.get("A"), Some(value), "{text:?}");
        assert_eq!(found["B"], "x", "{text:?}");
    }
}

#[test]
fn the_form_of_a_value_is_the_simplest() {
    for (value, line) in [
        ("", "A=\n"),
        ("sk-1_2/3+4==", "A=sk-1_2/3+4==\n"),
        ("p@$$w0rd", "A='p@$$w0rd'\n"),
        ("two words # none", "A='two words # none'\n"),
        ("-----BEGIN-----\nab\n", "A='-----BEGIN-----\nab\n'\n"),
        ("C:\\dir", "A='C:\\dir'\n"),
        ("C:\\dir\\", "A=C:\\dir\\\n"),
        ("it's", "A=it's\n"),
        ("it's \"#1\"", "A=\"it's \\\"#1\\\"\"\n"),
        ("a\tb\r", "A=\"a\\tb\\r\"\n"),
        ("~", "A='~'\n"),
    ] {
        assert_eq!(write("A", value), line);
        assert_eq!(here(line).unwrap()["A"], value);
    }
}

#[test]
fn what_cannot_be_written_is_refused_without_the_value() {
    let (text, binary) = (SecretValue::from("canary"), SecretValue::binary(vec![0xff]));
    for name in ["", "1A", "A B", "A=", "Ä", "A\nB"] {
        let error = dotenv::write([(name, &text)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            !error.to_string().contains("canary") && !error.to_string().contains('\n'),
            "{error}"
        );
    }
    let twice = dotenv::write([("A", &text), ("A", &text)]).unwrap_err();
    assert!(twice.to_string().contains("`A` comes twice"), "{twice}");
    assert_eq!(dotenv::write([("A", &binary)]).unwrap_err().kind(), ErrorKind::WrongType);
}
