//! Tenants are a wall: nothing beyond it can be named, listed, counted or told apart.

use strongroom_access::{AuditQuery, NewGrant, Person, Principal, Subject, TenantName};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, PageToken, SecretPath, Tier};

use crate::support::{Host, path, read, refusal, request, scopes, tenant};

async fn host() -> Host {
    let host = Host::new().await;
    for at in ["acme/a", "acme/b/c", "acme-2/a", "acm/a", "other/a", "other/b/c", "acme2/secret"] {
        host.put(at, Tier::Standard).await;
    }
    for name in ["acme", "acme-2", "other"] {
        let rules = host.access.administrator("host", &tenant(name)).unwrap();
        let all = scopes(&[
            "secrets:*",
            "grants:write",
            "tokens:write",
            "audit:read",
            "approvals:decide",
        ]);
        let grant = NewGrant::new(Subject::parse("agent:x").unwrap(), all, "a test");
        rules.create_grant(grant).await.unwrap();
    }
    host
}

#[tokio::test]
async fn no_path_leads_out_of_a_tenant() {
    let host = host().await;
    for wrong in [
        "../other/a",
        "a/../../other/a",
        "/other/a",
        "./a",
        "a/./b",
        "..",
        "a//b",
        "a/",
        "%2e%2e/a",
        "a\\..\\b",
    ] {
        assert!(SecretPath::parse(wrong).is_err(), "{wrong}");
    }
    let agent = host.agent("acme/x/y");
    for foreign in ["other/a", "acme/a", "acme-2/a", "A", "a.", ".a", "-2/a", "..a"] {
        assert_eq!(refusal(&agent, foreign).await, Some(ErrorKind::NotFound), "{foreign}");
        let full = agent.full(&path(foreign)).unwrap();
        assert!(full.as_str().starts_with("acme/"), "{full}");
        assert!(agent.locate(&path(foreign)).contains("acme/"));
    }
    agent.put(&path("other/a"), "mine".into(), strongroom_core::PutOptions::new()).await.unwrap();
    assert_eq!(read(&host.agent("other/x/y"), "a").await.unwrap(), "value");
}

#[tokio::test]
async fn names_that_differ_by_case_or_prefix_are_no_way_into_another_tenant() {
    let host = host().await;
    for wrong in
        ["Acme", "ACME", "acme ", "acme/", "ac/me", "acme.", "аcme", "acme\0", "", "-acme", "acme-"]
    {
        assert!(TenantName::parse(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(refusal(&host.agent("acm/x/y"), "e/a").await, Some(ErrorKind::Denied));
    let seen = |page: strongroom_core::ListPage| {
        page.paths.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let list = |id: &'static str| {
        let agent = host.agent(id);
        async move { agent.list(None, &ListOptions::new()).await.unwrap() }
    };
    assert_eq!(seen(list("acme/x/y").await), ["a", "b/c"]);
    assert_eq!(seen(list("acme-2/x/y").await), ["a"]);
}

#[tokio::test]
async fn identities_that_no_template_matches_are_refused() {
    let host = host().await;
    for id in [
        "spiffe://hexr.cloud/agent/acme/x",
        "spiffe://hexr.cloud/agent/acme/x/y/z",
        "spiffe://hexr.cloud/agents/acme/x/y",
        "spiffe://hexr.cloud/Agent/acme/x/y",
        "spiffe://evil.cloud/agent/acme/x/y",
        "spiffe://hexr.cloud.evil/agent/acme/x/y",
        "spiffe://hexr.cloud/agent/Acme/x/y",
        "spiffe://hexr.cloud/agent/acme_/x/y",
        "spiffe://hexr.cloud/agent/acme./x/y",
        "spiffe://hexr.cloud",
    ] {
        let error = host.access.act_as(Principal::parse(id).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{id}");
    }
    for id in [
        "spiffe://HEXR.cloud/agent/acme/x/y",
        "spiffe://hexr.cloud/agent/acme//y",
        "spiffe://hexr.cloud:1/a",
        "spiffe://hexr.cloud/agent/acme/x/..",
        "spiffe://hexr.cloud/agent/acme/%78/y",
        "SPIFFE://hexr.cloud/a",
    ] {
        assert!(Principal::parse(id).is_err(), "{id}");
    }
    // Names of agents and roles count with their case.
    assert_eq!(refusal(&host.agent("acme/X/y"), "a").await, Some(ErrorKind::Denied));
}

#[tokio::test]
async fn pages_and_health_tell_nothing_about_other_tenants() {
    let host = host().await;
    for number in 0..250 {
        host.put(&format!("other/many/{number}"), Tier::Standard).await;
        host.put(&format!("acme/hidden/{number}"), Tier::Standard).await;
    }
    host.grant("agent:narrow", &["secrets:list:b/**"]).await;
    let agent = host.agent("acme/narrow/y");
    for page in [
        None,
        Some(PageToken::new("other/a")),
        Some(PageToken::new("acme/b")),
        Some(PageToken::new("x")),
    ] {
        let page = agent.list(None, &ListOptions::new().page(page)).await.unwrap();
        assert_eq!(page.paths, [path("b/c")]);
        assert!(page.next.is_none());
    }
    let health = agent.health().await.unwrap();
    assert!(!format!("{health:?}").contains("secrets"), "{health:?}");
    assert!(format!("{:?}", host.store.health().await.unwrap()).contains("secrets"));
    let denied = agent.list(Some(&path("hidden")), &ListOptions::new()).await.unwrap_err();
    let absent = agent.list(Some(&path("absent")), &ListOptions::new()).await.unwrap_err();
    assert_eq!(denied.to_string().replace("hidden", "absent"), absent.to_string());
}

#[tokio::test]
async fn rules_and_records_of_another_tenant_are_out_of_reach() {
    let host = host().await;
    let other_rules = host.access.administrator("host", &tenant("other")).unwrap();
    let other = host.actor("other/x/y");
    let other_grant = other_rules.grants()[0].clone();
    let new = strongroom_access::NewToken::new(
        scopes(&["secrets:read"]),
        crate::support::soon(),
        "a test",
    );
    let (other_token, _) = other.rules().issue_token(new).await.unwrap();
    let other_approval = other.rules().request_approval(request("a")).await.unwrap();
    read(&host.guard(other), "a").await.unwrap();

    let rules = host.actor("acme/x/y").rules();
    assert_eq!(rules.delete_grant(other_grant.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(rules.revoke_token(other_token.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(rules.approval(other_approval.id()).is_err());
    assert!(rules.withdraw(other_approval.id()).await.is_err());
    assert!(host.person("ann").rules().approve(other_approval.id()).await.is_err());
    assert!(rules.grants().iter().all(|grant| grant.tenant == tenant("acme")));
    assert!(rules.tokens().unwrap().is_empty() && rules.open_approvals().is_empty());
    for query in [
        AuditQuery::new(),
        AuditQuery::new().path(&path("a")),
        AuditQuery::new().principal("spiffe://hexr.cloud/agent/other/x/y"),
        AuditQuery::new().event("token.issued"),
    ] {
        let records = rules.audit(query).await.unwrap();
        let is_own =
            |record: &strongroom_access::AuditRecord| record.tenant.as_deref() == Some("acme");
        assert!(records.iter().all(is_own));
        assert!(!format!("{records:?}").contains("other"), "{records:?}");
    }
    assert!(rules.audit(AuditQuery::new().tenant(tenant("other"))).await.unwrap().is_empty());
    let of_other = host.access.audit(AuditQuery::new().tenant(tenant("other"))).await.unwrap();
    assert!(!of_other.is_empty());
    assert!(of_other.iter().all(|record| record.tenant.as_deref() == Some("other")));
    // The rules of the other tenant are as they were.
    assert_eq!(other_rules.grants(), [other_grant]);
    assert_eq!(other_rules.tokens().unwrap().len(), 1);
}

#[tokio::test]
async fn a_grant_applies_to_principals_of_its_tenant_alone() {
    let host = host().await;
    let person = Person::new("other", "ann").unwrap();
    let grant = NewGrant::new(person.clone(), scopes(&["secrets:read"]), "a test");
    let error = host.rules.create_grant(grant).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    host.grant("spiffe://hexr.cloud/**", &["secrets:read"]).await;
    host.grant("role:z", &["secrets:read"]).await;
    assert_eq!(refusal(&host.agent("other/n/z"), "a").await, Some(ErrorKind::Denied));
    assert_eq!(refusal(&host.agent("acm/n/z"), "a").await, Some(ErrorKind::Denied));
    assert_eq!(refusal(&host.agent("acme/n/n"), "a").await, None);
    let person = host.access.act_as(Principal::Person(person)).unwrap();
    assert_eq!(refusal(&host.guard(person), "a").await, Some(ErrorKind::Denied));
}

#[tokio::test]
async fn an_error_is_the_same_for_a_secret_that_exists_and_one_that_does_not() {
    let host = host().await;
    host.put("acme/present", Tier::Critical).await;
    let agent = host.agent("acme/nobody/y");
    let (there, absent) = (path("present"), path("missing"));
    let version = host.store.describe(&path("acme/present")).await.unwrap().version;
    let (patch, options) =
        (strongroom_core::MetadataPatch::new(), strongroom_core::PutOptions::new());
    let mut errors: Vec<[strongroom_core::Error; 2]> = Vec::new();
    macro_rules! compare {
        ($call:expr) => {{
            let call = $call;
            errors.push([
                call(there.clone()).await.unwrap_err(),
                call(absent.clone()).await.unwrap_err(),
            ]);
        }};
    }
    compare!(async |at| agent.get(&at, &strongroom_core::VersionSelector::Active).await.map(drop));
    compare!(async |at| agent.get_many(&[at]).await.remove(0).map(drop));
    compare!(async |at| agent.put(&at, "x".into(), options.clone()).await.map(drop));
    compare!(async |at| agent.delete(&at).await);
    compare!(async |at| agent.undelete(&at).await);
    compare!(async |at| agent.destroy(&at).await);
    compare!(async |at| agent.versions(&at).await.map(drop));
    compare!(async |at| agent.rollback(&at, &version).await.map(drop));
    compare!(async |at| agent.describe(&at).await.map(drop));
    compare!(async |at| agent.annotate(&at, &patch).await);
    compare!(async |at| agent.rotate(&at).await.map(drop));
    compare!(async |at| agent.check_read(&at, Tier::Sensitive));
    for [there, absent] in &errors {
        assert_eq!(there.kind(), ErrorKind::Denied);
        assert_eq!(there.to_string().replace("present", "missing"), absent.to_string());
        assert_eq!(format!("{there:?}").replace("present", "missing"), format!("{absent:?}"));
    }
}
