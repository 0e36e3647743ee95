//! The writer passes everything on once, also if the other writer fails or takes a part.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use strongroom_core::{SecretPath, SecretValue};
use strongroom_redact::{Mask, RedactOptions, Redactor};

fn redactor(options: RedactOptions) -> Redactor {
    let redactor = Redactor::with_options(options);
    let secrets = [("db/password", "correct horse"), ("db/name", "é\nshop")];
    let secrets = secrets.map(|(path, value)| (SecretPath::parse(path).unwrap(), value.into()));
    assert!(redactor.add(secrets).is_empty());
    redactor
}

/// Takes two bytes at a time, and fails at the calls with these numbers.
#[derive(Clone, Default)]
struct Narrow {
    taken: Rc<RefCell<Vec<u8>>>,
    calls: Rc<RefCell<usize>>,
    failing: Vec<usize>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.calls.borrow_mut() += 1;
        let call = *self.calls.borrow();
        if self.failing.contains(&call) {
            let kind = if call.is_multiple_of(2) {
                io::ErrorKind::Interrupted
            } else {
                io::ErrorKind::WouldBlock
            };
            return Err(kind.into());
        }
        let count = bytes.len().min(2);
        self.taken.borrow_mut().extend_from_slice(bytes.get(..count).unwrap());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_other_writer_neither_loses_nor_repeats_bytes() {
    let inner = Narrow { failing: vec![2, 3, 7, 8, 11], ..Narrow::default() };
    let mut writer = redactor(RedactOptions::new()).writer(inner.clone());
    let mut failures = 0;
    for piece in ["login: corr", "ect horse", " and more text\n"] {
        while writer.write(piece.as_bytes()).is_err() {
            failures += 1;
        }
    }
    while writer.flush().is_err() {
        failures += 1;
    }
    writer.finish().unwrap();
    assert!(failures > 0);
    let taken = String::from_utf8(inner.taken.borrow().clone()).unwrap();
    assert_eq!(taken, "login: [REDACTED:db/password] and more text\n");
}

#[test]
fn a_flush_keeps_what_may_become_a_value_and_a_drop_gives_it_out() {
    let inner = Narrow::default();
    let mut writer = redactor(RedactOptions::new()).writer(inner.clone());
    write!(writer, "the correct").unwrap();
    writer.flush().unwrap();
    assert_eq!(*inner.taken.borrow(), b"the ");
    let (stream, _) = writer.get_mut().unwrap();
    assert_eq!(stream.held_len(), "correct".len());
    drop(writer);
    assert_eq!(*inner.taken.borrow(), b"the correct");
}

#[test]
fn masks_are_chosen() {
    let text = "a correct horse, \u{e9}\nshop";
    let redact = |mask| redactor(RedactOptions::new().mask(mask)).redact_text(text).into_owned();
    assert_eq!(redact(Mask::Path), "a [REDACTED:db/password], [REDACTED:db/name]");
    assert_eq!(redact(Mask::Text("***".to_owned())), "a ***, ***");
    assert_eq!(redact(Mask::Fill('*')), "a *************, *\n****");
    assert_eq!(redact(Mask::Fill('█')).chars().count(), text.chars().count());
}

#[test]
fn text_without_values_is_not_copied() {
    let redactor = redactor(RedactOptions::new());
    let text = "nothing to see, corr";
    assert!(matches!(redactor.redact_text(text), std::borrow::Cow::Borrowed(same) if same == text));
}

#[test]
fn short_values_are_skipped_and_reported() {
    let redactor = Redactor::with_options(RedactOptions::new().min_len(6));
    let path = |text| SecretPath::parse(text).unwrap();
    let skipped = redactor.add([
        (path("a"), SecretValue::from("short")),
        (path("b"), SecretValue::from("longer")),
        (path("c"), SecretValue::fields([("user", "app"), ("password", "swordfish")])),
        (path("d"), SecretValue::from("")),
    ]);
    let shown: Vec<_> =
        skipped.iter().map(|skipped| (skipped.path.as_str(), skipped.is_inside)).collect();
    assert_eq!(shown, [("a", false), ("d", false), ("c", true)]);
    let text = redactor.redact_text("short longer app swordfish");
    assert_eq!(text, "short [REDACTED:b] app [REDACTED:c]");
}

#[test]
fn text_in_pieces_ends_within_no_character() {
    let redactor = Redactor::new();
    // A value that ends within a character of the text, and one that begins there.
    let path = |text| SecretPath::parse(text).unwrap();
    redactor.add([(path("a"), SecretValue::binary(b"\xa9\xf0\x9f\x98".to_vec()))]);
    let mut stream = redactor.text_stream();
    let mut shown = String::new();
    for piece in ["caf", "é", "é", "!"] {
        shown += &stream.push(piece);
    }
    shown += &stream.finish();
    assert_eq!(shown, "caféé!");
}

#[test]
fn common_values_are_skipped_on_request_also_inside_of_a_document() {
    let path = |text| SecretPath::parse(text).unwrap();
    let secrets = || {
        let text = r#"{"user": "postgres", "password": "correct horse"}"#;
        [(path("db"), SecretValue::from(text)), (path("level"), SecretValue::from("info"))]
    };
    let redactor = Redactor::with_options(RedactOptions::new().skip_common(true));
    let skipped = redactor.add(secrets());
    let names: Vec<_> = skipped.iter().map(|left| (left.path.as_str(), left.is_inside)).collect();
    assert_eq!(names, [("level", false), ("db", true)]);
    let text = "info: postgres, correct horse";
    assert_eq!(redactor.redact_text(text), "info: postgres, [REDACTED:db]");
    // What is known already changes nothing, and is still told.
    assert_eq!(redactor.add(secrets()), skipped);
    let all = Redactor::new();
    assert!(all.add(secrets()).is_empty());
    assert_eq!(all.redact_text(text), "[REDACTED:level]: [REDACTED:db], [REDACTED:db]");
}
