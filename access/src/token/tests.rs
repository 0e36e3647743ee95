use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Computed by another implementation: 43 zeros, and the first 43 digits.
const KNOWN: [&str; 2] = [
    "srt_00000000000000000000000000000000000000000003xInpZ",
    "srt_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg1dOjPy",
];

#[test]
fn a_new_token_has_the_documented_shape() {
    for _ in 0..200 {
        let token = TokenSecret::generate().unwrap();
        let text = token.expose_text();
        assert_eq!(text.len(), TokenSecret::LEN);
        let rest = text.strip_prefix("srt_").unwrap();
        assert!(rest.len() == 49 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(TokenSecret::parse(text).unwrap().expose_text(), text);
    }
}

#[test]
fn tokens_differ_and_use_every_digit() {
    let tokens: HashSet<_> =
        (0..500).map(|_| TokenSecret::generate().unwrap().expose_text().to_owned()).collect();
    assert_eq!(tokens.len(), 500);
    let digits: HashSet<_> = tokens.iter().flat_map(|text| text[4..47].bytes()).collect();
    assert_eq!(digits.len(), DIGITS.len());
}

#[test]
fn the_checksum_is_the_documented_one() {
    for text in KNOWN {
        assert!(TokenSecret::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn every_change_of_one_character_is_noticed() {
    let good = TokenSecret::generate().unwrap();
    for index in 0..TokenSecret::LEN {
        for to in ['0', 'a', 'Z', '_', '-', ' '] {
            let mut text: Vec<char> = good.expose_text().chars().collect();
            if text[index] != to {
                text[index] = to;
                assert!(TokenSecret::parse(&text.iter().collect::<String>()).is_err());
            }
        }
    }
}

#[test]
fn a_malformed_token_gets_one_answer_that_repeats_nothing() {
    let good = TokenSecret::generate().unwrap();
    let good = good.expose_text();
    let expected = TokenSecret::parse("").unwrap_err().to_string();
    for text in [
        "hunter2".to_owned(),
        "srt_".to_owned(),
        "srt_hunter2".to_owned(),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}0"),
        good[..52].to_owned(),
        good.to_uppercase(),
        good.replace("srt_", "SRT_"),
        good.replace("srt_", "ѕrt_"),
        "ä".repeat(26) + "a",
        "srt_".to_owned() + &"ä".repeat(24) + "a",
        "x".repeat(1_000_000),
    ] {
        let error = TokenSecret::parse(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_hash_is_hmac_sha_256_of_the_random_part() {
    for text in KNOWN {
        let token = TokenSecret::parse(text).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(&text.as_bytes()[4..47]);
        assert_eq!(token.hash(&[7; 32]), TokenHash(mac.finalize().into_bytes().into()));
        assert_ne!(token.hash(&[7; 32]), token.hash(&[8; 32]));
    }
    let hash = |text| TokenSecret::parse(text).unwrap().hash(&[7; 32]);
    assert_ne!(hash(KNOWN[0]), hash(KNOWN[1]));
}

#[test]
fn neither_token_nor_hash_is_shown() {
    let token = TokenSecret::generate().unwrap();
    assert_eq!(format!("{token:?}"), "TokenSecret([REDACTED])");
    assert_eq!(format!("{:?}", token.hash(&[7; 32])), "TokenHash([REDACTED])");
}

#[test]
fn a_hash_is_hexadecimal_in_serde() {
    let hash = TokenHash([0xab; 32]);
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(json, format!("\"{}\"", "ab".repeat(32)));
    assert_eq!(serde_json::from_str::<TokenHash>(&json).unwrap(), hash);
    assert!(HashSet::from([hash]).contains(&TokenHash([0xab; 32])));
    for text in ["", "ab", &"ab".repeat(31), &"ab".repeat(33), &"xy".repeat(32)] {
        let error = serde_json::from_str::<TokenHash>(&format!("\"{text}\"")).unwrap_err();
        assert!(error.to_string().starts_with("not the hash of a token"));
    }
}

proptest! {
    #[test]
    fn no_other_text_is_a_token(text in "srt_[0-9A-Za-z]{49}|.{0,60}") {
        // One of 2^32 texts of the right shape has the right checksum by accident.
        prop_assert!(TokenSecret::parse(&text).is_err());
    }
}
