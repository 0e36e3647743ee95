//! Writes with a scope: a right to read for a role of the writer's own agent.

use strongroom_access::{AccessConfig, Guarded, NewToken, Principal, SpiffeId, SpiffeTemplate};
use strongroom_core::{Backend, ErrorKind, MemoryBackend, PutOptions, Result, Version};

use crate::support::{Host, path, read, refusal, scopes, soon};

async fn put(guarded: &Guarded, at: &str, role: &str) -> Result<Version> {
    guarded.put(&path(at), "one".into(), PutOptions::new().scope(role)).await
}

/// The agent `acme/crawler` writes below `own`, and may make grants there.
async fn host() -> Host {
    let host = Host::new().await;
    host.grant("agent:crawler", &["secrets:write+delete:own/**", "grants:write:own/**"]).await;
    host.grant("agent:clerk", &["secrets:write:own/**"]).await;
    host
}

#[tokio::test]
async fn only_the_role_of_the_writers_own_agent_may_read() {
    let host = host().await;
    let writer = host.agent("acme/crawler/writer");
    put(&writer, "own/key", "researcher").await.unwrap();
    assert_eq!(read(&host.agent("acme/crawler/researcher"), "own/key").await.unwrap(), "one");
    for other in [
        "acme/crawler/writer",
        "acme/crawler/researcher2",
        "acme/crawler2/researcher",
        "acme/other/researcher",
        "other/crawler/researcher",
    ] {
        assert_eq!(
            refusal(&host.agent(other), "own/key").await,
            Some(ErrorKind::Denied),
            "{other}"
        );
    }
    let researcher = host.agent("acme/crawler/researcher");
    assert_eq!(refusal(&researcher, "own/key2").await, Some(ErrorKind::Denied));
    assert!(put(&researcher, "own/key", "researcher").await.is_ok(), "its agent may write");

    put(&writer, "own/all", "*").await.unwrap();
    for role in ["writer", "researcher", "any"] {
        let agent = host.agent(&format!("acme/crawler/{role}"));
        assert_eq!(refusal(&agent, "own/all").await, None);
    }
    assert_eq!(refusal(&host.agent("acme/crawler2/any"), "own/all").await, Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_repeated_write_makes_no_second_grant_and_a_deletion_ends_it() {
    let host = host().await;
    let writer = host.agent("acme/crawler/writer");
    let before = host.rules.grants().len();
    for _ in 0..3 {
        put(&writer, "own/key", "researcher").await.unwrap();
    }
    assert_eq!(host.rules.grants().len(), before + 1);
    let researcher = host.agent("acme/crawler/researcher");
    assert_eq!(refusal(&researcher, "own/key").await, None);
    writer.delete(&path("own/key")).await.unwrap();
    assert_eq!(host.rules.grants().len(), before);
    host.put("acme/own/key", strongroom_core::Tier::Standard).await;
    assert_eq!(refusal(&researcher, "own/key").await, Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_wider_grant_is_no_substitute() {
    let host = host().await;
    let researchers = "spiffe://hexr.cloud/agent/acme/crawler/researcher";
    let wide = host.grant(researchers, &["secrets:read"]).await;
    put(&host.agent("acme/crawler/writer"), "own/key", "researcher").await.unwrap();
    host.rules.delete_grant(wide.id).await.unwrap();
    let researcher = host.agent("acme/crawler/researcher");
    assert_eq!(refusal(&researcher, "own/key").await, None);
    assert_eq!(refusal(&researcher, "own/other").await, Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_scope_that_cannot_be_given_writes_nothing() {
    let host = host().await;
    let last = host.last().await;
    let clerk = host.agent("acme/clerk/x");
    let error = put(&clerk, "own/key", "researcher").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let [denied] = &host.records(last).await[..] else { panic!("one record") };
    assert_eq!(denied.event, "vault.denied");

    let writer = host.agent("acme/crawler/writer");
    let ann = host.person("ann");
    host.grant("person:acme/ann", &["secrets:write", "grants:write"]).await;
    let new = NewToken::new(scopes(&["secrets:write", "grants:write"]), soon(), "a test");
    let (_, text) = host.rules.issue_token(new).await.unwrap();
    let cases = [
        (&writer, "a/b"),
        (&writer, ""),
        (&writer, "**"),
        (&writer, "rese*"),
        (&writer, ".."),
        (&host.guard(ann), "researcher"),
        (&host.bearer(&text), "researcher"),
    ];
    let grants = host.rules.grants().len();
    for (guarded, role) in cases {
        let error = put(guarded, "own/key", role).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{role}: {error}");
    }
    let key = path("acme/own/key");
    assert_eq!(host.store.describe(&key).await.unwrap_err().kind(), ErrorKind::NotFound);

    host.put("acme/own/key", strongroom_core::Tier::Standard).await;
    let options = PutOptions::new().must_not_exist().scope("researcher");
    let conflict = writer.put(&path("own/key"), "two".into(), options).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert_eq!(host.rules.grants().len(), grants);
}

#[tokio::test]
async fn a_grant_of_a_token_ends_with_the_token() {
    let host = host().await;
    let id = SpiffeId::parse("spiffe://hexr.cloud/agent/acme/crawler/writer").unwrap();
    let wanted = scopes(&["secrets:write:own/**", "grants:write:own/**"]);
    let new = NewToken::new(wanted, soon(), "a test").bound_to(id.clone());
    let (token, text) = host.rules.issue_token(new).await.unwrap();
    let holder = host.access.act_with(&text, Some(&Principal::Workload(id))).unwrap();
    put(&host.guard(holder), "own/key", "researcher").await.unwrap();
    let researcher = host.agent("acme/crawler/researcher");
    assert_eq!(refusal(&researcher, "own/key").await, None);
    // A grant that outlasts the token is made although one applies.
    let outlasting = host.rules.grants().len();
    put(&host.agent("acme/crawler/writer"), "own/key", "researcher").await.unwrap();
    assert_eq!(host.rules.grants().len(), outlasting + 1);
    put(&host.agent("acme/crawler/writer"), "own/two", "absent").await.unwrap();
    host.rules.revoke_token(token.id).await.unwrap();
    assert_eq!(refusal(&researcher, "own/key").await, None);
    assert_eq!(host.rules.grants().len(), outlasting + 1);
}

#[tokio::test]
async fn a_role_is_read_by_the_template_that_has_identified_the_writer() {
    let config = AccessConfig::in_memory();
    let templates = [
        "spiffe://hexr.cloud/agent/{tenant}/{agent}/fixed",
        "spiffe://hexr.cloud/agent/{agent}/{tenant}/{role}",
    ];
    let config = templates
        .iter()
        .fold(config, |config, template| config.template(SpiffeTemplate::parse(template).unwrap()));
    let host = Host::open(config).await;
    host.grant("agent:crawler", &["secrets:write", "grants:write"]).await;
    let writer = host.agent("acme/crawler/fixed");
    let error = put(&writer, "key", "researcher").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "its ids have no role");
    assert_eq!(host.rules.grants().len(), 1);
}

#[tokio::test]
async fn a_store_without_rules_refuses_a_scope() {
    let store = MemoryBackend::new();
    let options = PutOptions::new().scope("researcher");
    let error = store.put(&path("own/key"), "one".into(), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
