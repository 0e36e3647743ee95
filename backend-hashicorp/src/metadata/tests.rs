//! Metadata as entries, and which versions are deleted.

use strongroom_core::{MetadataPatch, SecretKind, Tier};

use super::*;

fn metadata_of(patch: &MetadataPatch) -> Metadata {
    patch.for_new_secret().unwrap()
}

#[test]
fn all_metadata_round_trips() {
    let patch = MetadataPatch::new()
        .kind(SecretKind::DbCredential)
        .tier(Tier::Critical)
        .description("Žluť 鍵 हिन्दी ไทย – \"quoted\" 'n \\ 😀")
        .expires_at(SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_123))
        .rotation_interval(Duration::from_millis(90 * 86_400_000 + 1))
        .updated_by("spiffe://hexr.cloud/agent/acme/my-agent/researcher")
        .tag("empty", "")
        .tag("escaped", "strongroom:")
        .tag("team", "payments");
    let metadata = metadata_of(&patch);
    let entries = to_entries(&metadata);
    assert!(entries.values().all(|text| !text.is_empty() && text.len() <= 512));
    assert_eq!(parse_custom_metadata(Some(&entries)).unwrap(), metadata);
    assert_eq!(parse_custom_metadata(None).unwrap(), Metadata::default());
    assert!(to_entries(&Metadata::default()).is_empty());
}

#[test]
fn rejects_text_that_the_server_would_reject() {
    for text in ["a\u{a0}b", "a\u{200b}b", "a\u{2028}b", "a\u{ad}b"] {
        let metadata = metadata_of(&MetadataPatch::new().tag("a", text));
        let entries = to_entries(&metadata);
        let error = diff(&Entries::new(), &Entries::new(), &entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        assert!(
            diff(&entries, &entries, &entries).unwrap().is_empty(),
            "a stored entry is not checked again"
        );
    }
}

#[test]
fn a_malformed_entry_of_strongroom_is_corrupt() {
    for (name, text) in [(EXPIRES_AT, "soon"), (KIND, "x"), (TIER, ""), (ROTATION_INTERVAL, "?")] {
        let entries = Entries::from([(name.to_owned(), text.to_owned())]);
        assert_eq!(parse_custom_metadata(Some(&entries)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_diff_sets_and_removes_entries() {
    let entries = |pairs: &[(&str, &str)]| -> Entries {
        pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
    };
    let (old, new) = (
        entries(&[("a", "1"), ("b", "2"), ("c", "3")]),
        entries(&[("b", "2"), ("c", "4"), ("d", "5")]),
    );
    let expected = Changes::from([
        ("a".into(), None),
        ("c".into(), Some("4".into())),
        ("d".into(), Some("5".into())),
    ]);
    assert_eq!(diff(&old, &old, &new).unwrap(), expected);
}

#[test]
fn undeletes_only_versions_that_were_deleted_together() {
    let state = |deletion_time: &str, destroyed| VersionState {
        created_time: "2026-01-01T00:00:00Z".into(),
        deletion_time: deletion_time.into(),
        destroyed,
    };
    let deleted_at = "2026-01-02T00:00:00.100000001Z";
    let mut metadata = KvMetadata {
        created_time: String::new(),
        updated_time: String::new(),
        current_version: 5,
        current_metadata_version: 0,
        custom_metadata: None,
        versions: BTreeMap::from([
            (1, state("2026-01-01T12:00:00Z", false)),
            (2, state("2026-01-02T00:00:00.100009999Z", false)),
            (3, state(deleted_at, true)),
            (4, state("", false)),
            (5, state(deleted_at, false)),
        ]),
    };
    assert_eq!(metadata.deleted_with_active(), [2, 5]);
    metadata.current_version = 4;
    assert!(metadata.deleted_with_active().is_empty(), "the active version is live");
}

#[test]
fn entries_of_other_tools_count_towards_the_limit() {
    let entries = |range: std::ops::Range<u8>| -> Entries {
        range.map(|i| (i.to_string(), "x".to_owned())).collect()
    };
    let (none, full) = (Entries::new(), entries(0..64));
    assert!(diff(&entries(0..63), &none, &entries(63..64)).is_ok());
    assert!(diff(&full, &none, &entries(63..64)).is_ok(), "the entry exists");
    assert!(diff(&full, &none, &entries(64..65)).is_err());
    assert!(diff(&full, &entries(0..1), &entries(64..65)).is_ok(), "one entry replaces another");
    assert!(diff(&entries(0..70), &entries(0..1), &none).is_ok());
}

#[test]
fn a_delete_by_a_server_whose_clock_is_ahead_counts() {
    let now = SystemTime::now();
    let state = |life| VersionState {
        created_time: humantime::format_rfc3339_nanos(now).to_string(),
        deletion_time: humantime::format_rfc3339_nanos(now + life).to_string(),
        destroyed: false,
    };
    assert!(state(Duration::from_millis(1_001)).is_deleted(now));
    assert!(!state(Duration::from_secs(1)).is_deleted(now), "an end set by `delete_version_after`");
    assert!(!state(Duration::from_millis(60_001)).is_deleted(now));
}

#[test]
fn tells_a_set_end_from_a_delete() {
    let state = |deletion_time: &str| VersionState {
        created_time: "2026-01-01T00:00:00.123456789Z".into(),
        deletion_time: deletion_time.into(),
        destroyed: false,
    };
    assert!(state("2026-01-01T01:00:00.123456789Z").has_set_end());
    assert!(!state("2026-01-01T01:00:00.12345679Z").has_set_end());
    assert!(!state("").has_set_end());
}

#[test]
fn a_version_is_deleted_from_its_deletion_time_on() {
    let state = |at: &str| VersionState {
        created_time: String::new(),
        deletion_time: at.into(),
        destroyed: false,
    };
    let now = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
    assert!(!state("").is_deleted(now));
    assert!(state("2025-12-31T23:59:59.123456789Z").is_deleted(now));
    assert!(!state("2026-01-01T00:00:11Z").is_deleted(now));
    assert!(state("?").is_deleted(now));
}
