//! Random texts of the pieces that matter to such readers.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use strongroom_testkit::report;

use crate::readers::{Found, here, node, python};

const TEXTS: usize = 3000;

const PIECES: &[&str] = &[
    "A", "B", "=", "=", "A=", "B=", "export ", "'", "\"", "#", " ", " #", "\t", "\\", "\\n", "\\t",
    "\\\\", "$", "${A}", "`", "\n", "\n", "\r\n", "x", "ä", "-", "é ",
];

/// The same texts in each run.
fn texts() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let lines = prop::collection::vec(prop::sample::select(PIECES), 1..16);
    let mut text = || lines.new_tree(&mut runner).unwrap().current().concat() + "\n";
    std::iter::repeat_with(&mut text).take(TEXTS).collect()
}

/// Fails unless this parser gives every value on which all `readers` agree. It may refuse a text. Returns
/// how many values it gave.
fn check_agreement(texts: &[String], readers: &[Vec<Found>]) -> usize {
    let mut compared = 0;
    for (number, text) in texts.iter().enumerate() {
        let Some(found) = here(text) else { continue };
        let others: Vec<_> = readers.iter().filter_map(|reader| reader[number].as_ref()).collect();
        let [first, rest @ ..] = others.as_slice() else { continue };
        if others.len() < readers.len() {
            continue;
        }
        for (name, value) in *first {
            if rest.iter().all(|other| other.get(name) == Some(value)) {
                assert_eq!(found.get(name), Some(value), "`{name}` of {text:?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn agrees_with_other_readers_where_they_agree() {
    let texts = texts();
    let accepted = texts.iter().filter(|text| here(text).is_some_and(|found| !found.is_empty()));
    let accepted = accepted.count();
    assert!(accepted > TEXTS / 50, "only {accepted} of the texts have a value");
    let readers = [python(&texts), node(&texts)];
    let compared = check_agreement(&texts, &readers);
    assert!(compared > accepted / 2, "only {compared} values were compared");
    report(format_args!("{accepted} texts accepted, {compared} values equal"));
}
