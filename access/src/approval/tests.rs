//! Each rule of the protocol by itself.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MADE: i64 = 1_000;
const EXPIRES: i64 = 10_000;

fn terms() -> ApprovalTerms {
    ApprovalTerms {
        tenant: "acme".into(),
        requester: "spiffe://hexr.cloud/agent/acme/payer".into(),
        excluded: BTreeSet::from(["person:acme/issuer".into()]),
        action: "read".into(),
        path: "production/key".into(),
        version: VersionPolicy::Active,
        purpose: "pay the invoices".into(),
        reason: "ticket 12".into(),
        quorum: NonZeroU8::MIN,
        usage: ApprovalUse::Once,
        expires_at: EXPIRES,
    }
}

fn make(terms: ApprovalTerms) -> Approval {
    Approval::new(ApprovalRequest::new(ApprovalId([7; 16]), terms, MADE).unwrap())
}

fn quorum(quorum: u8) -> ApprovalTerms {
    ApprovalTerms { quorum: NonZeroU8::new(quorum).unwrap(), ..terms() }
}

fn usable_for(millis: u64) -> ApprovalTerms {
    ApprovalTerms { usage: ApprovalUse::For(Duration::from_millis(millis)), ..terms() }
}

fn approve(by: &str) -> ApprovalCommand {
    ApprovalCommand::Approve { by: by.into() }
}

fn deny() -> ApprovalCommand {
    ApprovalCommand::Deny { by: "person:acme/carol".into(), reason: "not today".into() }
}

fn withdraw() -> ApprovalCommand {
    ApprovalCommand::Withdraw { by: terms().requester }
}

fn use_it() -> ApprovalCommand {
    use_version(None)
}

fn use_version(version: Option<&str>) -> ApprovalCommand {
    let ApprovalTerms { requester, action, path, .. } = terms();
    ApprovalCommand::Use { by: requester, action, path, version: version.map(Into::into) }
}

/// Carries a command out at a time.
fn run(approval: &mut Approval, command: &ApprovalCommand, now: i64) -> Result<(), Refusal> {
    let event = approval.propose(command, now)?;
    approval.apply(&event);
    Ok(())
}

fn approve_all(terms: ApprovalTerms) -> Approval {
    let mut approval = make(terms);
    run(&mut approval, &approve("person:acme/carol"), MADE + 1).unwrap();
    approval
}

#[test]
fn an_approval_for_one_use_is_used_once() {
    let mut approval = approve_all(terms());
    assert_eq!(approval.status(MADE + 2), ApprovalStatus::Approved);
    run(&mut approval, &use_it(), MADE + 2).unwrap();
    assert_eq!(approval.state, ApprovalState::Used { at: MADE + 2 });
    let again = run(&mut approval, &use_it(), MADE + 3);
    assert_eq!(again, Err(Refusal::Ended(ApprovalStatus::Used)));
}

#[test]
fn an_approval_for_some_time_is_used_until_that_time_after_the_decision() {
    let mut approval = approve_all(usable_for(20_000));
    let end = MADE + 1 + 20_000;
    assert_eq!(approval.ends_at(), end);
    for now in [MADE + 2, EXPIRES, end - 1] {
        run(&mut approval, &use_it(), now).unwrap();
    }
    let late = run(&mut approval, &use_it(), end);
    assert_eq!(late, Err(Refusal::Ended(ApprovalStatus::Expired)));
}

#[test]
fn a_request_expires_at_its_expiry_open_or_approved_for_one_use() {
    for mut approval in [make(terms()), approve_all(terms()), make(usable_for(20_000))] {
        assert!(!approval.status(EXPIRES - 1).is_ended());
        assert_eq!(approval.status(EXPIRES), ApprovalStatus::Expired);
        for command in [approve("person:acme/dave"), deny(), withdraw(), use_it()] {
            let late = run(&mut approval, &command, EXPIRES);
            assert_eq!(late, Err(Refusal::Ended(ApprovalStatus::Expired)));
        }
    }
}

#[test]
fn needs_as_many_different_people_as_the_quorum() {
    let mut approval = make(quorum(2));
    run(&mut approval, &approve("person:acme/carol"), MADE).unwrap();
    let again = run(&mut approval, &approve("person:acme/carol"), MADE);
    assert_eq!(again, Err(Refusal::AlreadyApproved));
    assert_eq!(run(&mut approval, &use_it(), MADE), Err(Refusal::NotApproved));
    run(&mut approval, &approve("person:acme/dave"), MADE + 5).unwrap();
    let by = ["person:acme/carol", "person:acme/dave"].map(String::from);
    assert_eq!(approval.state, ApprovalState::Approved { at: MADE + 5, by: BTreeSet::from(by) });
}

#[test]
fn an_approved_request_takes_no_further_approval() {
    let mut approval = approve_all(terms());
    let more = run(&mut approval, &approve("person:acme/dave"), MADE + 2);
    assert_eq!(more, Err(Refusal::AlreadyApproved));
}

#[test]
fn neither_the_requester_nor_an_excluded_identity_approves() {
    for by in [terms().requester.as_str(), "person:acme/issuer"] {
        let mut approval = make(terms());
        assert_eq!(run(&mut approval, &approve(by), MADE), Err(Refusal::OwnRequest));
        // A row that got into the log nevertheless does not count.
        let id = approval.request.id;
        approval.apply(&ApprovalEvent::Approved { id, by: by.into(), at: MADE });
        assert_eq!(approval.status(MADE), ApprovalStatus::Open);
    }
}

#[test]
fn a_denial_or_withdrawal_ends_a_request_and_an_approval() {
    for (command, status) in
        [(deny(), ApprovalStatus::Denied), (withdraw(), ApprovalStatus::Withdrawn)]
    {
        for mut approval in [make(terms()), approve_all(terms()), approve_all(usable_for(500))] {
            run(&mut approval, &command, MADE + 2).unwrap();
            assert_eq!(approval.status(MADE + 2), status);
            for command in [approve("person:acme/dave"), deny(), withdraw(), use_it()] {
                let late = run(&mut approval, &command, MADE + 3);
                assert_eq!(late, Err(Refusal::Ended(status)));
            }
        }
    }
}

#[test]
fn a_denial_needs_a_reason_in_plain_text() {
    let long = "x".repeat(513);
    for reason in ["", "two\nlines", long.as_str()] {
        let deny = ApprovalCommand::Deny { by: "person:acme/carol".into(), reason: reason.into() };
        assert_eq!(make(terms()).propose(&deny, MADE), Err(Refusal::InvalidReason));
    }
}

#[test]
fn only_the_requester_withdraws_or_uses() {
    let by = || "person:acme/carol".to_owned();
    let ApprovalTerms { action, path, .. } = terms();
    let uses = ApprovalCommand::Use { by: by(), action, path, version: None };
    for command in [ApprovalCommand::Withdraw { by: by() }, uses] {
        let refused = run(&mut approve_all(terms()), &command, MADE + 2);
        assert_eq!(refused, Err(Refusal::NotRequester));
    }
}

#[test]
fn another_action_or_path_is_another_request() {
    for (action, path) in
        [("write", "production/key"), ("read", "production/key/a"), ("Read", "production/key")]
    {
        let ApprovalTerms { requester: by, .. } = terms();
        let command =
            ApprovalCommand::Use { by, action: action.into(), path: path.into(), version: None };
        let refused = run(&mut approve_all(terms()), &command, MADE + 2);
        assert_eq!(refused, Err(Refusal::OtherRequest));
    }
}

#[test]
fn an_access_is_to_the_approved_version() {
    let exact = ApprovalTerms { version: VersionPolicy::Exact("3".into()), ..terms() };
    for (terms, right, wrong) in
        [(terms(), None, vec![Some("3")]), (exact, Some("3"), vec![None, Some("4"), Some("03")])]
    {
        let mut approval = approve_all(terms);
        for version in wrong {
            let refused = run(&mut approval, &use_version(version), MADE + 2);
            assert_eq!(refused, Err(Refusal::OtherVersion));
        }
        run(&mut approval, &use_version(right), MADE + 2).unwrap();
    }
}

#[test]
fn time_does_not_go_back_behind_the_newest_event() {
    let mut approval = make(quorum(2));
    run(&mut approval, &approve("person:acme/carol"), EXPIRES - 1).unwrap();
    let event = approval.propose(&approve("person:acme/dave"), MADE).unwrap();
    assert_eq!(event.at(), EXPIRES - 1);

    let mut approval = approve_all(usable_for(500));
    let id = approval.request.id;
    approval.apply(&ApprovalEvent::Used { id, at: MADE + 600 });
    assert_eq!(approval.status(MADE + 2), ApprovalStatus::Expired);
}

#[test]
fn events_of_other_requests_change_nothing() {
    let mut approval = make(terms());
    let before = approval.clone();
    let id = ApprovalId([8; 16]);
    approval.apply(&ApprovalEvent::Approved { id, by: "person:acme/carol".into(), at: EXPIRES });
    assert_eq!(approval, before);
}

#[test]
fn no_event_revives_an_ended_request() {
    let mut approval = make(terms());
    run(&mut approval, &deny(), MADE).unwrap();
    let id = approval.request.id;
    let denied = approval.state.clone();
    for event in [
        ApprovalEvent::Requested(Box::new(approval.request.clone())),
        ApprovalEvent::Approved { id, by: "person:acme/dave".into(), at: MADE },
        ApprovalEvent::Withdrawn { id, by: terms().requester, at: MADE },
    ] {
        approval.apply(&event);
        assert_eq!(approval.state, denied);
    }
}

#[test]
fn a_request_out_of_bounds_is_refused() {
    let long = "x".repeat(513);
    let cases = [
        (ApprovalTerms { purpose: String::new(), ..terms() }, "the purpose must have"),
        (ApprovalTerms { purpose: long.clone(), ..terms() }, "the purpose must have"),
        (ApprovalTerms { reason: "a\u{1b}[2Jb".into(), ..terms() }, "the reason must have"),
        (quorum(17), "the quorum 17 is over 16"),
        (usable_for(0), "1 millisecond to 30 days"),
        (usable_for(30 * 24 * 3_600_000 + 1), "1 millisecond to 30 days"),
        (ApprovalTerms { expires_at: MADE, ..terms() }, "expire at once"),
    ];
    for (terms, message) in cases {
        let error = ApprovalRequest::new(ApprovalId([7; 16]), terms, MADE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(message), "{error}");
    }
    make(ApprovalTerms { reason: "x".repeat(512), ..usable_for(30 * 24 * 3_600_000) });
    make(quorum(16));
}

#[test]
fn an_id_is_thirty_two_hexadecimal_digits() {
    let id = ApprovalId::random().unwrap();
    assert_ne!(id, ApprovalId::random().unwrap());
    assert_eq!(id.to_string().parse::<ApprovalId>().unwrap(), id);
    for text in ["", "00", "zz0102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f00"]
    {
        assert_eq!(ApprovalId::parse(text).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_refusal_says_what_to_do_next() {
    let error = Error::from(Refusal::Ended(ApprovalStatus::Used));
    assert_eq!(
        error.to_string(),
        "permission denied: the approval has been used; make a new approval request"
    );
    assert_eq!(Refusal::AlreadyApproved.into_error().kind(), ErrorKind::Conflict);
    assert_eq!(Refusal::InvalidReason.into_error().kind(), ErrorKind::InvalidInput);
    assert_eq!(Refusal::OwnRequest.to_string(), Refusal::OwnRequest.into_error().cause());
}

#[test]
fn the_record_keeps_its_shape() {
    let request = make(usable_for(1_500)).request;
    let json = serde_json::to_value(ApprovalEvent::Requested(Box::new(request))).unwrap();
    let expected = serde_json::json!({
        "step": "requested", "id": "07".repeat(16), "tenant": "acme",
        "requester": "spiffe://hexr.cloud/agent/acme/payer", "excluded": ["person:acme/issuer"],
        "action": "read", "path": "production/key", "version": "active",
        "purpose": "pay the invoices", "reason": "ticket 12", "quorum": 1,
        "usage": { "for_ms": 1_500 }, "requested_at": MADE, "expires_at": EXPIRES,
    });
    assert_eq!(json, expected);
}

prop_compose! {
    fn any_request()(
        texts in any::<[String; 4]>(),
        excluded: BTreeSet<String>,
        exact: Option<String>,
        purpose in "[ -~]{1,40}",
        quorum in 1..=16_u8,
        usage in proptest::option::of(1..=30 * 24 * 3_600_000_u64),
        (id, requested_at) in (any::<[u8; 16]>(), i64::MIN..i64::MAX),
    ) -> ApprovalRequest {
        let [tenant, requester, action, path] = texts;
        let terms = ApprovalTerms {
            tenant, requester, excluded, action, path,
            version: exact.map_or(VersionPolicy::Active, VersionPolicy::Exact),
            reason: purpose.clone(),
            purpose,
            quorum: NonZeroU8::new(quorum).unwrap(),
            usage: usage.map_or(ApprovalUse::Once, |ms| ApprovalUse::For(Duration::from_millis(ms))),
            expires_at: i64::MAX,
        };
        ApprovalRequest::new(ApprovalId(id), terms, requested_at).unwrap()
    }
}

fn any_event() -> impl Strategy<Value = ApprovalEvent> {
    let rest = (0..4, any::<[u8; 16]>(), any::<String>(), any::<i64>(), any::<String>());
    prop_oneof![
        any_request().prop_map(|request| ApprovalEvent::Requested(Box::new(request))),
        rest.prop_map(|(kind, id, by, at, reason)| {
            let id = ApprovalId(id);
            match kind {
                0 => ApprovalEvent::Approved { id, by, at },
                1 => ApprovalEvent::Denied { id, by, at, reason },
                2 => ApprovalEvent::Withdrawn { id, by, at },
                _ => ApprovalEvent::Used { id, at },
            }
        }),
    ]
}

proptest! {
    #[test]
    fn every_event_reads_back_as_written(event in any_event()) {
        let json = serde_json::to_vec(&event).unwrap();
        prop_assert_eq!(serde_json::from_slice::<ApprovalEvent>(&json).unwrap(), event);
    }

    #[test]
    fn a_use_after_any_history_has_its_quorum_and_nothing_has_ended_it(
        quorum in 1..=3_u8,
        rows in proptest::collection::vec((0..6, 0..4_usize, MADE..EXPIRES + 5), 0..12),
    ) {
        let people = ["person:acme/issuer", "person:acme/carol", "person:acme/dave", "person:acme/erin"];
        let mut approval = make(self::quorum(quorum));
        let id = approval.request.id;
        let (mut approvers, mut has_ended) = (BTreeSet::new(), false);
        // Rows that no right program would append are among them.
        for (kind, by, at) in rows {
            let by = people[by].to_owned();
            has_ended |= kind < 2 || at >= EXPIRES;
            approval.apply(&match kind {
                0 => ApprovalEvent::Denied { id, by, at, reason: "no".into() },
                1 => ApprovalEvent::Withdrawn { id, by, at },
                _ => {
                    approvers.insert(by.clone());
                    ApprovalEvent::Approved { id, by, at }
                }
            });
            approvers.remove("person:acme/issuer");
            let is_usable = approval.propose(&use_it(), MADE).is_ok();
            prop_assert_eq!(is_usable, !has_ended && approvers.len() >= usize::from(quorum));
        }
    }
}

#[test]
fn the_end_of_its_time_is_noted_once_and_changes_no_answer() {
    for mut approval in [make(terms()), approve_all(terms()), approve_all(usable_for(3_000))] {
        let ends_at = approval.ends_at();
        let early = approval.propose(&ApprovalCommand::Expire, ends_at - 1);
        assert_eq!(early.unwrap_err(), Refusal::NotExpired);
        // An event before its time changes nothing.
        let before = approval.clone();
        approval.apply(&ApprovalEvent::Expired { id: approval.request.id, at: MADE + 1 });
        assert_eq!(approval.state, before.state);
        run(&mut approval, &ApprovalCommand::Expire, ends_at).unwrap();
        assert_eq!(approval.ended_at(), Some(ends_at));
        for command in [ApprovalCommand::Expire, approve("person:acme/dave"), deny(), use_it()] {
            let refusal = approval.propose(&command, ends_at).unwrap_err();
            assert_eq!(refusal, Refusal::Ended(ApprovalStatus::Expired), "{command:?}");
        }
    }
    for end in [deny(), withdraw()] {
        let mut approval = make(terms());
        run(&mut approval, &end, MADE + 1).unwrap();
        assert!(approval.propose(&ApprovalCommand::Expire, EXPIRES).is_err(), "{end:?}");
    }
}
