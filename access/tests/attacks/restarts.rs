//! What survives: a restart between any two steps, retention, and both.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_access::{ApprovalStatus, AuditMode, NewToken};
use strongroom_core::{Backend as _, ErrorKind, Tier};

use crate::support::{Host, in_file, read, refusal, request, scopes, soon, wait_until};

async fn restart(host: Host, folder: &std::path::Path) -> Host {
    host.access.close().await;
    let store = Arc::clone(&host.store);
    drop(host);
    Host::over(store, in_file(folder)).await
}

#[tokio::test]
async fn an_approval_survives_a_restart_between_each_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::open(in_file(folder.path())).await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:bot", &["secrets:read"]).await;
    host.appoint(&["ann", "bob"]).await;
    let new = request("k").quorum(NonZeroU8::new(2).unwrap());
    let id = host.actor("acme/bot/x").rules().request_approval(new).await.unwrap().id();
    for name in ["ann", "bob"] {
        host = restart(host, folder.path()).await;
        assert_eq!(
            refusal(&host.agent("acme/bot/x"), "k").await,
            Some(ErrorKind::ApprovalRequired)
        );
        let rules = host.person(name).rules();
        assert_eq!(rules.open_approvals().len(), 1);
        rules.approve(id).await.unwrap();
        assert!(rules.approve(id).await.is_err());
    }
    host = restart(host, folder.path()).await;
    let pending = host.actor("acme/bot/x").rules().approval(id).unwrap();
    pending.wait().await.unwrap();
    assert_eq!(refusal(&host.agent("acme/bot/x"), "k").await, None);
    host = restart(host, folder.path()).await;
    assert_eq!(refusal(&host.agent("acme/bot/x"), "k").await, Some(ErrorKind::ApprovalRequired));
    let rules = host.actor("acme/bot/x").rules();
    assert_eq!(rules.approval(id).unwrap().status(), ApprovalStatus::Used);
    let denied = rules.request_approval(request("k")).await.unwrap();
    host.person("ann").rules().deny(denied.id(), "no").await.unwrap();
    let withdrawn = rules.request_approval(request("k")).await.unwrap();
    rules.withdraw(withdrawn.id()).await.unwrap();
    drop(rules);
    host = restart(host, folder.path()).await;
    for ended in [denied.id(), withdrawn.id()] {
        assert!(host.person("bob").rules().approve(ended).await.is_err());
    }
    assert_eq!(refusal(&host.agent("acme/bot/x"), "k").await, Some(ErrorKind::ApprovalRequired));
    host.verify().await;
}

#[tokio::test]
async fn retention_loses_no_rule_that_lives_and_revives_none_that_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::open(in_file(folder.path())).await;
    let other = host.again(in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:lives", &["secrets:read"]).await;
    let ended = host.grant("agent:ended", &["secrets:read"]).await;
    host.rules.delete_grant(ended.id).await.unwrap();
    let new = |uses| NewToken::new(scopes(&["secrets:read"]), soon(), "a test").max_uses(uses);
    let (_, three) = host.rules.issue_token(new(3)).await.unwrap();
    let (_, one) = host.rules.issue_token(new(1)).await.unwrap();
    let (revoked, gone) = host.token(&["secrets:read"]).await;
    host.rules.revoke_token(revoked.id).await.unwrap();
    read(&host.bearer(&three), "a").await.unwrap();
    read(&host.bearer(&one), "a").await.unwrap();
    host.appoint(&["ann", "bob"]).await;
    let rules = host.actor("acme/lives/x").rules();
    let two = NonZeroU8::new(2).unwrap();
    let open = rules.request_approval(request("k").quorum(two)).await.unwrap();
    host.approve(&open, "ann").await.unwrap();
    let used = rules.request_approval(request("k")).await.unwrap();
    host.approve(&used, "bob").await.unwrap();
    read(&host.agent("acme/lives/x"), "k").await.unwrap();
    let far = SystemTime::now() + Duration::from_secs(60);
    for round in 0..3 {
        assert!(host.access.prune_audit(far, "cron").await.unwrap() > 0, "round {round}");
        let verified = host.access.verify_audit(Vec::new()).await.unwrap();
        assert!(verified.first > 1 && verified.rows == 2, "{verified:?}");
        host = restart(host, folder.path()).await;
    }
    drop(rules);
    for host in [&host, &other] {
        let actor = host.actor("acme/lives/x");
        let lives = || {
            actor
                .explain(strongroom_access::Action::Read, &crate::support::path("a"))
                .rule
                .is_some()
        };
        wait_until("the rules are followed", lives).await;
        assert_eq!(refusal(&host.agent("acme/ended/x"), "a").await, Some(ErrorKind::Denied));
        for text in [&one, &gone] {
            wait_until("the end is followed", || host.access.act_with(text, None).is_err()).await;
        }
        let lives = host.agent("acme/lives/x");
        assert_eq!(refusal(&lives, "k").await, Some(ErrorKind::ApprovalRequired));
    }
    for _ in 0..2 {
        read(&host.bearer(&three), "a").await.unwrap();
    }
    assert!(host.access.act_with(&three, None).is_err());
    assert!(host.approve(&used, "ann").await.is_err());
    assert!(host.approve(&open, "ann").await.is_err());
    host.approve(&open, "bob").await.unwrap();
    read(&host.agent("acme/lives/x"), "k").await.unwrap();
    assert_eq!(refusal(&host.agent("acme/lives/x"), "k").await, Some(ErrorKind::ApprovalRequired));
    other.verify().await;
}

#[tokio::test]
async fn the_last_rule_of_a_tenant_does_not_survive_its_prune_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    // This one decides without a look at the log for each read.
    let config = in_file(folder.path()).audit_mode(AuditMode::WritesAndDenials);
    let other = host.again(config).await;
    for _ in 0..10 {
        let grant = host.grant("agent:a", &["secrets:read"]).await;
        let actor = other.actor("acme/a/b");
        let path = crate::support::path("a");
        let decides = || actor.explain(strongroom_access::Action::Read, &path).rule.is_some();
        wait_until("the grant is seen", decides).await;
        // Often both are done before the other process looks again.
        host.rules.delete_grant(grant.id).await.unwrap();
        let far = SystemTime::now() + Duration::from_secs(60);
        host.access.prune_audit(far, "cron").await.unwrap();
        wait_until("the deletion is seen", || !decides()).await;
    }
}

#[tokio::test]
async fn records_of_batched_reads_are_complete_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let config = in_file(folder.path()).audit_mode(AuditMode::Batched(Duration::from_secs(10)));
    let host = Host::open(config).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:read"]).await;
    let agent = host.agent("acme/a/b");
    for _ in 0..500 {
        read(&agent, "a").await.unwrap();
    }
    drop(agent);
    let host = restart(host, folder.path()).await;
    assert_eq!(host.count("vault.accessed").await, 500);
    host.verify().await;
}

#[tokio::test]
async fn a_prune_of_many_records_removes_them_in_several_steps_and_keeps_the_rules() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:good", &["secrets:read"]).await;
    let bad = host.agent("acme/bad/x");
    let paths = vec![crate::support::path("a"); 30_000];
    for _ in 0..2 {
        assert!(bad.get_many(&paths).await.iter().all(Result::is_err));
    }
    let far = SystemTime::now() + Duration::from_secs(60);
    // The grant and the denials, and the two records of the first step, which the second removes.
    assert_eq!(host.access.prune_audit(far, "cron").await.unwrap(), 60_003);
    assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap().rows, 2);
    read(&host.agent("acme/good/x"), "a").await.unwrap();
}
