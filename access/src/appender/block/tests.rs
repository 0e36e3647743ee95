use std::sync::Arc;

use super::*;
use crate::event::{Outcome, Rule};
use crate::identity::Identity;
use crate::job::RequestNumber;
use crate::log::chain::Chain;
use crate::log::keys::Keys;
use crate::log::memory::MemoryLog;
use crate::log::{Draft, LogStore as _, Record, RecordFilter};
use crate::{GrantId, Person};

/// Reads by people of several tenants, with all that a record can have.
fn accesses(count: usize) -> Vec<Access> {
    let rule = Rule::Grant(GrantId([7; 16]));
    let outcomes = [Outcome::Allowed, Outcome::NotFound, Outcome::Expired];
    let access = |number: usize| {
        let tenant = ["acme", "other"][number / 4 % 2];
        let person = Person::new(tenant, ["ann", "bob", "eve"][number % 3]).unwrap();
        let request_id = number.is_multiple_of(5).then(|| format!(r#"a "b" \\ é {number}"#));
        let context = Context {
            reason: (number % 4 == 1).then(|| format!(r#"the "reason" {}"#, number % 8)),
            token: number.is_multiple_of(7).then_some(TokenId([3; 16])),
            presented_by: number.is_multiple_of(7).then(|| "person:acme/x".to_owned()),
            request_id: request_id.clone(),
        };
        let has_path = !number.is_multiple_of(6);
        Access {
            identity: Arc::new(Identity::of_person(person)),
            context: Arc::new(context),
            request: request_id.is_none().then_some(RequestNumber { prefix: 9, number }),
            action: [Action::Read, Action::Describe][number / 2 % 2],
            path: has_path.then(|| SecretPath::parse(&format!("p/{}", number % 9)).unwrap()),
            version: (!number.is_multiple_of(3)).then(|| Version::new(["1", "v-é"][number % 2])),
            names_version: false,
            tier: [None, Some(Tier::Standard), Some(Tier::Critical)][number % 3],
            policy: 0,
            decision: AccessDecision::Allowed {
                rule,
                approval: None,
                outcome: outcomes[number % 3],
                counts: false,
            },
        }
    };
    (0..count).map(access).collect()
}

fn records(rows: Vec<Draft>) -> Vec<Record> {
    let mut log = MemoryLog::new().unwrap();
    let head = log.head().unwrap();
    let rows = Chain::new(&Keys::new(&[1; 32]), &head.log_id).extend(head.tail(), rows);
    log.append(0, &rows, None).unwrap();
    log.records_between(0, u64::MAX, usize::MAX, &RecordFilter::default()).unwrap()
}

#[test]
fn a_block_has_the_records_that_rows_of_their_own_would_have() {
    let accesses = accesses(5000);
    let mut expected = Vec::new();
    for tenant in ["acme", "other"] {
        for access in accesses.iter().filter(|access| access.tenant().as_str() == tenant) {
            expected.push(access.draft(access.as_decided()).take_row(5).unwrap());
        }
    }
    let expected = records(expected);
    let rows = to_rows(&accesses, 5).unwrap();
    assert_eq!(rows.len(), 6, "three blocks of each tenant");
    assert!(rows.iter().all(|row| row.records <= 1024 && !row.is_rule && row.time == 5));
    assert_eq!(records(rows), expected);
}

#[test]
fn a_read_that_waits_alone_is_a_row_of_its_own() {
    assert!(to_rows(&[], 5).unwrap().is_empty());
    let rows = to_rows(&accesses(5), 5).unwrap();
    let counts: Vec<_> = rows.iter().map(|row| row.records).collect();
    assert_eq!(counts, [4, 1]);
    assert!(rows[0].principal.is_empty() && rows[0].path.is_none());
    assert_eq!(rows[1].principal, "person:other/bob");
}

#[test]
fn records_of_any_length_are_in_blocks_of_two_at_least() {
    let long = Version::new(&"v".repeat(300 * 1024));
    let mut accesses = accesses(4);
    for access in &mut accesses {
        access.version = Some(long.clone());
        access.action = Action::Read;
    }
    let rows = to_rows(&accesses, 5).unwrap();
    assert_eq!(rows.iter().map(|row| row.records).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(records(rows).len(), 4);
}

#[test]
fn long_records_make_more_blocks() {
    let accesses: Vec<_> = accesses(1000)
        .into_iter()
        .enumerate()
        .map(|(number, mut access)| {
            Arc::make_mut(&mut access.context).reason = Some(format!("{number:0512}"));
            access
        })
        .collect();
    let rows = to_rows(&accesses, 5).unwrap();
    assert!(rows.len() > 2, "{}", rows.len());
    assert!(rows.iter().all(|row| row.body.len() < 260 * 1024));
    assert_eq!(rows.iter().map(|row| row.records).sum::<u64>(), 1000);
}
