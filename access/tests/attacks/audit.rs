//! The record: exactly one for each operation, and none that lies.

use std::time::{Duration, SystemTime};

use strongroom_access::{
    ApprovalStatus, AuditMode, AuditQuery, Guarded, NewGrant, NewToken, PendingApproval, Subject,
};
use strongroom_core::{
    Backend, BackendInfo, Capabilities, Capability, Error, ErrorKind, Health, HealthStatus,
    ListOptions, MetadataPatch, PutOptions, Secret, SecretPath, Tier, VersionSelector, async_trait,
};

use crate::support::{Host, in_file, in_memory, path, read, request, scopes, soon, wait_until};

/// Every operation of a store, in the order in which they can follow each other.
const OPERATIONS: [&str; 12] = [
    "get", "get_many", "list", "versions", "describe", "put", "annotate", "rollback", "rotate",
    "delete", "undelete", "destroy",
];

async fn run(guarded: &Guarded, operation: &str) -> Result<(), Error> {
    let key = path("k");
    match operation {
        "get" => guarded.get(&key, &VersionSelector::Active).await.map(drop),
        "get_many" => guarded.get_many(std::slice::from_ref(&key)).await.remove(0).map(drop),
        "list" => guarded.list(None, &ListOptions::new()).await.map(drop),
        "versions" => guarded.versions(&key).await.map(drop),
        "describe" => guarded.describe(&key).await.map(drop),
        "put" => guarded.put(&key, "two".into(), PutOptions::new()).await.map(drop),
        "annotate" => guarded.annotate(&key, &MetadataPatch::new().tag("a", "b")).await,
        "rollback" => guarded.rollback(&key, &1.into()).await.map(drop),
        "rotate" => guarded.rotate(&key).await.map(drop),
        "delete" => guarded.delete(&key).await,
        "undelete" => guarded.undelete(&key).await,
        "destroy" => guarded.destroy(&key).await,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_operation_leaves_exactly_one_record_whatever_becomes_of_it() {
    for mode in [AuditMode::Durable, AuditMode::Batched(Duration::from_millis(5))] {
        let host = Host::open(in_memory().audit_mode(mode)).await;
        host.grant("agent:granted", &["secrets:*:**"]).await;
        host.grant("agent:elsewhere", &["secrets:*:k/**", "secrets:*:K"]).await;
        let end = SystemTime::now() + Duration::from_secs(3);
        let subject = Subject::parse("agent:expired").unwrap();
        let new = NewGrant::new(subject, scopes(&["secrets:*"]), "a test").until(end);
        host.rules.create_grant(new).await.unwrap();
        let (revoked, text) = host.token(&["secrets:*"]).await;
        let with_revoked = host.bearer(&text);
        host.rules.revoke_token(revoked.id).await.unwrap();
        let once = NewToken::new(scopes(&["secrets:*"]), soon(), "a test").max_uses(1);
        let (_, used_up) = host.rules.issue_token(once).await.unwrap();
        let used_up = host.bearer(&used_up);
        read(&used_up, "absent").await.unwrap_err();
        wait_until("the grant expires", || SystemTime::now() > end).await;
        let closed = host.agent("acme/granted/x");
        closed.close().await.unwrap();
        let (denied, ended) = (Some(ErrorKind::Denied), Some(ErrorKind::Unauthenticated));
        let approval = Some(ErrorKind::ApprovalRequired);
        let cases = [
            ("granted", host.agent("acme/granted/x"), Tier::Standard, None),
            ("needs approval", host.agent("acme/granted/x"), Tier::Critical, approval),
            ("not granted", host.agent("acme/other/x"), Tier::Standard, denied),
            ("granted elsewhere", host.agent("acme/elsewhere/x"), Tier::Standard, denied),
            ("expired grant", host.agent("acme/expired/x"), Tier::Standard, denied),
            ("another tenant", host.agent("other/granted/x"), Tier::Standard, denied),
            ("revoked token", with_revoked, Tier::Standard, ended),
            ("used up token", used_up, Tier::Standard, ended),
            ("closed", closed, Tier::Standard, Some(ErrorKind::Closed)),
        ];
        for (case, guarded, tier, expected) in cases {
            host.store.destroy(&path("acme/k")).await.unwrap();
            host.put("acme/k", tier).await;
            for operation in OPERATIONS {
                let needs_none = tier == Tier::Critical
                    && matches!(operation, "list" | "versions" | "describe")
                    // The names that are granted elsewhere could be below any path.
                    || case == "granted elsewhere" && operation == "list";
                let expected = match (operation, expected) {
                    ("rotate", None) => Some(ErrorKind::Unsupported),
                    _ if needs_none => None,
                    (_, expected) => expected,
                };
                let before = host.last().await;
                let result = run(&guarded, operation).await;
                let kind = result.as_ref().err().map(Error::kind);
                assert_eq!(kind, expected, "{operation}, {case}: {result:?}");
                let records = host.records(before).await;
                let events: Vec<_> = records.iter().map(|record| record.event.as_str()).collect();
                let event = match expected {
                    Some(ErrorKind::Closed) => &[][..],
                    Some(
                        ErrorKind::Denied
                        | ErrorKind::ApprovalRequired
                        | ErrorKind::Unauthenticated,
                    ) => &["vault.denied"],
                    _ => &["vault.accessed"],
                };
                assert_eq!(events, event, "{operation}, {case}, {mode:?}");
                for record in records {
                    assert!(record.request_id.is_some() && record.principal.contains(':'));
                    assert_eq!(record.path.as_deref(), (operation != "list").then_some("k"));
                }
            }
        }
        host.verify().await;
    }
}

#[tokio::test]
async fn an_operation_that_the_store_fails_is_recorded_too() {
    let host = Host::new().await;
    host.grant("agent:a", &["secrets:*"]).await;
    let agent = host.agent("acme/a/b");
    host.store.close().await.unwrap();
    let mut expected = 0;
    for operation in OPERATIONS {
        assert_eq!(run(&agent, operation).await.unwrap_err().kind(), ErrorKind::Closed);
        expected += 1;
        assert_eq!(host.count("vault.accessed").await, expected, "{operation}");
    }
    for record in host.records(1).await {
        assert_eq!(record.details["outcome"], "failed", "{record:?}");
    }
}

#[tokio::test]
async fn a_guard_that_is_closed_serves_nothing() {
    let host = Host::new().await;
    host.grant("agent:a", &["secrets:*"]).await;
    let agent = host.agent("acme/a/b");
    agent.close().await.unwrap();
    assert_eq!(agent.health().await.unwrap_err().kind(), ErrorKind::Closed);
    let listed = agent.list(None, &ListOptions::new()).await;
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Closed);
    host.agent("acme/a/b").health().await.unwrap();
}

#[tokio::test]
async fn a_denied_change_of_rules_is_recorded() {
    let host = Host::new().await;
    let actor =
        host.actor("acme/a/b").because("curiosity").unwrap().with_request_id("r-1").unwrap();
    let rules = actor.rules();
    let grant = host.grant("agent:x", &["secrets:read:a"]).await;
    let before = host.last().await;
    let new = NewGrant::new(Subject::parse("agent:a").unwrap(), scopes(&["secrets:*"]), "mine");
    assert!(rules.create_grant(new).await.is_err());
    assert!(rules.delete_grant(grant.id).await.is_err());
    let new = NewToken::new(scopes(&["secrets:*"]), soon(), "mine");
    assert!(rules.issue_token(new).await.is_err());
    assert!(rules.audit(strongroom_access::AuditQuery::new()).await.is_err());
    let records = host.records(before).await;
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(record.event, "vault.denied");
        assert_eq!(record.reason.as_deref(), Some("curiosity"));
        assert_eq!(record.request_id.as_deref(), Some("r-1"));
    }
}

#[tokio::test]
async fn deleting_a_secret_deletes_the_grants_on_it_alone() {
    let host = Host::new().await;
    host.put("acme/k", Tier::Standard).await;
    host.grant("agent:a", &["secrets:*:k"]).await;
    let below = host.grant("agent:a", &["secrets:read:k/**"]).await;
    let near = host.grant("agent:a", &["secrets:read:kk"]).await;
    let agent = host.agent("acme/a/b");
    agent.delete(&path("k")).await.unwrap();
    host.put("acme/k", Tier::Standard).await;
    assert_eq!(read(&agent, "k").await.unwrap_err().kind(), ErrorKind::Denied);
    let left: Vec<_> = host.rules.grants().iter().map(|grant| grant.id).collect();
    assert!(left.contains(&below.id) && left.contains(&near.id) && left.len() == 2);
}

/// A store whose deletions fail.
#[derive(Debug)]
struct Undeletable(BackendInfo);

#[async_trait]
impl Backend for Undeletable {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    async fn get(&self, _path: &SecretPath, _version: &VersionSelector) -> Result<Secret, Error> {
        Err(Error::new(ErrorKind::Unavailable, "try again"))
    }

    async fn health(&self) -> Result<Health, Error> {
        Ok(Health::new(HealthStatus::Ready))
    }

    async fn delete(&self, _path: &SecretPath) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unavailable, "try again"))
    }
}

#[tokio::test]
async fn a_delete_that_the_store_fails_leaves_no_grant_on_the_secret() {
    let host = Host::new().await;
    let actor = host.actor("acme/a/b");
    let agent = |capabilities: &[Capability]| {
        let capabilities = Capabilities::default().with_all(capabilities);
        let store = Undeletable(BackendInfo::new("undeletable", "test", capabilities));
        Guarded::new(std::sync::Arc::new(store), actor.clone()).unwrap()
    };
    host.grant("agent:a", &["secrets:*:k"]).await;
    let both = host.grant("agent:a", &["secrets:*:k", "secrets:read:j"]).await;
    // A store that cannot delete at all keeps the secret, and so its rules.
    run(&agent(&[]), "delete").await.unwrap_err();
    assert_eq!(host.rules.grants().len(), 2);
    run(&agent(&[Capability::Delete]), "delete").await.unwrap_err();
    let left: Vec<_> = host.rules.grants().iter().map(|grant| grant.id).collect();
    assert_eq!(left, [both.id]);
}

#[tokio::test]
async fn deleting_a_secret_ends_the_requests_and_approvals_for_it_alone() {
    for operation in ["delete", "destroy"] {
        let host = Host::new().await;
        host.appoint(&["ann"]).await;
        host.grant("agent:a", &["secrets:*"]).await;
        for at in ["acme/k", "acme/j"] {
            host.put(at, Tier::Standard).await;
        }
        let rules = host.actor("acme/a/b").rules();
        let mut pending = Vec::new();
        for at in ["k", "k", "j"] {
            pending.push(rules.request_approval(request(at)).await.unwrap());
        }
        host.approve(&pending[0], "ann").await.unwrap();
        run(&host.agent("acme/a/b"), operation).await.unwrap();
        let statuses: Vec<_> = pending.iter().map(PendingApproval::status).collect();
        let denied = ApprovalStatus::Denied;
        assert_eq!(statuses, [denied, denied, ApprovalStatus::Open], "{operation}");
        let error = pending[0].wait().await.unwrap_err().to_string();
        assert!(error.contains("the secret was deleted"), "{error}");
        host.verify().await;
    }
}

#[tokio::test]
async fn a_query_finds_a_record_behind_very_many_that_do_not_match() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(), in_file(folder.path())] {
        let host = Host::open(config).await;
        let bad = host.agent("acme/bad/x");
        assert!(bad.get_many(&vec![path("a"); 45_000]).await.iter().all(Result::is_err));
        let first = host.grant("agent:good", &["audit:read"]).await;
        host.rules.delete_grant(first.id).await.unwrap();
        host.grant("agent:good", &["audit:read"]).await;
        let rules = host.actor("acme/good/x").rules();
        let created = || AuditQuery::new().event("grant.created");
        for records in
            [host.access.audit(created()).await.unwrap(), rules.audit(created()).await.unwrap()]
        {
            let found: Vec<_> = records.iter().map(|record| record.seq).collect();
            assert_eq!(found, [45_001, 45_003]);
        }
        let page = host.access.audit(created().at_most(1)).await.unwrap();
        assert_eq!((page.len(), page[0].seq), (1, 45_001));
        assert_eq!(host.access.audit(created().after(45_001)).await.unwrap().len(), 1);
        assert!(host.access.audit(created().after(u64::MAX)).await.unwrap().is_empty());
        assert!(host.access.audit(created().at_most(0)).await.unwrap().is_empty());
        host.access.close().await;
        let closed = host.access.audit(created()).await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Closed);
    }
}
