//! The redactor leaves no value, no form of it and no text that it held.

use strongroom::SecretValue;
use strongroom::redact::{IgnoreList, Redactor, Scanner};
use strongroom_testkit::memory::{Needle, Planted};

use super::{leaves_nothing, path, run_exclusively};

/// A fragment of the value in hexadecimal digits, which is never in memory itself.
fn hex_needle(planted: &Planted) -> Needle {
    let value = planted.expose();
    let middle = value.bytes().skip(24).take(12);
    let nibbles = middle.flat_map(|byte| [byte >> 4, byte & 15]);
    let mask: Vec<u8> = (0..24).map(|number| number * 7 + 3).collect();
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let masked = nibbles.zip(&mask).map(|(nibble, mask)| digit(nibble) ^ mask).collect();
    Needle::new(masked, mask)
}

#[test]
fn a_redactor_leaves_no_form_of_a_value() {
    run_exclusively(async |planted| {
        let needle = hex_needle(planted);
        let redactor = Redactor::new();
        redactor.add([(path(), SecretValue::from(planted.expose()))]);
        assert_ne!(needle.count_in_own_memory(), 0);
        // Tables that are replaced are wiped, too, and so are those of a value that is removed.
        redactor.set(&path(), [SecretValue::from("another value"), planted.expose().into()]);
        let stream = redactor.stream();
        redactor.set(&path(), ["another value".into()]);
        assert_ne!(needle.count_in_own_memory(), 0, "the stream has the earlier tables");
        drop(stream);
        assert_eq!(needle.count_in_own_memory(), 0);
        assert_eq!(planted.count_in_own_memory(), 0);
    });
}

#[test]
fn streams_and_scans_wipe_the_text_that_they_hold() {
    leaves_nothing(async |planted| {
        let redactor = Redactor::new();
        redactor.add([(path(), SecretValue::from(planted.expose_in("", "-and-more")))]);
        let mut stream = redactor.stream();
        for byte in planted.expose_in(". ", "").bytes() {
            stream.push(&[byte], |_| ());
        }
        assert_eq!(stream.held_len(), planted.expose().len());
        stream.push(planted.expose_in("-but not more, ", "").as_bytes(), |_| ());
        let mut writer = redactor.writer(Vec::new());
        std::io::Write::write_all(&mut writer, planted.expose_in("", "-and-more").as_bytes())
            .unwrap();
        let scanner = Scanner::new(IgnoreList::new().unwrap()).known(&redactor).key_shapes(true);
        let file = planted.expose_in(". ", "-and-more");
        assert_eq!(scanner.scan("file", file.as_bytes()).unwrap().findings.len(), 1);
        drop(format!("{redactor:?} {stream:?} {writer:?} {scanner:?}"));
    });
}
