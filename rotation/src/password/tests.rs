//! Which passwords a policy gives, which policies are rejected, and that no copy is left behind.

use std::collections::HashSet;

use proptest::prelude::*;
use strongroom_core::ErrorKind;
use strongroom_testkit::memory::Needle;

use super::*;

fn policy(length: usize, alphabet: &str, min_per_class: usize) -> PasswordPolicy {
    PasswordPolicy { length, alphabet: alphabet.into(), min_per_class }
}

fn generate(policy: &PasswordPolicy) -> String {
    let password = PasswordIssuer::new(policy).unwrap().generate().unwrap();
    password.expose_text().unwrap().to_owned()
}

#[tokio::test]
async fn issues_another_password_each_time() {
    let issuer = PasswordIssuer::default();
    let (none, id) = (SecretValue::from(""), IssueAttempt::random());
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let issued = issuer.issue(&none, &id).await.unwrap();
        assert_eq!(issued.expires_at, None);
        assert_eq!(issued.value.format(), ValueFormat::Text);
        assert_eq!(issued.value.len(), 32);
        let text = issued.value.expose_text().unwrap();
        assert!(text.bytes().all(|byte| DEFAULT_ALPHABET.as_bytes().contains(&byte)));
        assert!(seen.insert(text.to_owned()));
        issuer.verify(&issued.value).await.unwrap();
        issuer.revoke(&issued.value, &none).await.unwrap();
    }
}

#[test]
fn the_default_issuer_follows_the_default_policy() {
    let made = PasswordIssuer::new(&PasswordPolicy::default()).unwrap();
    let default = PasswordIssuer::default();
    let mut alphabet = default.alphabet.clone();
    alphabet.sort_unstable();
    assert_eq!((made.length, made.alphabet), (default.length, alphabet));
    assert!(default.entropy() > 192.0);
}

#[test]
fn names_every_problem_of_a_policy() {
    for (policy, problems) in [
        (policy(7, DEFAULT_ALPHABET, 0), 1),
        (policy(1025, DEFAULT_ALPHABET, 0), 1),
        (policy(2000, DEFAULT_ALPHABET, usize::MAX), 2),
        (policy(32, "", 0), 1),
        (policy(32, "aaaa", 0), 1),
        (policy(32, "aü", 0), 1),
        (policy(32, "a b", 0), 1),
        (policy(32, "a\nb", 0), 1),
        (policy(5, "ü", 0), 2),
        (policy(9, "aA0-", 3), 1),
        (policy(63, "ab", 0), 1),
        (policy(16, "0123456789", 0), 1),
        // Required characters have fewer choices than the others.
        (policy(12, "0abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 4), 1),
    ] {
        let error = PasswordIssuer::new(&policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.problems().len(), problems, "{policy:?}: {error}");
    }
    for good in [policy(64, "ab", 0), policy(8, &visible(), 0), policy(12, DEFAULT_ALPHABET, 0)] {
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
fn chooses_each_character_equally_often() {
    // 65 divides no power of two: taking the rest of a random byte would favour some by a third.
    let mut counts = [0_u32; 256];
    for _ in 0..65 {
        for byte in generate(&policy(1000, DEFAULT_ALPHABET, 0)).bytes() {
            counts[usize::from(byte)] += 1;
        }
    }
    for byte in DEFAULT_ALPHABET.bytes() {
        // The expected count is 1000, with a standard deviation of 31.4; seven of them are allowed.
        let count = counts[usize::from(byte)];
        assert!((780..=1220).contains(&count), "{}: {count}", char::from(byte));
    }
}

#[test]
fn puts_required_characters_anywhere() {
    let mut first = HashSet::new();
    for _ in 0..400 {
        let password = generate(&policy(20, DEFAULT_ALPHABET, 5));
        assert_eq!(password.bytes().filter(u8::is_ascii_digit).count(), 5);
        first.insert(password.bytes().position(|byte| byte.is_ascii_digit()).unwrap());
    }
    assert!(first.len() > 4, "{first:?}");
}

#[test]
fn chooses_a_repeated_character_no_more_often() {
    let often = format!("{}b", "a".repeat(50));
    let made = generate(&policy(1024, &often, 0));
    assert!(made.bytes().filter(|byte| *byte == b'b').count() > 300);
}

#[test]
fn leaves_no_copy_of_a_dropped_password() {
    let issuer = PasswordIssuer::new(&policy(64, DEFAULT_ALPHABET, 3)).unwrap();
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
    fn follows_the_policy(
        length in 0..200_usize,
        alphabet in "[!-~]{0,120}",
        min_per_class in 0..6_usize,
    ) {
        let policy = policy(length, &alphabet, min_per_class);
        let Ok(issuer) = PasswordIssuer::new(&policy) else { return Ok(()) };
        let password = issuer.generate().unwrap();
        let bytes = password.expose_bytes();
        prop_assert_eq!(bytes.len(), length);
        prop_assert!(bytes.iter().all(|byte| alphabet.as_bytes().contains(byte)));
        for class in classes(&issuer.alphabet) {
            let count = bytes.iter().filter(|byte| class.contains(byte)).count();
            prop_assert!(count >= min_per_class);
        }
    }
}
