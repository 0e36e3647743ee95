//! What passwords are made of, which policies are refused, and that nothing is left behind.

use std::collections::HashSet;

use proptest::prelude::*;
use strongroom_core::ErrorKind;
use strongroom_testkit::memory::Needle;

use super::*;

fn policy(length: usize, alphabet: &str, of_each_class: usize) -> PasswordPolicy {
    PasswordPolicy { length, alphabet: alphabet.into(), of_each_class }
}

fn generate(policy: &PasswordPolicy) -> String {
    let password = PasswordIssuer::new(policy).unwrap().generate().unwrap();
    password.expose_text().unwrap().to_owned()
}

#[tokio::test]
async fn each_issue_gives_another_password() {
    let issuer = PasswordIssuer::default();
    let (none, id) = (SecretValue::from(""), IssueAttempt::random());
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let issued = issuer.issue(&none, &id).await.unwrap();
        assert_eq!(issued.expires_at, None);
        assert_eq!(issued.value.format(), ValueFormat::Text);
        assert_eq!(issued.value.len(), 32);
        let text = issued.value.expose_text().unwrap();
        assert!(text.bytes().all(|byte| ALPHABET.as_bytes().contains(&byte)));
        assert!(seen.insert(text.to_owned()));
        issuer.verify(&issued.value).await.unwrap();
        issuer.revoke(&issued.value, &none).await.unwrap();
    }
}

#[test]
fn the_default_policy_is_the_default_issuer() {
    let made = PasswordIssuer::new(&PasswordPolicy::default()).unwrap();
    let default = PasswordIssuer::default();
    let mut alphabet = default.alphabet.clone();
    alphabet.sort_unstable();
    assert_eq!((made.length, made.alphabet), (default.length, alphabet));
    assert!(default.entropy() > 192.0);
}

#[test]
fn every_problem_of_a_policy_is_named() {
    for (policy, problems) in [
        (policy(7, ALPHABET, 0), 1),
        (policy(1025, ALPHABET, 0), 1),
        (policy(2000, ALPHABET, usize::MAX), 2),
        (policy(32, "", 0), 1),
        (policy(32, "aaaa", 0), 1),
        (policy(32, "aü", 0), 1),
        (policy(32, "a b", 0), 1),
        (policy(32, "a\nb", 0), 1),
        (policy(5, "ü", 0), 2),
        (policy(9, "aA0-", 3), 1),
        (policy(63, "ab", 0), 1),
        (policy(16, "0123456789", 0), 1),
        // Those that must be there are less free than the others.
        (policy(12, "0abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 4), 1),
    ] {
        let error = PasswordIssuer::new(&policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.problems().len(), problems, "{policy:?}: {error}");
    }
    for good in [policy(64, "ab", 0), policy(8, &visible(), 0), policy(12, ALPHABET, 0)] {
        let made = PasswordIssuer::new(&good);
        assert_eq!(made.is_ok(), good.length != 8, "{good:?}");
    }
    assert!(PasswordIssuer::new(&policy(10, &visible(), 1)).is_err());
    assert!(PasswordIssuer::new(&policy(12, &visible(), 1)).is_ok());
}

fn visible() -> String {
    (b'!'..=b'~').map(char::from).collect()
}

#[test]
fn each_character_is_as_likely_as_the_others() {
    // 65 divides no power of two: taking the rest of a random byte would favour some by a third.
    let mut counts = [0_u32; 256];
    for _ in 0..65 {
        for byte in generate(&policy(1000, ALPHABET, 0)).bytes() {
            counts[usize::from(byte)] += 1;
        }
    }
    for byte in ALPHABET.bytes() {
        // 1000 are expected, with a standard deviation of 31.4: seven of them are allowed.
        let count = counts[usize::from(byte)];
        assert!((780..=1220).contains(&count), "{}: {count}", char::from(byte));
    }
}

#[test]
fn required_characters_stand_anywhere() {
    let mut first = HashSet::new();
    for _ in 0..400 {
        let password = generate(&policy(20, ALPHABET, 5));
        assert_eq!(password.bytes().filter(u8::is_ascii_digit).count(), 5);
        first.insert(password.bytes().position(|byte| byte.is_ascii_digit()).unwrap());
    }
    assert!(first.len() > 4, "{first:?}");
}

#[test]
fn a_doubled_character_is_chosen_no_more_often() {
    let often = format!("{}b", "a".repeat(50));
    let made = generate(&policy(1024, &often, 0));
    assert!(made.bytes().filter(|byte| *byte == b'b').count() > 300);
}

#[test]
fn a_dropped_password_leaves_no_copy() {
    let issuer = PasswordIssuer::new(&policy(64, ALPHABET, 3)).unwrap();
    let password = issuer.generate().unwrap();
    let mask: Vec<u8> = (0..24).map(|index| 0x80 | (index * 7 + 1)).collect();
    let middle = password.expose_bytes().iter().skip(20).zip(&mask);
    let needle = Needle::new(middle.map(|(byte, mask)| byte ^ mask).collect(), mask.clone());
    assert_eq!(needle.count_in_own_memory(), 1);
    drop(password);
    assert_eq!(needle.count_in_own_memory(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_password_is_as_the_policy_says(
        length in 0..200_usize,
        alphabet in "[!-~]{0,120}",
        of_each_class in 0..6_usize,
    ) {
        let policy = policy(length, &alphabet, of_each_class);
        let Ok(issuer) = PasswordIssuer::new(&policy) else { return Ok(()) };
        let password = issuer.generate().unwrap();
        let bytes = password.expose_bytes();
        prop_assert_eq!(bytes.len(), length);
        prop_assert!(bytes.iter().all(|byte| alphabet.as_bytes().contains(byte)));
        for class in classes(&issuer.alphabet) {
            let count = bytes.iter().filter(|byte| class.contains(byte)).count();
            prop_assert!(count >= of_each_class);
        }
    }
}
