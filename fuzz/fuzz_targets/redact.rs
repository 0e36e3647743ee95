//! For any values, any text and any split, the redactor agrees with a slow one that is easy to believe.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_core::{SecretPath, SecretValue};
use strongroom_redact::Redactor;
use strongroom_redact::reference::Reference;

/// The values that the text has, and the literals that it may quote, are limited: the slow one tries each at each
/// byte.
const MAX_VALUE: usize = 32;
const MAX_TEXT: usize = 1_024;

/// A byte string that begins with its length.
fn take<'a>(data: &mut &'a [u8], max: usize) -> &'a [u8] {
    let Some((&len, rest)) = data.split_first() else { return &[] };
    let (taken, rest) = rest.split_at(usize::from(len).min(max).min(rest.len()));
    *data = rest;
    taken
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let Some((&count, rest)) = data.split_first() else { return };
    data = rest;
    let secrets: Vec<_> = (0..1 + count % 4)
        .map(|number| {
            let path = SecretPath::parse(&format!("s/{number}")).expect("a valid path");
            (path, SecretValue::from(take(&mut data, MAX_VALUE)))
        })
        .collect();
    let reference = Reference::new(&secrets);
    let literals: Vec<_> = reference.literals().collect();
    let splits = take(&mut data, 16);

    // The rest is text. The byte 1 and a number quote a part of a literal.
    let mut text = Vec::new();
    while let Some((&byte, rest)) = data.split_first() {
        data = rest;
        match (byte, data) {
            (1, [which, end, rest @ ..]) if !literals.is_empty() => {
                let literal = literals[usize::from(*which) % literals.len()];
                text.extend_from_slice(&literal[..literal.len().min(usize::from(*end))]);
                data = rest;
            }
            _ => text.push(byte),
        }
    }
    text.truncate(MAX_TEXT);

    let redactor = Redactor::new();
    redactor.add(secrets.iter().cloned());
    let expected = reference.redact(&text);
    assert!(*redactor.redact_bytes(&text) == expected, "the whole text differs");

    let mut ends: Vec<_> =
        splits.iter().map(|split| usize::from(*split) * text.len() / 255).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut begin = 0;
    for end in ends {
        stream.push(&text[begin..end], |text| out.extend_from_slice(text));
        assert_eq!(stream.held_len(), reference.held_len(&text[..end]), "it holds too much");
        begin = end;
    }
    stream.finish(|text| out.extend_from_slice(text));
    assert!(out == expected, "the text in pieces differs");
});
