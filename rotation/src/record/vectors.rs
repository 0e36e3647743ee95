//! Committed records of each version: what they mean must not change.
//!
//! Each file holds a record, and the protocol's view of it as `Debug` shows it.

use super::tests::secret;
use super::*;

const VECTORS: [(&str, &str); 9] = [
    ("plain text", include_str!("vectors/plain.txt")),
    ("version 0, attempt", include_str!("vectors/v0-attempt.txt")),
    ("version 0, overlap", include_str!("vectors/v0-overlap.txt")),
    ("version 0, settled", include_str!("vectors/v0-settled.txt")),
    ("version 1, attempt", include_str!("vectors/v1-attempt.txt")),
    ("version 1, postponed", include_str!("vectors/v1-postponed.txt")),
    ("version 1, overlap", include_str!("vectors/v1-overlap.txt")),
    ("version 1, settled", include_str!("vectors/v1-settled.txt")),
    ("version 1, fixed expiry", include_str!("vectors/v1-fixed-expiry.txt")),
];

/// What the calendar says when the vectors are read.
const WALL: Duration = Duration::from_secs(1_800_000_000);

#[test]
fn records_of_all_versions_mean_what_they_meant() {
    for (name, vector) in VECTORS {
        let (stored, meaning) = vector.split_once("\n---\n").expect("two parts");
        let record = StoredRecord::parse(&secret(stored), KEY).unwrap();
        let mut keys = KeyTable::default();
        let view = record.view(&mut keys, (Time::START, SystemTime::UNIX_EPOCH + WALL));
        let key = |number| keys.get(number).unwrap().value.expose_text().unwrap().to_owned();
        let previous = match view.stage {
            Stage::Overlap { previous } => key(previous),
            _ => String::new(),
        };
        let seen = format!(
            "key {}, previous {previous:?}\n{view:?}\nfixed expiry {:?}",
            key(view.key),
            record.times.fixed_expiry.map(milliseconds)
        );
        assert_eq!(seen, meaning.trim_end(), "{name}");
    }
}

#[test]
fn a_record_from_before_version_1_becomes_version_1_with_the_next_write() {
    let (stored, _) = VECTORS[1].1.split_once("\n---\n").unwrap();
    let record = StoredRecord::parse(&secret(stored), KEY).unwrap();
    let now = SystemTime::UNIX_EPOCH + WALL;
    let writer = Writer { instance: Uuid::from_u128(1), now, member: KEY };
    let next = record.change(&protocol::Change::Confirm, None, &writer).unwrap().document();
    let text = next.expose_text().unwrap();
    assert!(text.contains(r#""rotation_version":"1""#), "{text}");
    for (legacy, current) in LEGACY {
        assert!(!text.contains(&format!("\"{legacy}\"")), "{legacy} is left in {text}");
        let was_there = stored.contains(&format!("\"{legacy}\""));
        assert_eq!(text.contains(&format!("\"{current}\"")), was_there, "{current}: {text}");
    }
    let (now, wall) = (Time::START, now);
    let again = StoredRecord::parse(&secret(next.clone()), KEY).unwrap();
    let mut keys = KeyTable::default();
    assert_eq!(again.view(&mut keys, (now, wall)), record.view(&mut keys, (now, wall)));
}
