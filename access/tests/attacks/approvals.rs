//! Approvals: replay, one's own approval, quorum, versions and the ends of requests.

use std::num::NonZeroU8;
use std::time::Duration;

use strongroom_access::{
    ApprovalStatus, AuditQuery, Guarded, NewApproval, NewToken, PendingApproval, Person, Principal,
    VersionPolicy,
};
use strongroom_core::{Backend as _, ErrorKind, PutOptions, Tier, Version, VersionSelector};

use crate::support::{Host, in_file, path, read, refusal, request, scopes, soon, wait_until};

async fn host() -> Host {
    let host = Host::new().await;
    host.put("acme/wallet/key", Tier::Critical).await;
    host.put("acme/wallet/other", Tier::Critical).await;
    host.grant("agent:bot", &["secrets:*:wallet/**"]).await;
    host.appoint(&["ann", "bob", "eve"]).await;
    host
}

async fn ask(host: &Host, new: NewApproval) -> PendingApproval {
    host.actor("acme/bot/trader").rules().request_approval(new).await.unwrap()
}

fn bot(host: &Host) -> Guarded {
    host.agent("acme/bot/trader")
}

#[tokio::test]
async fn an_approval_for_one_use_is_used_once_by_two_processes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:bot", &["secrets:read"]).await;
    host.appoint(&["ann"]).await;
    let other = host.again(in_file(folder.path())).await;
    for round in 0..5 {
        let pending = ask(&host, request("k")).await;
        host.approve(&pending, "ann").await.unwrap();
        let seen = || {
            let found = other.actor("acme/bot/trader").rules().approval(pending.id());
            found.is_ok_and(|found| found.status() == ApprovalStatus::Approved)
        };
        wait_until("the other process follows", seen).await;
        let readers = (0..8).map(|number| {
            let agent = bot(if number % 2 == 0 { &host } else { &other });
            tokio::spawn(async move { read(&agent, "k").await.is_ok() })
        });
        let mut count = 0;
        for reader in readers.collect::<Vec<_>>() {
            count += usize::from(reader.await.unwrap());
        }
        assert_eq!(count, 1, "round {round}");
        assert_eq!(host.count("approval.used").await, round + 1);
    }
    host.verify().await;
}

#[tokio::test]
async fn an_approval_opens_no_other_action_path_or_principal() {
    let host = host().await;
    let pending = ask(&host, request("wallet/key")).await;
    host.approve(&pending, "ann").await.unwrap();
    let agent = bot(&host);
    assert_eq!(refusal(&agent, "wallet/other").await, Some(ErrorKind::ApprovalRequired));
    let put = agent.put(&path("wallet/key"), "stolen".into(), PutOptions::new()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::ApprovalRequired);
    assert_eq!(
        agent.delete(&path("wallet/key")).await.unwrap_err().kind(),
        ErrorKind::ApprovalRequired
    );
    assert_eq!(
        refusal(&host.agent("acme/bot/other"), "wallet/key").await,
        Some(ErrorKind::ApprovalRequired)
    );
    let (_, text) = host.token(&["secrets:read"]).await;
    assert_eq!(refusal(&host.bearer(&text), "wallet/key").await, Some(ErrorKind::ApprovalRequired));
    assert_eq!(refusal(&agent, "wallet/key").await, None);
    assert_eq!(refusal(&agent, "wallet/key").await, Some(ErrorKind::ApprovalRequired));
}

#[tokio::test]
async fn no_requester_approves_their_own_request() {
    let host = host().await;
    host.grant("person:acme/ann", &["secrets:read", "tokens:write"]).await;
    let ann = host.person("ann");
    let own = ann.rules().request_approval(request("wallet/key")).await.unwrap();
    let refused = host.approve(&own, "ann").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    // Nor through a token that they issued, at any depth.
    let new = || NewToken::new(scopes(&["secrets:read", "tokens:write"]), soon(), "a test");
    let (_, text) = ann.rules().issue_token(new()).await.unwrap();
    let (_, text) =
        host.access.act_with(&text, None).unwrap().rules().issue_token(new()).await.unwrap();
    let bearer = host.access.act_with(&text, None).unwrap();
    let by_token = bearer.rules().request_approval(request("wallet/key")).await.unwrap();
    assert_eq!(host.approve(&by_token, "ann").await.unwrap_err().kind(), ErrorKind::Denied);
    // Nor as a workload, or with a token in hand.
    host.grant("agent:bot", &["approvals:decide"]).await;
    let workload = host.actor("acme/bot/trader").rules().approve(own.id()).await.unwrap_err();
    assert_eq!(workload.kind(), ErrorKind::Denied);
    let (_, decider) = host.token(&["approvals:decide"]).await;
    let person = Principal::Person(Person::new("acme", "bob").unwrap());
    let decider = host.access.act_with(&decider, Some(&person)).unwrap();
    assert_eq!(decider.rules().approve(own.id()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(host.rules.approve(own.id()).await.unwrap_err().kind(), ErrorKind::Denied);
    // Each attempt is recorded.
    assert_eq!(host.count("vault.denied").await, 5);
    host.approve(&by_token, "bob").await.unwrap();
    assert_eq!(refusal(&host.guard(bearer), "wallet/key").await, None);
}

#[tokio::test]
async fn one_person_counts_once_towards_a_quorum() {
    let host = host().await;
    let pending = ask(&host, request("wallet/key").quorum(NonZeroU8::new(3).unwrap())).await;
    host.approve(&pending, "ann").await.unwrap();
    for _ in 0..3 {
        assert_eq!(host.approve(&pending, "ann").await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    host.approve(&pending, "bob").await.unwrap();
    assert_eq!(refusal(&bot(&host), "wallet/key").await, Some(ErrorKind::ApprovalRequired));
    // A person without the right, or of another tenant, does not count.
    assert_eq!(host.approve(&pending, "zoe").await.unwrap_err().kind(), ErrorKind::Denied);
    let foreign = Principal::Person(Person::new("other", "eve").unwrap());
    let foreign = host.access.act_as(foreign).unwrap().rules();
    assert_eq!(foreign.approve(pending.id()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(foreign.approval(pending.id()).is_err() && foreign.open_approvals().is_empty());
    host.approve(&pending, "eve").await.unwrap();
    pending.wait().await.unwrap();
    assert_eq!(refusal(&bot(&host), "wallet/key").await, None);
}

#[tokio::test]
async fn an_approver_may_decide_only_the_paths_of_the_grant() {
    let host = host().await;
    host.grant("person:acme/dan", &["approvals:decide:wallet/other"]).await;
    let key = ask(&host, request("wallet/key")).await;
    let other = ask(&host, request("wallet/other")).await;
    let dan = host.person("dan").rules();
    let open: Vec<_> = dan.open_approvals().into_iter().map(|open| open.request.id).collect();
    assert_eq!(open, [other.id()]);
    assert_eq!(dan.approve(key.id()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(dan.deny(key.id(), "no").await.unwrap_err().kind(), ErrorKind::Denied);
    dan.approve(other.id()).await.unwrap();
}

#[tokio::test]
async fn an_approval_of_one_version_opens_no_other_and_one_of_the_active_version_no_named_one() {
    let host = host().await;
    let agent = bot(&host);
    let one = host.store.describe(&path("acme/wallet/key")).await.unwrap().version;
    let exact = || request("wallet/key").version(VersionPolicy::Exact(one.text().into_owned()));
    let pending = ask(&host, exact().usable_for(Duration::from_secs(3600))).await;
    host.approve(&pending, "ann").await.unwrap();
    assert_eq!(refusal(&agent, "wallet/key").await, None);
    host.store.put(&path("acme/wallet/key"), "two".into(), PutOptions::new()).await.unwrap();
    assert_eq!(refusal(&agent, "wallet/key").await, Some(ErrorKind::ApprovalRequired));
    let named = |version: &Version| VersionSelector::Exact(version.clone());
    let key = path("wallet/key");
    assert_eq!(agent.get(&key, &named(&one)).await.unwrap().expose_text().unwrap(), "value");
    host.person("ann").rules().deny(pending.id(), "enough").await.unwrap();
    let active = ask(&host, request("wallet/key")).await;
    host.approve(&active, "ann").await.unwrap();
    let error = agent.get(&key, &named(&one)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApprovalRequired);
    assert_eq!(read(&agent, "wallet/key").await.unwrap(), "two");
}

#[tokio::test]
async fn nothing_revives_a_request_that_has_ended() {
    let host = host().await;
    let agent = bot(&host);
    let rules = host.actor("acme/bot/trader").rules();
    let denied = ask(&host, request("wallet/key")).await;
    host.person("ann").rules().deny(denied.id(), "not today").await.unwrap();
    let withdrawn = ask(&host, request("wallet/key")).await;
    host.approve(&withdrawn, "ann").await.unwrap();
    rules.withdraw(withdrawn.id()).await.unwrap();
    let ended = ask(&host, request("wallet/key")).await;
    host.approve(&ended, "ann").await.unwrap();
    host.person("bob").rules().deny(ended.id(), "stop").await.unwrap();
    let expired = ask(&host, request("wallet/key").open_for(Duration::from_millis(1))).await;
    wait_until("it expires", || expired.status() == ApprovalStatus::Expired).await;
    for pending in [&denied, &withdrawn, &ended, &expired] {
        assert!(host.approve(pending, "bob").await.is_err());
        assert!(rules.withdraw(pending.id()).await.is_err());
        assert!(pending.wait().await.is_err());
        assert_eq!(refusal(&agent, "wallet/key").await, Some(ErrorKind::ApprovalRequired));
    }
    let text = denied.wait().await.unwrap_err().to_string();
    assert!(text.contains("not today"), "{text}");
    // Another principal cannot withdraw, find or use a request.
    let open = ask(&host, request("wallet/key")).await;
    let stranger = host.actor("acme/bot/other").rules();
    assert!(stranger.withdraw(open.id()).await.is_err() && stranger.approval(open.id()).is_err());
    host.verify().await;
}

#[tokio::test]
async fn an_approval_does_not_outlive_the_grant_or_its_time() {
    let host = host().await;
    let grant = host.grant("agent:other", &["secrets:read:wallet/**"]).await;
    let actor = host.actor("acme/other/x");
    let new = request("wallet/key").usable_for(Duration::from_millis(1500));
    let pending = actor.rules().request_approval(new).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    wait_until("it ends", || pending.status() == ApprovalStatus::Expired).await;
    let agent = host.guard(actor.clone());
    assert_eq!(refusal(&agent, "wallet/key").await, Some(ErrorKind::ApprovalRequired));
    let pending = actor.rules().request_approval(request("wallet/key")).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    host.rules.delete_grant(grant.id).await.unwrap();
    assert_eq!(refusal(&agent, "wallet/key").await, Some(ErrorKind::Denied));
    // A request needs a grant in the first place.
    let error = actor.rules().request_approval(request("wallet/key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_request_without_an_end_or_with_text_that_deceives_is_refused() {
    let host = host().await;
    let rules = host.actor("acme/bot/trader").rules();
    let version = |text: String| request("wallet/key").version(VersionPolicy::Exact(text));
    let with = |reason: &str| NewApproval::read(path("wallet/key"), "to sign", reason);
    for new in [
        request("wallet/key").open_for(Duration::MAX),
        request("wallet/key").open_for(Duration::from_secs(31 * 86_400)),
        request("wallet/key").open_for(Duration::ZERO),
        request("wallet/key").usable_for(Duration::MAX),
        version("9".repeat(100_000)),
        version(String::new()),
        with(""),
        with("a\nb"),
        with("a \u{202e}desrever"),
        with("zero\u{200b}width"),
        with(&"x".repeat(513)),
    ] {
        let error = rules.request_approval(new).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    rules.request_approval(with("für Zoë, 5 €")).await.unwrap();
}

#[tokio::test]
async fn a_principal_cannot_bury_approvers_in_requests() {
    let host = host().await;
    host.grant("agent:other", &["secrets:read:wallet/**"]).await;
    let rules = host.actor("acme/bot/trader").rules();
    let mut last = None;
    for _ in 0..100 {
        last = Some(rules.request_approval(request("wallet/key")).await.unwrap());
    }
    let error = rules.request_approval(request("wallet/key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let other = host.actor("acme/other/x").rules();
    other.request_approval(request("wallet/key")).await.unwrap();
    rules.withdraw(last.unwrap().id()).await.unwrap();
    rules.request_approval(request("wallet/key")).await.unwrap();
}

#[tokio::test]
async fn waiting_can_be_dropped_and_ends_when_the_rules_are_closed() {
    let host = host().await;
    let pending = ask(&host, request("wallet/key")).await;
    let dropped = tokio::time::timeout(Duration::from_millis(20), pending.wait()).await;
    assert!(dropped.is_err());
    let again = host.actor("acme/bot/trader").rules().approval(pending.id()).unwrap();
    let waiting = tokio::spawn(async move { again.wait().await });
    host.access.close().await;
    let ended = tokio::time::timeout(crate::support::PATIENCE, waiting).await.unwrap();
    assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn an_expiry_is_recorded_once_by_several_processes() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let others =
        [host.again(in_file(folder.path())).await, host.again(in_file(folder.path())).await];
    host.grant("agent:bot", &["secrets:read"]).await;
    let rules = host.actor("acme/bot/worker").rules();
    let soon = Duration::from_millis(1_500);
    let pending = rules.request_approval(request("wallet/key").open_for(soon)).await.unwrap();
    assert_eq!(pending.wait().await.unwrap_err().kind(), ErrorKind::Denied);
    let started = std::time::Instant::now();
    while host.count("approval.expired").await == 0 {
        assert!(started.elapsed() < crate::support::PATIENCE, "no record");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Each process looks for it once a second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for process in [&host].into_iter().chain(&others) {
        let records =
            process.access.audit(AuditQuery::new().event("approval.expired")).await.unwrap();
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!(record.path.as_deref(), Some("wallet/key"));
        assert_eq!(record.principal, "spiffe://hexr.cloud/agent/acme/bot/worker");
    }
    host.verify().await;
    for process in [&host].into_iter().chain(&others) {
        process.access.close().await;
    }
}
