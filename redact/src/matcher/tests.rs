//! The matcher agrees with the reference on every text and every split.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::{SecretPath, SecretValue};

use crate::forms::{MAX_LITERAL, OVERLAP};
use crate::reference::Reference;
use crate::{RedactOptions, Redactor, Stream};

type Secrets = Vec<(SecretPath, SecretValue)>;

fn secrets(values: &[Vec<u8>]) -> Secrets {
    let path = |number| SecretPath::parse(&format!("s/{number}")).unwrap();
    values
        .iter()
        .enumerate()
        .map(|(number, value)| (path(number), SecretValue::binary(value.clone())))
        .collect()
}

fn redactor(secrets: &Secrets) -> Redactor {
    let redactor = Redactor::new();
    redactor.add(secrets.clone());
    redactor
}

fn push(stream: &mut Stream, piece: &[u8], out: &mut Vec<u8>) {
    stream.push(piece, |text| out.extend_from_slice(text));
}

/// The output for a text that is split at these places, of which some may lie beyond its end.
fn redact_split(redactor: &Redactor, text: &[u8], splits: &[usize]) -> Vec<u8> {
    let mut splits: Vec<_> = splits.iter().map(|split| split % (text.len() + 1)).collect();
    splits.sort_unstable();
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut begin = 0;
    for split in splits.into_iter().chain([text.len()]) {
        push(&mut stream, &text[begin..split], &mut out);
        begin = split;
    }
    stream.finish(|text| out.extend_from_slice(text));
    out
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Values of few different bytes, so that they overlap, contain and continue each other.
fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop_oneof![
        vec(prop_oneof![Just(b'a'), Just(b'b')], 4..40),
        vec(prop_oneof![Just(b'a'), Just(0xff), Just(b'"'), Just(b'\n')], 4..24),
        vec(any::<u8>(), 4..20),
    ];
    vec(value, 1..5)
}

/// Pieces of a text: parts of literals, values in longer base64, and other bytes.
#[derive(Clone, Debug)]
enum Piece {
    Literal { which: usize, from: usize, to: usize },
    Base64 { which: usize, before: Vec<u8>, after: Vec<u8>, url: bool },
    Other(Vec<u8>),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let bounds = prop_oneof![3 => Just((0, usize::MAX)), 1 => (0..12_usize, 0..60_usize)];
    let literal =
        (any::<usize>(), bounds).prop_map(|(which, (from, to))| Piece::Literal { which, from, to });
    let around = || vec(any::<u8>(), 0..5);
    let base64 = (any::<usize>(), around(), around(), any::<bool>())
        .prop_map(|(which, before, after, url)| Piece::Base64 { which, before, after, url });
    let few = prop_oneof![Just(b'a'), Just(b'b'), Just(b'6'), Just(b'Y')];
    let other = prop_oneof![vec(few, 0..30), vec(any::<u8>(), 0..30)].prop_map(Piece::Other);
    vec(prop_oneof![4 => literal, 2 => base64, 2 => other], 0..8)
}

fn text(pieces: &[Piece], values: &[Vec<u8>], reference: &Reference) -> Vec<u8> {
    let literals: Vec<_> = reference.literals().collect();
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal { which, from, to } => {
                let literal = literals[which % literals.len()];
                let to = literal.len().min(*to);
                text.extend_from_slice(literal.get(*from..to).unwrap_or_default());
            }
            Piece::Base64 { which, before, after, url } => {
                let value = &values[which % values.len()];
                let whole = [before.as_slice(), value, after].concat();
                let encoded =
                    if *url { URL_SAFE_NO_PAD.encode(whole) } else { STANDARD.encode(whole) };
                text.extend_from_slice(encoded.as_bytes());
            }
            Piece::Other(bytes) => text.extend_from_slice(bytes),
        }
    }
    text
}

/// A value that is longer than a literal, of bytes without a period.
fn long_value(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + u8::try_from(state >> 24).unwrap() % 26
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

#[test]
fn a_value_longer_than_a_literal_is_masked_once_in_every_form() {
    for len in [MAX_LITERAL - 1, MAX_LITERAL, MAX_LITERAL + 1, 3 * MAX_LITERAL + 5] {
        let value = long_value(len);
        let secrets = secrets(std::slice::from_ref(&value));
        let redactor = redactor(&secrets);
        let inside = [b"x", value.as_slice(), b"yz"].concat();
        for form in [
            value.clone(),
            STANDARD.encode(&value).into_bytes(),
            STANDARD.encode(&inside).as_bytes()[1..].to_vec(),
            hex::encode(&value).into_bytes(),
        ] {
            let text = [b"before ", form.as_slice(), b" after"].concat();
            let expected = show(&Reference::new(&secrets).redact(&text));
            assert_eq!(expected.matches("[REDACTED:s/0]").count(), 1, "{expected}");
            assert!(expected.len() < 60, "{expected}");
            for splits in [&[][..], &[7, 100, 5_000], &[4_102, 4_103, 8_000]] {
                assert_eq!(show(&redact_split(&redactor, &text, splits)), expected);
            }
        }
    }
}

#[test]
fn a_stream_holds_no_more_than_a_literal_of_a_long_value() {
    let value = long_value(100_000);
    let redactor = redactor(&secrets(std::slice::from_ref(&value)));
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    for piece in value.chunks(1_000) {
        push(&mut stream, piece, &mut out);
        assert!(stream.held_len() <= MAX_LITERAL + 1, "{}", stream.held_len());
    }
    stream.finish(|text| out.extend_from_slice(text));
    assert_eq!(show(&out), "[REDACTED:s/0]");
}

/// Without a bound, this compares 20 GB.
#[test]
fn a_text_that_begins_like_a_long_value_at_each_byte_is_masked_in_bounded_time() {
    let redactor = redactor(&secrets(&[vec![b'a'; 200_000]]));
    let text = vec![b'a'; 199_999];
    assert_eq!(show(&redactor.redact_bytes(&text)), "[REDACTED:s/0]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn agrees_with_the_reference_for_any_values_text_and_split(
        values in values(),
        pieces in pieces(),
        splits in vec(any::<usize>(), 0..6),
    ) {
        let secrets = secrets(&values);
        let reference = Reference::new(&secrets);
        let text = text(&pieces, &values, &reference);
        let expected = show(&reference.redact(&text));
        let redactor = redactor(&secrets);
        prop_assert_eq!(show(&redactor.redact_bytes(&text)), &expected[..]);
        prop_assert_eq!(show(&redact_split(&redactor, &text, &splits)), &expected[..]);
    }

    #[test]
    fn holds_no_more_than_what_may_become_a_match(values in values(), pieces in pieces()) {
        let secrets = secrets(&values);
        let reference = Reference::new(&secrets);
        let text = text(&pieces, &values, &reference);
        let redactor = redactor(&secrets);
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        for (index, byte) in text.iter().enumerate().take(200) {
            push(&mut stream, &[*byte], &mut out);
            prop_assert_eq!(stream.held_len(), reference.held_len(&text[..=index]));
        }
        stream.finish(|text| out.extend_from_slice(text));
        prop_assert_eq!(show(&out), show(&reference.redact(&text[..text.len().min(200)])));
    }

    #[test]
    fn a_flush_shows_nothing_after_the_bytes_that_it_gave_out(
        value in "[a-z]{8,30}",
        at in any::<prop::sample::Index>(),
    ) {
        let redactor = redactor(&secrets(&[value.clone().into_bytes()]));
        let at = at.index(value.len());
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        push(&mut stream, b". ", &mut out);
        push(&mut stream, &value.as_bytes()[..at], &mut out);
        stream.flush(|text| out.extend_from_slice(text));
        prop_assert_eq!(stream.held_len(), 0);
        prop_assert_eq!(show(&out), format!(". {}", &value[..at]));
        push(&mut stream, &value.as_bytes()[at..], &mut out);
        push(&mut stream, b" .", &mut out);
        stream.finish(|text| out.extend_from_slice(text));
        prop_assert_eq!(show(&out), format!(". {}[REDACTED:s/0] .", &value[..at]));
    }
}

/// Every literal of these values, at every split into three pieces.
#[test]
fn every_form_is_found_at_every_split() {
    let values = [
        b"sk-live_0123456789/+ABCDEF".to_vec(),
        "p\u{e4}ss \"w\\rd'<&>\n\u{1f600}\t+/=%".as_bytes().to_vec(),
        b"\x00\xff\xfe\x80\n\x1b[0m".to_vec(),
        b"hunt".to_vec(),
    ];
    for value in values {
        let secrets = secrets(&[value]);
        let reference = Reference::new(&secrets);
        let redactor = redactor(&secrets);
        for literal in reference.literals() {
            let text = [b"<[ ".as_slice(), literal, b" ]>"].concat();
            let expected = show(&reference.redact(&text));
            assert!(expected.contains("REDACTED"), "{}", show(literal));
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let redacted = redact_split(&redactor, &text, &[first, second]);
                    assert_eq!(show(&redacted), expected, "{first} {second}");
                }
            }
        }
    }
}

#[test]
fn a_value_of_fewer_than_four_bytes_is_skipped_and_reported_whatever_the_options_say() {
    let mut options = RedactOptions::new();
    options.min_len = 1;
    let redactor = Redactor::with_options(options);
    let skipped = redactor.add(secrets(&[b"abc".to_vec(), b"abcd".to_vec()]));
    assert_eq!(skipped.len(), 1);
    assert_eq!(redactor.redact_text("abc abcd"), "abc [REDACTED:s/1]");
}

/// Text that fills several blocks, and values that are longer than one.
#[test]
fn long_values_and_long_pieces_are_exact() {
    let printable = |n: u32| b'0' + n.wrapping_mul(2_654_435_761).to_be_bytes()[0] % 64;
    let long: Vec<u8> = (0..200_000).map(printable).collect();
    let values = [long.clone(), b"0123456789abcdef".to_vec(), b"passw".to_vec()];
    let secrets = secrets(&values);
    let redactor = redactor(&secrets);
    let mut text = Vec::new();
    for round in 0..4 {
        text.extend(std::iter::repeat_n(b'.', 40_000 + round));
        text.extend_from_slice(b"0123456789abcdef");
        text.extend_from_slice(&long[..long.len() - 1]);
        text.extend_from_slice(b"passw");
        text.extend_from_slice(&long);
    }
    // Of the value without its end, the pieces before the last one are masked.
    let masked = (MAX_LITERAL..long.len()).step_by(MAX_LITERAL - OVERLAP).next_back().unwrap();
    let visible = &long[masked..long.len() - 1];
    let broken = [b"[REDACTED:s/0]", visible, b"[REDACTED:s/2][REDACTED:s/0]"].concat();
    let expected: Vec<u8> = (0..4)
        .flat_map(|round| {
            let mut part = vec![b'.'; 40_000 + round];
            part.extend_from_slice(b"[REDACTED:s/1]");
            part.extend_from_slice(&broken);
            part
        })
        .collect();
    assert!(redactor.redact_bytes(&text) == expected);
    for size in [61, 4_096, 33_000, 1_000_003] {
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        text.chunks(size).for_each(|piece| push(&mut stream, piece, &mut out));
        stream.finish(|text| out.extend_from_slice(text));
        assert!(out == expected, "pieces of {size}");
    }
}

#[test]
fn values_that_are_added_apply_to_what_a_stream_holds() {
    let redactor = redactor(&secrets(&[b"old-value-0001".to_vec()]));
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    push(&mut stream, b"now old-val", &mut out);
    assert_eq!(show(&out), "now ");
    let path = SecretPath::parse("s/0").unwrap();
    redactor.set(&path, ["old-value-0001".into(), "new-value-0002".into()]);
    push(&mut stream, b"ue-0001, then new-v", &mut out);
    push(&mut stream, b"alue-0002", &mut out);
    redactor.set(&path, ["new-value-0002".into()]);
    push(&mut stream, b", old-value-0001.", &mut out);
    stream.finish(|text| out.extend_from_slice(text));
    assert_eq!(show(&out), "now [REDACTED:s/0], then [REDACTED:s/0], old-value-0001.");
}
