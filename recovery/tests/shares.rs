//! What holds for all shares.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_recovery::{SetError, Share, ShareError, ShareSet, SplitError, split};

const KEY: [u8; 32] = [0x5a; 32];

fn words(threshold: u8, count: u8, identifier: u16) -> Vec<SecretString> {
    split(&KEY, threshold, count, identifier).unwrap().iter().map(Share::to_words).collect()
}

fn recover<'a>(shares: impl IntoIterator<Item = &'a SecretString>) -> Result<Vec<u8>, SetError> {
    let mut set = ShareSet::new();
    for share in shares {
        set.add(Share::parse(share.expose_secret()).unwrap())?;
    }
    Ok(set.recover(b"")?.to_vec())
}

#[test]
fn every_subset_of_the_threshold_recovers_the_key_and_smaller_ones_do_not() {
    for (threshold, count) in [(2, 2), (2, 5), (3, 5), (4, 5), (5, 5), (3, 6)] {
        let shares = words(threshold, count, 123);
        for subset in 1_u32..1 << count {
            let chosen = (0..).zip(&shares).filter(|(bit, _)| subset >> bit & 1 == 1);
            let recovered = recover(chosen.map(|(_, share)| share));
            let given = subset.count_ones() as usize;
            let needed = usize::from(threshold);
            if given < needed {
                assert_eq!(recovered, Err(SetError::TooFew { given, needed }));
            } else {
                assert_eq!(recovered.unwrap(), KEY);
            }
        }
    }
    assert_eq!(recover(&words(16, 16, 32_767)).unwrap(), KEY);
}

#[test]
fn a_share_has_33_words_and_what_is_not_secret_can_be_read() {
    for (number, share) in (1..).zip(&words(3, 5, 17_422)) {
        assert_eq!(share.expose_secret().split(' ').count(), 33);
        let share = Share::parse(share.expose_secret()).unwrap();
        assert_eq!((share.identifier(), share.number(), share.threshold()), (17_422, number, 3));
    }
}

#[test]
fn keys_of_other_lengths_are_split_as_well() {
    for length in (16..=64).step_by(2) {
        let key: Vec<u8> = (0..length).collect();
        let shares: Vec<_> = split(&key, 2, 3, 5).unwrap().iter().map(Share::to_words).collect();
        assert_eq!(recover(&shares[1..]).unwrap(), key, "{length} bytes");
    }
    for length in [0, 14, 15, 17, 66] {
        assert!(matches!(split(&vec![1; length], 2, 3, 5), Err(SplitError::KeyLength)));
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (threshold, count) in [(0, 3), (1, 3), (1, 1), (4, 3), (2, 17), (17, 17)] {
        assert!(matches!(split(&KEY, threshold, count, 5), Err(SplitError::Counts)));
    }
    assert!(matches!(split(&KEY, 2, 3, 1 << 15), Err(SplitError::Identifier)));
}

#[test]
fn shares_of_other_sets_and_the_same_share_twice_are_refused() {
    let (one, two) = (words(2, 3, 1), words(2, 3, 2));
    let error = recover([&one[0], &two[1]]).unwrap_err();
    assert_eq!(error, SetError::OtherSet { expected: 1, found: 2 });
    assert_eq!(error.to_string(), "it belongs to the set 2, but the first share to the set 1");
    assert_eq!(recover([&one[1], &one[1]]).unwrap_err(), SetError::Duplicate { number: 2 });
    let other_threshold = words(3, 3, 1);
    let error = recover([&one[0], &other_threshold[1]]).unwrap_err();
    assert!(error.to_string().contains("another set"), "{error}");
    // Of the same identifier and threshold: the digest tells them apart.
    let other = words(2, 3, 1);
    assert_eq!(recover([&one[0], &other[1]]).unwrap_err(), SetError::Digest);
}

#[test]
fn debug_and_errors_show_no_word() {
    let shares = words(2, 3, 17_422);
    let share = Share::parse(shares[0].expose_secret()).unwrap();
    assert_eq!(format!("{share:?}"), "Share { identifier: 17422, number: 1, threshold: 2, .. }");
    let mut set = ShareSet::new();
    set.add(share).unwrap();
    assert_eq!(format!("{set:?}"), "ShareSet { identifier: Some(17422), shares: 1, missing: 1 }");
    let typed = shares[0].expose_secret().replacen(' ', " hunter2 ", 1);
    let error = Share::parse(&typed).unwrap_err();
    assert_eq!(error, ShareError::UnknownWord { position: 2 });
    assert_eq!(error.to_string(), "word 2 is not in the word list of SLIP-0039");
}

proptest! {
    #[test]
    fn a_share_is_read_in_any_case_with_any_white_space_and_cut_off(
        spaces in prop::collection::vec("[ \t\r\n\u{a0}]{1,3}", 34),
        lengths in prop::collection::vec(4_usize..=8, 33),
        upper in prop::collection::vec(any::<bool>(), 33),
    ) {
        let shares = words(2, 2, 9);
        let mut typed = spaces[33].clone();
        for (position, word) in shares[0].expose_secret().split(' ').enumerate() {
            let word = &word[..lengths[position].min(word.len())];
            typed += &if upper[position] { word.to_uppercase() } else { word.to_owned() };
            typed += &spaces[position];
        }
        prop_assert_eq!(recover([&typed.into(), &shares[1]]).unwrap(), KEY);
    }

    #[test]
    fn up_to_three_changed_words_are_noticed(
        changes in prop::collection::btree_map(0_usize..33, 0_usize..1024, 1..=3),
    ) {
        let list: Vec<&str> = include_str!("../src/slip-0039/wordlist.txt").lines().collect();
        let share = words(2, 2, 9).remove(0);
        let mut typed: Vec<&str> = share.expose_secret().split(' ').collect();
        for (position, word) in changes {
            typed[position] = list[word];
        }
        let typed = typed.join(" ");
        prop_assume!(typed != share.expose_secret());
        prop_assert_eq!(Share::parse(&typed).unwrap_err(), ShareError::Checksum);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in any::<String>()) {
        let _ = Share::parse(&text);
    }

    #[test]
    fn no_words_make_parsing_or_recovery_panic(
        indices in prop::collection::vec(0_usize..1024, 0..70),
    ) {
        let list: Vec<&str> = include_str!("../src/slip-0039/wordlist.txt").lines().collect();
        let text = indices.iter().map(|index| list[*index]).collect::<Vec<_>>().join(" ");
        let error = Share::parse(&text).unwrap_err();
        if !matches!(indices.len(), 20 | 23 | 33 | 59) {
            let counted = matches!(error, ShareError::WordCount { .. } | ShareError::Checksum);
            prop_assert!(counted, "{error}");
        }
    }
}
