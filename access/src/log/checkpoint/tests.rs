//! The text of checkpoints and of keys, altered in any way.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

const LOG: LogId = [0xab; 16];

fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_790_000_000_123)
}

fn signed(keys: &Keys) -> String {
    sign_checkpoint(keys, &LOG, 41, &[7; 32], time())
}

#[test]
fn a_checkpoint_says_where_the_log_ended() {
    let keys = Keys::new(&[1; 32]);
    let text = signed(&keys);
    assert!(
        text.starts_with(
            "strongroom-audit/abababababababababababababababab\n41\n\
         BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n2026-09-21T14:13:20.123Z\n\n\
         \u{2014} strongroom-audit/abababababababababababababababab "
        ),
        "{text}"
    );
    let checkpoint =
        SignedCheckpoint::parse(&text).unwrap().verify(&keys.verifying_key(&LOG)).unwrap();
    let expected = Checkpoint { log_id: LOG, seq: 41, mac: [7; 32], time: time() };
    assert_eq!(checkpoint, expected);
}

#[test]
fn a_checkpoint_that_is_altered_in_any_byte_is_refused() {
    let keys = Keys::new(&[1; 32]);
    let text = signed(&keys).into_bytes();
    let key = keys.verifying_key(&LOG);
    for index in 0..text.len() {
        // The lowest bits change a digit, bit 5 the case of a letter.
        for bit in [0, 1, 5] {
            let mut altered = text.clone();
            altered[index] ^= 1 << bit;
            let Ok(altered) = String::from_utf8(altered) else { continue };
            let outcome = SignedCheckpoint::parse(&altered).and_then(|one| one.verify(&key));
            assert!(outcome.is_err(), "bit {bit} of byte {index}");
        }
        let mut shorter = text.clone();
        shorter.remove(index);
        let Ok(shorter) = String::from_utf8(shorter) else { continue };
        let outcome = SignedCheckpoint::parse(&shorter).and_then(|one| one.verify(&key));
        assert!(outcome.is_err(), "without byte {index}");
    }
}

#[test]
fn checkpoints_one_after_the_other_are_told_apart() {
    let keys = Keys::new(&[1; 32]);
    let texts = [1, 2, 3].map(|seq| sign_checkpoint(&keys, &LOG, seq, &[7; 32], time()));
    for between in ["", "\n", "\n\n"] {
        let file = texts.join(between);
        let (parsed, malformed) = SignedCheckpoint::parse_all(&file);
        let texts_again: Vec<_> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!((texts_again.as_slice(), malformed), (&texts[..], 0), "{between:?}");
        let cut = file.get(5..).unwrap();
        assert_eq!(SignedCheckpoint::parse_all(cut), (parsed[1..].to_vec(), 1));
        let begin = SignedCheckpoint::find_first(cut).unwrap();
        assert_eq!(SignedCheckpoint::parse_all(&cut[begin..]), (parsed[1..].to_vec(), 0));
        let without_second = vec![parsed[0].clone(), parsed[2].clone()];
        let changed = file.replace("\n2\n", "\n\n");
        assert_eq!(SignedCheckpoint::parse_all(&changed), (without_second, 1));
    }
    assert_eq!(SignedCheckpoint::parse_all(""), (Vec::new(), 0));
    assert_eq!(SignedCheckpoint::parse_all("x"), (Vec::new(), 1));
}

#[test]
fn a_checkpoint_whose_write_was_interrupted_hides_no_other() {
    let keys = Keys::new(&[1; 32]);
    let texts = [1, 2].map(|seq| sign_checkpoint(&keys, &LOG, seq, &[7; 32], time()));
    let whole = [1, 2].map(|seq| {
        SignedCheckpoint::parse(&sign_checkpoint(&keys, &LOG, seq, &[7; 32], time())).unwrap()
    });
    for (end, _) in texts[0].char_indices().skip(1) {
        // As they are written: each after a blank line.
        let file = format!("\n{}\n{}\n{}", texts[0], &texts[0][..end], texts[1]);
        let (parsed, malformed) = SignedCheckpoint::parse_all(&file);
        let is_whole = end + 1 == texts[0].len();
        assert_eq!((parsed.len(), malformed), if is_whole { (3, 0) } else { (2, 1) }, "{end}");
        assert_eq!((parsed.first(), parsed.last()), (whole.first(), whole.last()), "{end}");
    }
}

#[test]
fn another_key_or_another_log_does_not_verify() {
    let keys = Keys::new(&[1; 32]);
    let checkpoint = SignedCheckpoint::parse(&signed(&keys)).unwrap();
    for other in [keys.verifying_key(&[0; 16]), Keys::new(&[2; 32]).verifying_key(&LOG)] {
        assert_eq!(checkpoint.verify(&other).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn the_signature_of_a_witness_is_ignored() {
    let keys = Keys::new(&[1; 32]);
    let witnessed = format!("{}\u{2014} witness.example AAAAAAAA\n", signed(&keys));
    let checkpoint = SignedCheckpoint::parse(&witnessed).unwrap();
    assert_eq!(checkpoint.verify(&keys.verifying_key(&LOG)).unwrap().seq, 41);
}

#[test]
fn a_key_is_the_same_after_it_was_text_and_no_altered_text_is_a_key() {
    let key = Keys::new(&[1; 32]).verifying_key(&LOG);
    let text = key.to_string();
    assert_eq!(VerifyingKey::parse(&text).unwrap(), key);
    for index in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[index] ^= 1;
        let altered = String::from_utf8(altered).unwrap();
        assert!(VerifyingKey::parse(&altered).is_err(), "{altered}");
    }
}
