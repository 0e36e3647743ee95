//! A manager that acts as a principal.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by a panic")]

mod operations;
#[cfg(feature = "access-rego")]
mod policy;

use std::time::Duration;

use strongroom::access::{
    Access, AccessConfig, AuditQuery, Grant, NewGrant, Principal, Rules, Scope, SpiffeTemplate,
    Subject, TenantName,
};
use strongroom::{
    ErrorKind, MemoryBackend, MetadataPatch, PutOptions, ReadPolicy, SecretsManager, Tier,
};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The longest trust domain.
fn long_domain() -> String {
    "x".repeat(255)
}

struct Host {
    secrets: SecretsManager,
    access: Access,
    rules: Rules,
}

impl Host {
    async fn new() -> Self {
        let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}");
        let long = format!("spiffe://{}/agent/{{tenant}}/{{agent}}", long_domain());
        let long = SpiffeTemplate::parse(&long).unwrap();
        let config = AccessConfig::in_memory().template(template.unwrap()).template(long);
        let access = Access::open(config).await.unwrap();
        let rules = access.administrator("host", &TenantName::parse("acme").unwrap()).unwrap();
        let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(60));
        let secrets = SecretsManager::with_policy(MemoryBackend::new(), policy);
        Self { secrets, access, rules }
    }

    fn agent(&self, id: &str) -> SecretsManager {
        let id = format!("spiffe://hexr.cloud/agent/{id}");
        self.secrets.act_as(&self.access, Principal::parse(&id).unwrap()).unwrap()
    }

    async fn grant(&self, subject: &str, scope: &str) -> Grant {
        let subject = Subject::parse(subject).unwrap();
        let grant = NewGrant::new(subject, [Scope::parse(scope).unwrap()], "a test");
        self.rules.create_grant(grant).await.unwrap()
    }
}

#[tokio::test]
async fn hits_of_the_hosts_cache_are_decided_and_recorded() {
    let host = Host::new().await;
    host.secrets.put("acme/openai/api-key", "sk-1").await.unwrap();
    let agent = host.agent("acme/my-agent/researcher");
    host.secrets.get("acme/openai/api-key").await.unwrap();
    assert_eq!(agent.get("openai/api-key").await.unwrap_err().kind(), ErrorKind::Denied);
    let grant = host.grant("agent:my-agent", "secrets:read:openai/*").await;
    for _ in 0..3 {
        agent.get("openai/api-key").await.unwrap();
    }
    host.rules.delete_grant(grant.id).await.unwrap();
    assert_eq!(agent.get("openai/api-key").await.unwrap_err().kind(), ErrorKind::Denied);
    let query = AuditQuery::new().event("vault.accessed");
    assert_eq!(host.access.audit(query).await.unwrap().len(), 3);
    let query = AuditQuery::new().event("vault.denied");
    assert_eq!(host.access.audit(query).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_handle_ends_with_denied_when_the_grant_is_deleted_and_passes_new_versions_on_before() {
    let host = Host::new().await;
    host.secrets.put("acme/db/password", "one").await.unwrap();
    let grant = host.grant("role:web", "secrets:read:db/*").await;
    let agent = host.agent("acme/shop/web");
    let mut handle = agent.watch("db/password").await.unwrap();
    assert_eq!(handle.current().expose_text().unwrap(), "one");
    host.secrets.put("acme/db/password", "two").await.unwrap();
    let changed = tokio::time::timeout(LIMIT, handle.changed()).await.unwrap();
    assert_eq!(changed.unwrap().expose_text().unwrap(), "two");
    host.rules.delete_grant(grant.id).await.unwrap();
    host.secrets.put("acme/db/password", "three").await.unwrap();
    let ended = tokio::time::timeout(LIMIT, handle.changed()).await.unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(handle.last_error().unwrap().kind(), ErrorKind::Denied);
    assert_eq!(handle.current().expose_text().unwrap(), "two");
}

#[tokio::test]
async fn writes_name_the_principal_that_acts_whatever_they_claim() {
    let host = Host::new().await;
    host.grant("agent:my-agent", "secrets:*").await;
    let long = format!("spiffe://{}/agent/acme/my-agent", long_domain());
    for id in ["spiffe://hexr.cloud/agent/acme/my-agent/researcher", &long] {
        let acting = host.secrets.act_as(&host.access, Principal::parse(id).unwrap()).unwrap();
        let claim = || MetadataPatch::new().updated_by("person:acme/ann");
        acting.put_with("shared/key", "1", PutOptions::new().metadata(claim())).await.unwrap();
        let put = acting.describe("shared/key").await.unwrap().metadata;
        acting.annotate("shared/key", claim()).await.unwrap();
        let annotated = acting.describe("shared/key").await.unwrap().metadata;
        let name = if id.len() > 256 { format!("{}...", &id[..253]) } else { id.to_owned() };
        for metadata in [put, annotated] {
            let creator = metadata.created_by.as_deref();
            assert_eq!(creator, Some("spiffe://hexr.cloud/agent/acme/my-agent/researcher"));
            assert_eq!(metadata.updated_by.as_deref(), Some(name.as_str()));
        }
    }
    assert!(long.len() > 256);
}

#[tokio::test]
async fn a_tenant_cannot_name_or_list_what_belongs_to_another() {
    let host = Host::new().await;
    for path in ["acme/a", "acme/b", "other/a", "acme-2/a"] {
        host.secrets.put(path, "value").await.unwrap();
    }
    host.grant("agent:x", "secrets:read+list").await;
    let agent = host.agent("acme/x/y");
    let mut paths: Vec<_> =
        agent.list("").all().await.unwrap().iter().map(ToString::to_string).collect();
    paths.sort();
    assert_eq!(paths, ["a", "b"]);
    for path in ["other/a", "../other/a", "acme/a"] {
        let error = agent.get(path).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{error}");
    }
    assert_eq!(host.agent("other/x/y").get("a").await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn closing_what_acts_closes_nothing_else() {
    let host = Host::new().await;
    host.secrets.put("acme/a", "value").await.unwrap();
    host.grant("agent:x", "secrets:read").await;
    let agent = host.agent("acme/x/y");
    agent.close().await.unwrap();
    assert_eq!(agent.get("a").await.unwrap_err().kind(), ErrorKind::Closed);
    host.secrets.get("acme/a").await.unwrap();
    host.agent("acme/x/y").get("a").await.unwrap();
}

#[tokio::test]
async fn a_handle_hands_out_nothing_of_a_secret_that_has_become_critical() {
    let host = Host::new().await;
    host.secrets.put("acme/db/password", "one").await.unwrap();
    host.grant("role:web", "secrets:read:db/*").await;
    let mut handle = host.agent("acme/shop/web").watch("db/password").await.unwrap();
    host.secrets.destroy("acme/db/password").await.unwrap();
    let critical = PutOptions::new().metadata(MetadataPatch::new().tier(Tier::Critical));
    let version = host.secrets.put_with("acme/db/password", "two", critical).await.unwrap();
    assert_eq!(version, *handle.current().version(), "the number begins again");
    let error = tokio::time::timeout(LIMIT, handle.changed()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApprovalRequired, "{error}");
    assert_eq!(handle.current().expose_text().unwrap(), "one");
}

#[tokio::test]
async fn a_handle_ends_when_what_acts_is_closed() {
    let host = Host::new().await;
    host.secrets.put("acme/db/password", "one").await.unwrap();
    host.grant("role:web", "secrets:read:db/*").await;
    let agent = host.agent("acme/shop/web");
    let mut handle = agent.watch("db/password").await.unwrap();
    agent.close().await.unwrap();
    host.secrets.put("acme/db/password", "two").await.unwrap();
    let error = tokio::time::timeout(LIMIT, handle.changed()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let mut handle = host.agent("acme/shop/web").watch("db/password").await.unwrap();
    host.access.close().await;
    let error = tokio::time::timeout(LIMIT, handle.changed()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
