//! Records on their way through a rotation.

use std::time::UNIX_EPOCH;

use strongroom_core::{ErrorKind, Metadata, Secret, SecretPath};
use strongroom_rotation_protocol::{Change, KeyRef};

use super::*;
use crate::issuer::IssuedKey;

pub(super) fn secret(value: impl Into<SecretValue>) -> Secret {
    let path = SecretPath::parse("openai/api-key").unwrap();
    Secret::new(path, 1.into(), Metadata::default(), value.into())
}

fn parse(value: impl Into<SecretValue>) -> StoredRecord {
    StoredRecord::parse(&secret(value), KEY).unwrap()
}

fn text(value: &SecretValue) -> &str {
    value.expose_text().unwrap()
}

fn writer(milliseconds: u64) -> Writer<'static> {
    let now = UNIX_EPOCH + Duration::from_millis(milliseconds);
    Writer { instance: Uuid::from_u128(1), now, member: KEY }
}

const CLAIM: Change = Change::Claim { id: AttemptId(7), untracked: false, compromised: false };
const STORE: Change = Change::Store { key: KeyRef(2), untracked: false, compromised: false };

/// The record after a change, as it is read again.
fn change(record: &StoredRecord, change: Change, at: u64) -> StoredRecord {
    let issued = IssuedKey::new("k2").expires_at(UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    let next = record.change(&change, Some(&issued), &writer(at)).unwrap();
    parse(next.document())
}

#[test]
fn a_record_goes_through_a_rotation_and_keeps_what_is_not_its_own() {
    let first = parse(r#"{"key": "k1", "port": 5432}"#);
    assert_eq!((first.generation, text(&first.key)), (0, "k1"));
    let claimed = change(&first, CLAIM, 1_800_000_000_123);
    let attempt = claimed.attempt.clone().unwrap();
    assert_eq!((attempt.id.as_u128(), claimed.token), (7, 1_800_000_000_123));

    let stored = change(&claimed, STORE, 1_800_000_001_000);
    assert_eq!((stored.generation, text(&stored.key)), (1, "k2"));
    assert_eq!(stored.previous.as_ref().map(text), Some("k1"));
    assert_eq!(stored.times.rotated_at.map(milliseconds), Some(1_800_000_001_000));
    assert_eq!(stored.times.expires_at.map(milliseconds), Some(2_000_000_000_000));
    assert!(stored.attempt.is_none());
    assert_eq!(stored.fingerprint(&stored.key), claimed.fingerprint(&"k2".into()));
    assert_ne!(stored.fingerprint(&stored.key), stored.fingerprint(&"k1".into()));

    let done = change(&stored, Change::Finish { untracked: false }, 1_800_000_002_000);
    assert!(done.previous.is_none());
    assert!(text(&done.document).contains(r#""port":5432"#));
}

#[test]
fn each_change_of_a_record_is_the_one_that_the_protocol_makes() {
    let mut keys = KeyTable::default();
    let (old, new) = (keys.intern(&"k1".into()), keys.intern(&"k2".into()));
    let pause = Duration::from_secs(40);
    let store = |untracked, compromised| Change::Store { key: new, untracked, compromised };
    let claim = |untracked, compromised| Change::Claim { id: AttemptId(9), untracked, compromised };
    let changes = [
        claim(false, false),
        claim(true, false),
        Change::Postpone { pause },
        Change::Withdraw { untracked: true, pause: Some(pause) },
        claim(false, true),
        store(true, true),
        Change::Confirm,
        Change::Finish { untracked: true },
        Change::Withdraw { untracked: false, pause: None },
    ];
    let start = 1_800_000_000_000;
    let mut record = parse("k1");
    let now = |i: usize| Time::since_start(Duration::from_secs(i as u64));
    let wall = |i: usize| UNIX_EPOCH + Duration::from_millis(start) + Duration::from_secs(i as u64);
    let mut expected = record.view(&mut keys, (now(0), wall(0)));
    assert_eq!(expected, protocol::Record::with_key(old));
    for (i, next) in changes.into_iter().enumerate() {
        let at = start + 1_000 * i as u64;
        let issued = IssuedKey::new("k2");
        record = parse(record.change(&next, Some(&issued), &writer(at)).unwrap().document());
        expected = expected.apply(&next, InstanceId(1), at, now(i));
        assert_eq!(record.view(&mut keys, (now(i), wall(i))), expected, "{next:?}");
    }
}

#[test]
fn tokens_grow_also_where_clocks_go_back() {
    let first = change(&parse("k1"), CLAIM, 5_000);
    let second = change(&first, CLAIM, 4_000);
    assert_eq!(second.token, 5_001);
}

#[test]
fn two_writes_of_one_key_have_two_times() {
    let first = change(&parse("k1"), STORE, 5_000);
    let second = change(&first, STORE, 5_000);
    assert_eq!(second.times.rotated_at.map(milliseconds), Some(5_001));
    let wrong_clock = change(&first, STORE, 1_000);
    assert_eq!(wrong_clock.times.rotated_at.map(milliseconds), Some(1_000));
}

#[test]
fn a_postponement_by_a_wrong_clock_is_bounded() {
    let pause = Duration::from_secs(86_400 * 365);
    let record = change(&parse("k1"), Change::Postpone { pause }, 0);
    let view = record.view(&mut KeyTable::default(), (Time::START, UNIX_EPOCH));
    assert_eq!(view.not_before, Some(Time::START.after(MAX_POSTPONEMENT)));
    let later = UNIX_EPOCH + 2 * pause;
    assert_eq!(record.view(&mut KeyTable::default(), (Time::START, later)).not_before, None);
}

#[test]
fn a_plain_text_becomes_a_record_with_its_first_change() {
    for plain in ["sk-1", "[1]", "\"quoted\"", "5"] {
        let record = parse(plain);
        assert_eq!((record.generation, text(&record.key)), (0, plain));
        let issued = IssuedKey::new("k2");
        let writer = Writer { member: "password", ..writer(1) };
        let next = record.change(&STORE, Some(&issued), &writer).unwrap().document();
        let next = StoredRecord::parse(&secret(next), "password").unwrap();
        assert_eq!((text(&next.key), next.previous.as_ref().map(text)), ("k2", Some(plain)));
    }
}

#[test]
fn a_value_that_is_not_a_record_is_refused_without_showing_it() {
    for (value, kind) in [
        (r#"{"token": "hunter2"}"#, ErrorKind::InvalidInput),
        (r#"{"key": "k", "rotation_generation": "hunter2"}"#, ErrorKind::Corrupt),
        (r#"{"key": "k", "rotation_rotated_at": "hunter2"}"#, ErrorKind::Corrupt),
        (r#"{"key": "k", "rotation_intent": "hunter2"}"#, ErrorKind::Corrupt),
        (
            r#"{"key": "k", "rotation_version": "1", "rotation_attempt": "hunter2"}"#,
            ErrorKind::Corrupt,
        ),
        (r#"{"key": "k", "rotation_version": "hunter2"}"#, ErrorKind::Corrupt),
        (r#"{"key": "hunter2", "rotation_version": "2"}"#, ErrorKind::Unsupported),
    ] {
        let error = StoredRecord::parse(&secret(value), KEY).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let binary = StoredRecord::parse(&secret(vec![0xff]), KEY).unwrap();
    let error = binary.change(&CLAIM, None, &writer(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
}
