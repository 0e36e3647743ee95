//! Secrets as they go through a rotation.

use strongroom_core::{Metadata, SecretPath};

use super::*;

fn secret(value: impl Into<SecretValue>) -> Secret {
    let path = SecretPath::parse("openai/api-key").unwrap();
    Secret::new(path, 1.into(), Metadata::default(), value.into())
}

fn text(value: &SecretValue) -> &str {
    value.expose_text().unwrap()
}

#[test]
fn a_record_goes_through_a_rotation_and_keeps_what_is_not_its_own() {
    let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
    let first = Record::of(&secret(r#"{"key": "k1", "port": 5432}"#), KEY).unwrap();
    assert_eq!((first.generation, text(&first.key)), (0, "k1"));

    let intent = Intent { id: IssueId::random(), at: Some(now), by: "pod-1".into() };
    let claimed = secret(first.with_intent(&intent, Worries::default(), KEY).unwrap());
    let claimed = Record::of(&claimed, KEY).unwrap();
    assert_eq!(claimed.intent.as_ref(), Some(&intent));

    let end = now + Duration::from_secs(86_400);
    let issued = IssuedKey::new("k2").expires_at(end);
    let stored = claimed.with_key(&issued, Worries::default(), now, KEY).unwrap();
    let stored = Record::of(&secret(stored), KEY).unwrap();
    assert_eq!((stored.generation, text(&stored.key)), (1, "k2"));
    assert_eq!(stored.previous.as_ref().map(text), Some("k1"));
    assert_eq!((stored.rotated_at, stored.expires_at), (Some(now), Some(end)));
    assert!(stored.intent.is_none());
    assert_eq!(stored.fingerprint(&stored.key), claimed.fingerprint(&"k2".into()));
    assert_ne!(stored.fingerprint(&stored.key), stored.fingerprint(&"k1".into()));

    let done = Record::of(&secret(stored.without_previous(false, KEY).unwrap()), KEY).unwrap();
    assert!(done.previous.is_none());
    assert_eq!(text(&done.whole.field("port").unwrap()), "5432");
    assert!(done.whole.expose_text().unwrap().contains(r#""port":5432"#));
}

#[test]
fn a_doubt_stays_until_the_previous_key_goes() {
    let again = |value: SecretValue| Record::of(&secret(value), KEY).unwrap();
    let intent = |by: &str| Intent { id: IssueId::random(), at: None, by: by.into() };
    let first = again("k1".into());
    let claimed = again(first.with_intent(&intent("pod-1"), Worries::default(), KEY).unwrap());
    assert!(!claimed.worries.unsure);
    let unsure = Worries { unsure: true, leaked: false };
    let taken_over = again(claimed.with_intent(&intent("pod-2"), unsure, KEY).unwrap());
    assert!(
        taken_over.worries.unsure
            && again(taken_over.without_intent(false, KEY).unwrap()).worries.unsure
    );
    for (record, doubts) in [(&taken_over, Worries::default()), (&claimed, unsure)] {
        let issued = IssuedKey::new("k2");
        let stored = again(record.with_key(&issued, doubts, UNIX_EPOCH, KEY).unwrap());
        assert!(
            stored.worries.unsure
                && !again(stored.without_previous(false, KEY).unwrap()).worries.unsure
        );
    }
}

#[test]
fn a_plain_text_becomes_a_record_with_its_first_change() {
    for plain in ["sk-1", "[1]", "\"quoted\"", "5"] {
        let record = Record::of(&secret(plain), KEY).unwrap();
        assert_eq!((record.generation, text(&record.key)), (0, plain));
        let k2 = IssuedKey::new("k2");
        let next = record.with_key(&k2, Worries::default(), UNIX_EPOCH, "password").unwrap();
        let next = Record::of(&secret(next), "password").unwrap();
        assert_eq!((text(&next.key), next.previous.as_ref().map(text)), ("k2", Some(plain)));
    }
}

#[test]
fn what_is_no_record_is_refused_without_showing_it() {
    for (value, kind) in [
        (r#"{"token": "hunter2"}"#, ErrorKind::InvalidInput),
        (r#"{"key": "k", "rotation_generation": "hunter2"}"#, ErrorKind::Corrupt),
        (r#"{"key": "k", "rotation_rotated_at": "hunter2"}"#, ErrorKind::Corrupt),
        (r#"{"key": "k", "rotation_intent": "hunter2"}"#, ErrorKind::Corrupt),
    ] {
        let error = Record::of(&secret(value), KEY).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let binary = Record::of(&secret(vec![0xff]), KEY).unwrap();
    let error =
        binary.with_key(&IssuedKey::new("k2"), Worries::default(), UNIX_EPOCH, KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
}
