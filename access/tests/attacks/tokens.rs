//! Tokens: attenuation, limits, binding, and where their text may appear.

use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret as _;
use strongroom_access::{
    Action, AuditMode, AuditQuery, NewGrant, NewToken, Principal, SpiffeId, Subject, TokenSecret,
};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, Tier};

use crate::support::{Host, in_file, in_memory, path, read, refusal, scopes, soon, wait_until};

fn new(texts: &[&str]) -> NewToken {
    NewToken::new(scopes(texts), soon(), "a test")
}

#[tokio::test]
async fn a_token_issues_only_what_it_has_itself() {
    let host = Host::new().await;
    let (_, text) =
        host.token(&["secrets:read+list:prod/**", "tokens:write", "grants:write:prod/*"]).await;
    let rules = host.access.act_with(&text, None).unwrap().rules();
    for more in [
        "secrets:write:prod/a",
        "secrets:read",
        "secrets:read:production/**",
        "secrets:*:prod/**",
        "secrets:read:*/**",
        "audit:read",
        "approvals:decide",
        "grants:write",
        "grants:write:prod/**",
    ] {
        let error = rules.issue_token(new(&[more])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{more}");
    }
    for within in
        ["secrets:read:prod/**", "secrets:list:prod/a/b", "tokens:read", "grants:read:prod/*"]
    {
        rules.issue_token(new(&[within])).await.unwrap();
    }
    // A grant is no way around it either.
    let subject = Subject::parse("agent:a").unwrap();
    for more in ["secrets:read:prod/**", "secrets:read", "grants:write:prod/**", "audit:read"] {
        let grant = NewGrant::new(subject.clone(), scopes(&[more]), "a test");
        let error = rules.create_grant(grant).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{more}");
    }
    host.verify().await;
}

#[tokio::test]
async fn a_token_that_was_issued_with_another_ends_with_it_at_any_depth() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    let end = SystemTime::now() + Duration::from_secs(4);
    let parent =
        NewToken::new(scopes(&["secrets:read", "tokens:write", "grants:write"]), end, "a test");
    let (_, parent) = host.rules.issue_token(parent).await.unwrap();
    let rules = host.access.act_with(&parent, None).unwrap().rules();
    let (_, child) = rules.issue_token(new(&["secrets:read", "tokens:write"])).await.unwrap();
    let rules_of_child = host.access.act_with(&child, None).unwrap().rules();
    let (_, grandchild) = rules_of_child.issue_token(new(&["secrets:read:a"])).await.unwrap();
    let grant =
        NewGrant::new(Subject::parse("agent:a").unwrap(), scopes(&["secrets:read"]), "a test");
    rules.create_grant(grant).await.unwrap();
    let (grandchild_reads, agent) = (host.bearer(&grandchild), host.agent("acme/a/b"));
    assert_eq!(refusal(&grandchild_reads, "a").await, None);
    assert_eq!(refusal(&agent, "a").await, None);
    wait_until("the parent expires", || SystemTime::now() > end).await;
    assert_eq!(refusal(&grandchild_reads, "a").await, Some(ErrorKind::Unauthenticated));
    assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied));
    for text in [&parent, &child, &grandchild] {
        let error = host.access.act_with(text, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    assert!(rules_of_child.issue_token(new(&["secrets:read:a"])).await.is_err());
    assert!(host.rules.tokens().unwrap().is_empty() && host.rules.grants().is_empty());
}

#[tokio::test]
async fn revoking_a_token_ends_its_grants_and_the_tokens_below_it_at_once() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    let (parent, text) = host.token(&["secrets:read", "tokens:write", "grants:write"]).await;
    let rules = host.access.act_with(&text, None).unwrap().rules();
    let (_, child) = rules.issue_token(new(&["secrets:read"])).await.unwrap();
    let grant =
        NewGrant::new(Subject::parse("agent:a").unwrap(), scopes(&["secrets:read"]), "a test");
    rules.create_grant(grant).await.unwrap();
    let (child, agent) = (host.bearer(&child), host.agent("acme/a/b"));
    assert_eq!((refusal(&child, "a").await, refusal(&agent, "a").await), (None, None));
    host.rules.revoke_token(parent.id).await.unwrap();
    assert_eq!(refusal(&child, "a").await, Some(ErrorKind::Unauthenticated));
    assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied));
    assert!(rules.issue_token(new(&["secrets:read"])).await.is_err());
}

#[tokio::test]
async fn a_principal_issues_no_token_that_outlives_its_grants() {
    let host = Host::new().await;
    let subject = Subject::parse("agent:a").unwrap();
    let grant = NewGrant::new(subject, scopes(&["secrets:read", "tokens:write"]), "a test");
    host.rules.create_grant(grant.until(soon())).await.unwrap();
    let rules = host.actor("acme/a/b").rules();
    let longer =
        NewToken::new(scopes(&["secrets:read"]), soon() + Duration::from_secs(3600), "a test");
    assert_eq!(rules.issue_token(longer).await.unwrap_err().kind(), ErrorKind::Denied);
    let within = SystemTime::now() + Duration::from_secs(600);
    rules.issue_token(NewToken::new(scopes(&["secrets:read"]), within, "a test")).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_when_a_grant_by_which_it_was_issued_is_deleted() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    let grant = host.grant("agent:a", &["secrets:read"]).await;
    host.grant("agent:a", &["tokens:write", "grants:write"]).await;
    let rules = host.actor("acme/a/b").rules();
    let within = ["secrets:read", "tokens:write", "grants:write"];
    let (issued, text) = rules.issue_token(new(&within)).await.unwrap();
    assert!(issued.created_under.contains(&grant.id));
    let below = host.access.act_with(&text, None).unwrap().rules();
    let (_, child) = below.issue_token(new(&["secrets:read"])).await.unwrap();
    let to_c =
        NewGrant::new(Subject::parse("agent:c").unwrap(), scopes(&["secrets:read"]), "a test");
    below.create_grant(to_c).await.unwrap();
    let readers = [host.bearer(&text), host.bearer(&child), host.agent("acme/c/d")];
    for reader in &readers {
        assert_eq!(refusal(reader, "a").await, None);
    }
    host.rules.delete_grant(grant.id).await.unwrap();
    for reader in &readers {
        assert!(refusal(reader, "a").await.is_some());
    }
    assert!(host.rules.tokens().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_for_one_use_gives_exactly_one_value() {
    for mode in [
        AuditMode::Durable,
        AuditMode::Batched(Duration::from_secs(5)),
        AuditMode::WritesAndDenials,
    ] {
        let host = Host::open(in_memory().audit_mode(mode)).await;
        host.put("acme/a", Tier::Standard).await;
        let (_, text) = host.rules.issue_token(new(&["secrets:*"]).max_uses(2)).await.unwrap();
        let bearer = host.bearer(&text);
        assert_eq!(read(&bearer, "a").await.unwrap(), "value", "{mode:?}");
        let both = bearer.get_many(&[path("a"), path("a")]).await;
        assert_eq!(both.iter().filter(|result| result.is_ok()).count(), 1, "{mode:?}");
        assert_eq!(refusal(&bearer, "a").await, Some(ErrorKind::Unauthenticated));
        let listed = bearer.list(None, &ListOptions::new()).await;
        assert_eq!(listed.unwrap_err().kind(), ErrorKind::Unauthenticated);
        assert!(host.access.act_with(&text, None).is_err());
    }
}

#[tokio::test]
async fn a_limited_token_has_exactly_its_uses_in_two_processes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    let other = host.again(in_file(folder.path())).await;
    let (_, text) = host.rules.issue_token(new(&["secrets:read"]).max_uses(7)).await.unwrap();
    wait_until("the other process follows", || other.access.act_with(&text, None).is_ok()).await;
    let readers = (0..40).map(|number| {
        let host = if number % 2 == 0 { &host } else { &other };
        let bearer = host.bearer(&text);
        tokio::spawn(async move { read(&bearer, "a").await.is_ok() })
    });
    let readers: Vec<_> = readers.collect();
    let mut read_count = 0;
    for reader in readers {
        read_count += usize::from(reader.await.unwrap());
    }
    assert_eq!(read_count, 7);
    assert_eq!(host.count("vault.accessed").await, 7);
    // The refusals while the other process did not follow yet are another denial.
    let denied = host.access.audit(AuditQuery::new().event("vault.denied")).await.unwrap();
    let ended = denied.iter().filter(|record| record.details["denial"] == "token_ended");
    assert_eq!(ended.count(), 33);
    other.verify().await;
}

#[tokio::test]
async fn a_limited_token_gives_no_right_that_does_not_count() {
    let host = Host::new().await;
    let grant = host.grant("agent:a", &["secrets:read:a"]).await;
    let all = ["secrets:read", "grants:write", "tokens:write", "audit:read"];
    let (_, text) = host.rules.issue_token(new(&all).max_uses(1)).await.unwrap();
    let (other, _) = host.token(&["secrets:read"]).await;
    let rules = host.access.act_with(&text, None).unwrap().rules();
    assert!(rules.audit(AuditQuery::new()).await.is_err());
    assert!(rules.tokens().is_err() && rules.grants().is_empty());
    assert!(
        rules.delete_grant(grant.id).await.is_err() && rules.revoke_token(other.id).await.is_err()
    );
    assert!(rules.issue_token(new(&["secrets:read"])).await.is_err());
    let grant =
        NewGrant::new(Subject::parse("agent:b").unwrap(), scopes(&["secrets:read"]), "a test");
    assert!(rules.create_grant(grant).await.is_err());
}

#[tokio::test]
async fn a_bound_token_opens_nothing_for_anybody_else() {
    let host = Host::new().await;
    let id = |text: &str| SpiffeId::parse(&format!("spiffe://hexr.cloud/agent/{text}")).unwrap();
    let bound = new(&["secrets:read", "tokens:write"]).bound_to(id("acme/a/b"));
    let (_, text) = host.rules.issue_token(bound).await.unwrap();
    let others = [
        None,
        Some("spiffe://hexr.cloud/agent/acme/a/c"),
        Some("spiffe://hexr.cloud/agent/acme/A/b"),
        Some("spiffe://hexr.cloud/agent/other/a/b"),
        Some("spiffe://hexr.cloud/agent/acme/a/b/c"),
        Some("spiffe://hexr.cloud.evil/agent/acme/a/b"),
        Some("person:acme/ann"),
    ];
    for other in others {
        let principal = other.map(|other| Principal::parse(other).unwrap());
        let error = host.access.act_with(&text, principal.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{other:?}");
    }
    let own = Principal::Workload(id("acme/a/b"));
    let rules = host.access.act_with(&text, Some(&own)).unwrap().rules();
    for unbound in [new(&["secrets:read"]), new(&["secrets:read"]).bound_to(id("acme/a/c"))] {
        assert_eq!(rules.issue_token(unbound).await.unwrap_err().kind(), ErrorKind::Denied);
    }
    let (_, child) =
        rules.issue_token(new(&["secrets:read"]).bound_to(id("acme/a/b"))).await.unwrap();
    assert!(host.access.act_with(&child, None).is_err());
    host.access.act_with(&child, Some(&own)).unwrap();
}

#[tokio::test]
async fn a_token_of_another_tenant_is_refused_to_its_principals_and_sees_its_own_root_alone() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    let (_, text) = host.token(&["secrets:*"]).await;
    for other in ["spiffe://hexr.cloud/agent/other/a/b", "person:other/ann"] {
        let principal = Principal::parse(other).unwrap();
        assert!(host.access.act_with(&text, Some(&principal)).is_err(), "{other}");
    }
    let other = host.access.administrator("host", &crate::support::tenant("other")).unwrap();
    let (_, foreign) = other.issue_token(new(&["secrets:*"])).await.unwrap();
    let foreign = host.bearer(&foreign);
    assert_eq!(refusal(&foreign, "a").await, Some(ErrorKind::NotFound));
    assert!(foreign.list(None, &ListOptions::new()).await.unwrap().paths.is_empty());
}

#[tokio::test]
async fn only_the_administrator_or_a_waiving_token_waives_approvals() {
    let host = Host::new().await;
    host.grant("agent:a", &["secrets:read", "tokens:write"]).await;
    let rules = host.actor("acme/a/b").rules();
    let error = rules.issue_token(new(&["secrets:read"]).waive_sensitive()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let (_, plain) = host.token(&["secrets:read", "tokens:write"]).await;
    let rules = host.access.act_with(&plain, None).unwrap().rules();
    assert!(rules.issue_token(new(&["secrets:read"]).waive_sensitive()).await.is_err());
    let waiving = new(&["secrets:read", "tokens:write"]).waive_sensitive();
    let (_, waiving) = host.rules.issue_token(waiving).await.unwrap();
    let rules = host.access.act_with(&waiving, None).unwrap().rules();
    rules.issue_token(new(&["secrets:read"]).waive_sensitive()).await.unwrap();
}

#[tokio::test]
async fn a_token_without_the_right_to_tokens_revokes_itself_alone() {
    let host = Host::new().await;
    let (own, text) = host.token(&["secrets:*"]).await;
    let (other, _) = host.token(&["secrets:read"]).await;
    let rules = host.access.act_with(&text, None).unwrap().rules();
    let unknown = strongroom_access::TokenId::parse(&"0".repeat(32)).unwrap();
    for id in [other.id, unknown] {
        assert_eq!(rules.revoke_token(id).await.unwrap_err().kind(), ErrorKind::Denied);
    }
    rules.revoke_token(own.id).await.unwrap();
    assert!(host.access.act_with(&text, None).is_err());
}

#[tokio::test]
async fn the_text_of_a_token_is_in_no_debug_error_record_or_file() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let (token, text) = host.token(&["secrets:read", "tokens:write", "audit:read"]).await;
    let actor = host.access.act_with(&text, None).unwrap();
    let guarded = host.guard(actor.clone());
    let denied = read(&guarded, "x").await.unwrap_err();
    let mut wrong = text.expose_secret().to_owned();
    wrong.pop();
    let malformed = host.access.act_with(&wrong.clone().into(), None).unwrap_err();
    host.rules.revoke_token(token.id).await.unwrap();
    let ended = host.access.act_with(&text, None).unwrap_err();
    let records = host.records(0).await;
    let shown = format!(
        "{token:?} {text:?} {actor:?} {guarded:?} {denied:?} {denied} {malformed:?} {malformed} {ended:?} {ended} \
         {:?} {:?} {records:?} {:?}",
        actor.rules(),
        host.access,
        actor.explain(Action::Read, &path("x"))
    );
    host.access.close().await;
    let secret = &text.expose_secret()["srt_".len()..40];
    assert!(!shown.contains(secret) && !shown.contains(&wrong));
    assert!(!shown.contains("\"hash\""), "{shown}");
    let mut searched = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        searched += bytes.len();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert!(searched > 10_000, "the log is searched: {searched} bytes");
}

#[tokio::test]
async fn a_refused_token_or_identity_is_recorded_without_the_text_of_the_token() {
    let host = Host::new().await;
    let workload = |id: &str| Principal::parse(&format!("spiffe://hexr.cloud/agent/{id}")).unwrap();
    let bound = SpiffeId::parse("spiffe://hexr.cloud/agent/acme/a/b").unwrap();
    let new = NewToken::new(scopes(&["secrets:read"]), soon(), "a test").bound_to(bound);
    let (token, text) = host.rules.issue_token(new).await.unwrap();
    let (revoked, revoked_text) = host.token(&["secrets:read"]).await;
    host.rules.revoke_token(revoked.id).await.unwrap();
    let before = host.last().await;
    let unmatched = Principal::parse("spiffe://elsewhere/x").unwrap();
    host.access.act_with(&text, None).unwrap_err();
    host.access.act_with(&text, Some(&workload("acme/c/d"))).unwrap_err();
    host.access.act_with(&text, Some(&workload("other/a/b"))).unwrap_err();
    host.access.act_with(&text, Some(&unmatched)).unwrap_err();
    host.access.act_with(&revoked_text, None).unwrap_err();
    host.access.act_as(unmatched).unwrap_err();
    let records = host.records(before).await;
    let id = token.id.to_string();
    let (known, acme) = (Some(id.as_str()), Some("acme"));
    let found: Vec<_> = records
        .iter()
        .map(|it| (it.principal.as_str(), it.token.as_deref(), it.tenant.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (format!("token:{id}").as_str(), known, acme),
            ("spiffe://hexr.cloud/agent/acme/c/d", known, acme),
            ("spiffe://hexr.cloud/agent/other/a/b", known, None),
            ("spiffe://elsewhere/x", known, None),
            ("token:unknown", None, None),
            ("spiffe://elsewhere/x", None, None),
        ]
    );
    for record in &records {
        assert_eq!(record.event, "vault.denied");
        assert_eq!(record.details["denial"], "not_authenticated");
        let line = record.to_json_line().unwrap();
        for text in [&text, &revoked_text] {
            assert!(!line.contains(secrecy::ExposeSecret::expose_secret(text)));
        }
    }
    host.verify().await;
}

#[tokio::test]
async fn a_flood_of_refused_tokens_is_bounded_and_stops_no_read() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(crate::support::in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:read"]).await;
    let unknown = TokenSecret::generate().unwrap().expose_text().to_owned().into();
    let agent = host.agent("acme/a/b");
    std::fs::rename(folder.path().join("access.db"), folder.path().join("away")).unwrap();
    for _ in 0..5000 {
        host.access.act_with(&unknown, None).unwrap_err();
    }
    std::fs::rename(folder.path().join("away"), folder.path().join("access.db")).unwrap();
    read(&agent, "a").await.unwrap();
    // At most 1,000 wait at once; some may have been written before the file was away.
    let refused = host.access.audit(AuditQuery::new().event("vault.denied")).await.unwrap();
    assert_eq!(refused.len(), 1000);
    host.verify().await;
}
