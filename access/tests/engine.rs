//! The engine over a store in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom_access::{
    Access, AccessConfig, Action, ApprovalStatus, AuditQuery, Guarded, NewApproval, NewGrant,
    NewToken, PathPattern, Person, Principal, Rules, Scope, SpiffeTemplate, Subject, TenantName,
    Tiers,
};
use strongroom_core::{
    Backend, ErrorKind, MemoryBackend, MetadataPatch, PutOptions, SecretPath, Tier, VersionSelector,
};

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

struct Host {
    store: Arc<MemoryBackend>,
    access: Access,
    rules: Rules,
}

impl Host {
    async fn new(tiers: Tiers) -> Self {
        let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}");
        let config = AccessConfig::in_memory().template(template.unwrap()).tiers(tiers);
        let access = Access::open(config).await.unwrap();
        let acme = TenantName::parse("acme").unwrap();
        let rules = access.administrator("host", &acme).unwrap();
        Self { store: Arc::new(MemoryBackend::new()), access, rules }
    }

    fn agent(&self, id: &str) -> Guarded {
        let id = format!("spiffe://hexr.cloud/agent/{id}");
        let actor = self.access.act_as(Principal::parse(&id).unwrap()).unwrap();
        Guarded::new(Arc::clone(&self.store) as Arc<dyn Backend>, actor).unwrap()
    }

    async fn put(&self, at: &str, tier: Tier) {
        let options = PutOptions::new().metadata(MetadataPatch::new().tier(tier));
        self.store.put(&path(at), "value".into(), options).await.unwrap();
    }

    async fn grant(&self, subject: &str, scopes: &[&str]) -> strongroom_access::Grant {
        let subject = Subject::parse(subject).unwrap();
        let scopes = scopes.iter().map(|text| scope(text));
        self.rules.create_grant(NewGrant::new(subject, scopes, "a test")).await.unwrap()
    }
}

#[tokio::test]
async fn a_read_needs_a_grant_also_if_the_secret_exists() {
    let host = Host::new(Tiers::new()).await;
    host.put("acme/openai/api-key", Tier::Standard).await;
    let agent = host.agent("acme/my-agent/researcher");
    let read = |at: &'static str| {
        let agent = &agent;
        async move { agent.get(&path(at), &VersionSelector::Active).await }
    };
    let there = read("openai/api-key").await.unwrap_err();
    let not_there = read("openai/api-kex").await.unwrap_err();
    assert_eq!((there.kind(), not_there.kind()), (ErrorKind::Denied, ErrorKind::Denied));
    assert_eq!(there.to_string().replace("key", "kex"), not_there.to_string());
    let grant = host.grant("agent:my-agent", &["secrets:read:openai/*"]).await;
    assert_eq!(read("openai/api-key").await.unwrap().expose_text().unwrap(), "value");
    assert_eq!(read("openai/api-kex").await.unwrap_err().kind(), ErrorKind::NotFound);
    host.rules.delete_grant(grant.id).await.unwrap();
    assert_eq!(read("openai/api-key").await.unwrap_err().kind(), ErrorKind::Denied);
    let records = host.access.audit(AuditQuery::new()).await.unwrap();
    let events: Vec<_> = records.iter().map(|record| record.event.as_str()).collect();
    assert_eq!(
        events,
        [
            "vault.denied",
            "vault.denied",
            "grant.created",
            "vault.accessed",
            "vault.accessed",
            "grant.deleted",
            "vault.denied"
        ]
    );
    host.access.verify_audit(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_critical_secret_needs_an_approval_for_each_read() {
    let host = Host::new(Tiers::new()).await;
    host.put("acme/wallet/key", Tier::Critical).await;
    host.grant("role:trader", &["secrets:read:wallet/*"]).await;
    host.grant("person:acme/ann", &["approvals:decide:wallet/**"]).await;
    host.grant("person:acme/bob", &["approvals:decide:wallet/**"]).await;
    let id = Principal::parse("spiffe://hexr.cloud/agent/acme/bot/trader").unwrap();
    let actor = host.access.act_as(id).unwrap();
    let agent = Guarded::new(Arc::clone(&host.store) as Arc<dyn Backend>, actor.clone()).unwrap();
    let read = || async { agent.get(&path("wallet/key"), &VersionSelector::Active).await };
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::ApprovalRequired);
    let new = NewApproval::read(path("wallet/key"), "sign order 7", "daily rebalancing")
        .quorum(NonZeroU8::new(2).unwrap());
    let pending = actor.rules().request_approval(new).await.unwrap();
    for name in ["ann", "bob"] {
        assert_eq!(read().await.unwrap_err().kind(), ErrorKind::ApprovalRequired);
        let person = Person::new("acme", name).unwrap();
        let person = host.access.act_as(Principal::Person(person)).unwrap().rules();
        let [open] = person.open_approvals().try_into().unwrap();
        person.approve(open.request.id).await.unwrap();
    }
    pending.wait().await.unwrap();
    read().await.unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::ApprovalRequired);
}

#[tokio::test]
async fn a_token_gives_what_its_issuer_has_and_ends_with_it() {
    let host = Host::new(Tiers::new()).await;
    host.put("acme/a/b", Tier::Standard).await;
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let new = NewToken::new([scope("secrets:read:a/**"), scope("tokens:write")], soon, "ci");
    let (parent, text) = host.rules.issue_token(new).await.unwrap();
    let actor = host.access.act_with(&text, None).unwrap();
    let too_much = NewToken::new([scope("secrets:read:**")], soon, "more");
    let error = actor.rules().issue_token(too_much).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let less = NewToken::new([scope("secrets:read:a/b")], soon, "less");
    let (_, child) = actor.rules().issue_token(less).await.unwrap();
    let child = host.access.act_with(&child, None).unwrap();
    let child = Guarded::new(Arc::clone(&host.store) as Arc<dyn Backend>, child).unwrap();
    child.get(&path("a/b"), &VersionSelector::Active).await.unwrap();
    host.rules.revoke_token(parent.id).await.unwrap();
    let error = child.get(&path("a/b"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(host.access.act_with(&text, None).is_err());
    let explained = actor.explain(Action::Read, &path("a/b"));
    assert!(explained.rule.is_none() && explained.denial.is_some());
}

#[tokio::test]
async fn a_follower_sees_each_record_once_and_can_resume() {
    let host = Host::new(Tiers::new()).await;
    let mut stream = host.access.follow(AuditQuery::new());
    for number in 1..=3 {
        host.grant("agent:a", &["secrets:read"]).await;
        assert_eq!(stream.next().await.unwrap().seq, number);
    }
    let mut resumed = host.access.follow(AuditQuery::new().after(2));
    assert_eq!(resumed.next().await.unwrap().seq, 3);
    let mut next = Box::pin(stream.next());
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
    assert!(waits.is_err(), "nothing has happened");
    host.grant("agent:b", &["secrets:read"]).await;
    assert_eq!(next.await.unwrap().seq, 4);
}

#[tokio::test]
async fn a_quorum_that_the_host_demands_cannot_be_lowered_by_the_request() {
    let everything = PathPattern::everything();
    let host = Host::new(Tiers::new().min_quorum(everything, NonZeroU8::new(2).unwrap())).await;
    host.put("acme/x", Tier::Critical).await;
    host.grant("agent:a", &["secrets:read"]).await;
    host.grant("person:acme/ann", &["approvals:decide"]).await;
    let id = Principal::parse("spiffe://hexr.cloud/agent/acme/a/b").unwrap();
    let actor = host.access.act_as(id).unwrap();
    let new = NewApproval::read(path("x"), "a purpose", "a reason");
    let pending = actor.rules().request_approval(new).await.unwrap();
    let ann = Principal::Person(Person::new("acme", "ann").unwrap());
    host.access.act_as(ann).unwrap().rules().approve(pending.id()).await.unwrap();
    assert_eq!(pending.status(), ApprovalStatus::Open);
    let agent = Guarded::new(Arc::clone(&host.store) as Arc<dyn Backend>, actor).unwrap();
    let error = agent.get(&path("x"), &VersionSelector::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApprovalRequired);
}

#[tokio::test]
async fn a_person_does_not_approve_what_they_ask_for_with_a_token() {
    let host = Host::new(Tiers::new()).await;
    host.put("acme/x", Tier::Critical).await;
    host.grant("person:acme/ann", &["approvals:decide"]).await;
    let ann = Principal::Person(Person::new("acme", "ann").unwrap());
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let new = NewToken::new([scope("secrets:read")], soon, "a tool of ann");
    let (_, text) = host.rules.issue_token(new).await.unwrap();
    let tool = host.access.act_with(&text, Some(&ann)).unwrap();
    let request = NewApproval::read(path("x"), "a purpose", "a reason");
    let pending = tool.rules().request_approval(request).await.unwrap();
    let rules = host.access.act_as(ann).unwrap().rules();
    let error = rules.approve(pending.id()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let records = host.access.audit(AuditQuery::new().event("approval.requested")).await.unwrap();
    assert_eq!(records[0].presented_by.as_deref(), Some("person:acme/ann"));
}

#[tokio::test]
async fn a_read_goes_on_by_another_grant_if_its_first_one_is_deleted() {
    let host = Host::new(Tiers::new()).await;
    host.put("acme/x", Tier::Standard).await;
    let agent = host.agent("acme/a/b");
    host.grant("role:b", &["secrets:read"]).await;
    for _ in 0..20 {
        let grant = host.grant("agent:a", &["secrets:read"]).await;
        let read = || async { agent.get(&path("x"), &VersionSelector::Active).await };
        let deletes = host.rules.delete_grant(grant.id);
        let (one, two, deleted) = tokio::join!(read(), read(), deletes);
        assert!(one.is_ok() && two.is_ok() && deleted.is_ok(), "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn no_list_of_tokens_has_a_hash() {
    let host = Host::new(Tiers::new()).await;
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let new = NewToken::new([scope("secrets:read")], soon, "a token");
    let (token, text) = host.rules.issue_token(new).await.unwrap();
    let listed = host.rules.tokens().unwrap();
    for token in [&token, &listed[0]] {
        assert!(!serde_json::to_string(token).unwrap().contains("hash"));
    }
    host.access.act_with(&text, None).unwrap();
}
