//! The table of the documentation, and further lines: what each reader makes of them.

use crate::readers::{Found, docker, here, node, python};

/// A line, and the value of `A` in this crate, `python-dotenv` 1.2, Node 22 and Docker 28; `None` where a
/// reader reports an error or has no `A`.
type Row = (&'static str, [Option<&'static str>; 4]);

const fn all(value: &'static str) -> [Option<&'static str>; 4] {
    [Some(value); 4]
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("A=p@$$w0rd", all("p@$$w0rd")),
    ("A=$2b$12$abcdefghijklmnopqrstuv", all("$2b$12$abcdefghijklmnopqrstuv")),
    ("A=${HOME}", all("${HOME}")),
    ("A=it's", all("it's")),
    ("A=a\"b\"", all("a\"b\"")),
    ("A=C:\\new\\dir", all("C:\\new\\dir")),
    ("A=two words", all("two words")),
    ("A=a=b==", all("a=b==")),
    ("A=", all("")),
    ("A=1\nA=2", all("2")),
    ("A=1\r\n\r\n# b\r\nB=2\r", all("1")),
    ("  A=1", all("1")),
    ("# it's\nA=1 ", [Some("1"), Some("1"), Some("1"), Some("1 ")]),
    ("export A=1", [Some("1"), Some("1"), Some("1"), None]),
    ("A = 1", [Some("1"), Some("1"), Some("1"), None]),
    ("A=a#b", [Some("a#b"), Some("a#b"), Some("a"), Some("a#b")]),
    ("A=a # it's", [Some("a"), Some("a"), Some("a"), Some("a # it's")]),
    ("A=a  # it's\nB='1'", [Some("a"), Some("a"), Some("a"), Some("a  # it's")]),
    ("A=a\t# it's\nB='1'", [Some("a"), Some("a"), Some("a"), Some("a\t# it's")]),
    ("A= # b", [Some(""), Some(""), Some(""), Some(" # b")]),
    ("A=#b", [Some("#b"), Some("#b"), Some(""), Some("#b")]),
    ("A='a'", [Some("a"), Some("a"), Some("a"), Some("'a'")]),
    ("A='a'# b", [Some("a"), Some("a"), Some("a"), Some("'a'# b")]),
    ("A=\"a\" # \"b\"", [Some("a"), Some("a"), Some("a"), Some("\"a\" # \"b\"")]),
    ("A=''", [Some(""), Some(""), Some(""), Some("''")]),
    ("A=\"p@$$w0rd # it's\"", [Some("p@$$w0rd # it's"), Some("p@$$w0rd # it's"), Some("p@$$w0rd # it's"), Some("\"p@$$w0rd # it's\"")]),
    ("A='l1\nl2'", [Some("l1\nl2"), Some("l1\nl2"), Some("l1\nl2"), Some("'l1")]),
    ("A=\"l1\r\nl2\"\r", [Some("l1\nl2"), Some("l1\nl2"), Some("l1\nl2"), Some("\"l1")]),
    ("A='a\\\\b'", [Some("a\\\\b"), Some("a\\b"), Some("a\\\\b"), Some("'a\\\\b'")]),
    ("A='a\\db'", [Some("a\\db"), Some("a\\db"), Some("a\\db"), Some("'a\\db'")]),
    ("A=\"a\\nb\"", [Some("a\nb"), Some("a\nb"), Some("a\nb"), Some("\"a\\nb\"")]),
    ("A=\"a\\tb\"", [Some("a\tb"), Some("a\tb"), Some("a\\tb"), Some("\"a\\tb\"")]),
    ("A=\"a\\\"b\"", [Some("a\"b"), Some("a\"b"), Some("a\\"), Some("\"a\\\"b\"")]),
    ("A=\"^\\d+$\"", [Some("^\\d+$"), Some("^\\d+$"), Some("^\\d+$"), Some("\"^\\d+$\"")]),
    ("A=\"a\\$b\"", [None, Some("a\\$b"), Some("a\\$b"), Some("\"a\\$b\"")]),
    ("A=\"a\\bb\"", [None, Some("a\u{8}b"), Some("a\\bb"), Some("\"a\\bb\"")]),
    ("A=`a`", [None, Some("`a`"), Some("a"), Some("`a`")]),
    ("A='a", [None, None, Some("'a"), Some("'a")]),
    ("A=\"a\"b", [None, None, Some("a"), Some("\"a\"b")]),
    ("A", [None, None, None, None]),
    ("A=1\rB=2", [None, Some("1"), Some("1B=2"), Some("1\rB=2")]),
    ("\u{feff}A=a", [Some("a"), Some("a"), None, Some("a")]),
];

fn texts() -> Vec<String> {
    ROWS.iter().map(|(line, _)| format!("{line}\n")).collect()
}

fn check(reader: usize, found: &[Found]) {
    for ((line, expected), found) in ROWS.iter().zip(found) {
        let value = found.as_ref().and_then(|found| found.get("A")).map(String::as_str);
        assert_eq!(value, expected[reader], "{line:?}");
    }
    assert_eq!(found.len(), ROWS.len());
}

#[test]
fn each_line_has_the_documented_value() {
    check(0, &texts().iter().map(|text| here(text)).collect::<Vec<_>>());
}

#[test]
fn the_table_is_right_about_python_dotenv() {
    check(1, &python(&texts()));
}

#[test]
fn the_table_is_right_about_node() {
    check(2, &node(&texts()));
}

#[test]
fn the_table_is_right_about_docker() {
    check(3, &texts().iter().map(|text| docker(text)).collect::<Vec<_>>());
}

#[test]
fn where_all_readers_agree_this_one_agrees() {
    for (line, [here, others @ ..]) in ROWS {
        if others.iter().all(|value| *value == others[0]) {
            assert_eq!(*here, others[0], "{line:?}");
        }
    }
}
