//! The redactor beside a plain copy of the same pieces, and beside `aho-corasick`, for 1, 100 and 1,000 values.
//!
//! The text is that of a log, without any value, in pieces of 64 KiB, 4 KiB and 128 bytes. `aho-corasick` looks for
//! three of the forms, does not hold back the end of a piece, and cannot wipe its tables: it is a peer in speed alone.
//!
//! A stream of 100 MB per second has 10 ns for a byte: `redact_*_share` is the part of them that the redactor takes.

use std::hint::black_box;

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::Result;
use strongroom_benches::measure::{Subject, compare};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{SecretPath, SecretValue};
use strongroom_redact::Redactor;

const TEXT: usize = 256 * 1024;
const VALUE: usize = 40;
/// The time of one byte in a stream of 100 MB per second.
const NS_PER_BYTE: f64 = 10.0;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let text = log_text(&mut random);
    for (name, count) in [("1", 1), ("100", 100), ("1000", 1_000)] {
        let values: Vec<String> = (0..count).map(|_| value(&mut random)).collect();
        let redactor = Redactor::new();
        let secret = |(number, value): (usize, &String)| -> Result<_> {
            Ok((SecretPath::parse(&format!("s/{number}"))?, SecretValue::from(value.as_str())))
        };
        redactor.add(values.iter().enumerate().map(secret).collect::<Result<Vec<_>>>()?);
        let peer = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(values.iter().flat_map(|value| forms(value)))?;
        for (size_name, size) in [("64k", 65_536), ("4k", 4_096), ("128b", 128)] {
            let [copy, redact, peer] = compare([
                Subject::new(|| copy(&text, size)),
                Subject::new(|| redact(&redactor, &text, size)),
                Subject::new(|| find_with_peer(&peer, &text, size)),
            ]);
            let name = format!("redact_{name}_{size_name}");
            report.add(&format!("{name}_over_copy"), redact.over(&copy), "x", None)?;
            report.add(&format!("{name}_over_aho_corasick"), redact.over(&peer), "x", None)?;
            #[expect(clippy::cast_precision_loss, reason = "the text is short")]
            let per_byte = (redact.min() - copy.min()) / TEXT as f64;
            // The pieces of a pipe are of some KiB.
            let target = (size > 128).then_some(Target::Max(0.05));
            report.add(&format!("{name}_share"), per_byte / NS_PER_BYTE, "x", target)?;
        }
    }
    Ok(())
}

fn value(random: &mut fastrand::Rng) -> String {
    (0..VALUE).map(|_| random.alphanumeric()).collect()
}

/// The forms of a value that the peer looks for: as it is, and in hexadecimal digits.
fn forms(value: &str) -> [Vec<u8>; 3] {
    let hex = value.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let hex: Vec<u8> = hex.map(digit).collect::<String>().into_bytes();
    [value.as_bytes().to_vec(), hex.to_ascii_uppercase(), hex]
}

fn log_text(random: &mut fastrand::Rng) -> Vec<u8> {
    let words = [
        "GET",
        "/api/v1/orders",
        "status=200",
        "latency_ms=12",
        "INFO",
        "request",
        "completed",
        "customer",
        "connection",
        "pool",
        "timeout",
        "retry",
        "2026-11-29T12:00:00Z",
    ];
    let mut text = String::new();
    while text.len() < TEXT {
        for _ in 0..random.usize(6..14) {
            text += random.choice(words).unwrap_or_default();
            text.push(' ');
        }
        text += "trace_id=";
        text.extend(std::iter::repeat_with(|| random.digit(16)).take(16));
        text.push('\n');
    }
    text.truncate(TEXT);
    text.into_bytes()
}

fn copy(text: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for piece in text.chunks(size) {
        out.extend_from_slice(black_box(piece));
    }
    out
}

fn redact(redactor: &Redactor, text: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut stream = redactor.stream();
    for piece in text.chunks(size) {
        stream.push(black_box(piece), |text| out.extend_from_slice(text));
    }
    stream.finish(|text| out.extend_from_slice(text));
    out
}

/// Copies the text, and stops nowhere: it has no value.
fn find_with_peer(peer: &AhoCorasick, text: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for piece in text.chunks(size) {
        let piece = black_box(piece);
        black_box(peer.find_iter(piece).count());
        out.extend_from_slice(piece);
    }
    out
}
