//! Tokens of people: who makes them, who holds them, and what they decide.

use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use strongroom_access::{NewToken, Person, Principal, SpiffeId, TokenId};
use strongroom_core::{ErrorKind, Tier};

use crate::support::{Host, in_file, refusal, request, scopes, soon};

/// A token for a person of the tenant `acme`, from the host.
async fn personal(host: &Host, name: &str, texts: &[&str]) -> (TokenId, SecretString) {
    let person = Person::new("acme", name).unwrap();
    let new = NewToken::new(scopes(texts), soon(), "a test").for_person(person);
    let (token, text) = host.rules.issue_token(new).await.unwrap();
    (token.id, text)
}

#[tokio::test]
async fn the_token_of_a_person_decides_and_has_no_right_of_the_persons_grants() {
    let host = Host::new().await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:bot", &["secrets:read"]).await;
    host.grant("person:acme/ann", &["secrets:*", "approvals:decide"]).await;
    let ask =
        || async { host.actor("acme/bot/x").rules().request_approval(request("k")).await.unwrap() };
    let (_, weak) = personal(&host, "ann", &["secrets:read:other"]).await;
    let weak = host.access.act_with(&weak, None).unwrap();
    assert_eq!((weak.principal(), weak.tenant().as_str()), ("person:acme/ann", "acme"));
    let pending = ask().await;
    assert_eq!(weak.rules().approve(pending.id()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(weak.rules().open_approvals().is_empty());
    assert_eq!(refusal(&host.guard(weak), "k").await, Some(ErrorKind::Denied));
    let (id, text) = personal(&host, "bob", &["approvals:decide"]).await;
    let bob = host.access.act_with(&text, None).unwrap();
    bob.rules().approve(pending.id()).await.unwrap();
    assert_eq!(refusal(&host.agent("acme/bot/x"), "k").await, None);
    host.rules.revoke_token(id).await.unwrap();
    let pending = ask().await;
    assert!(bob.rules().approve(pending.id()).await.is_err());
    assert!(host.access.act_with(&text, None).is_err());
    host.verify().await;
}

#[tokio::test]
async fn no_principal_makes_a_person_of_a_token() {
    let host = Host::new().await;
    let all = ["secrets:*", "grants:write", "tokens:write", "approvals:decide", "audit:read"];
    host.grant("agent:bot", &all).await;
    host.grant("person:acme/ann", &all).await;
    let (_, own) = personal(&host, "ann", &all).await;
    let (_, plain) = host.token(&all).await;
    for actor in [
        host.actor("acme/bot/x"),
        host.person("ann"),
        host.access.act_with(&own, None).unwrap(),
        host.access.act_with(&plain, None).unwrap(),
    ] {
        for name in ["ann", "bob"] {
            let person = Person::new("acme", name).unwrap();
            let new = NewToken::new(scopes(&["secrets:read"]), soon(), "more").for_person(person);
            let error = actor.rules().issue_token(new).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        }
        // What it issues is no person.
        let new = NewToken::new(scopes(&["approvals:decide"]), soon(), "a tool");
        let (token, text) = actor.rules().issue_token(new).await.unwrap();
        assert_eq!(token.person, None);
        let tool = host.access.act_with(&text, None).unwrap();
        assert_eq!(tool.principal(), format!("token:{}", token.id));
    }
    let foreign = Person::new("other", "ann").unwrap();
    let new = NewToken::new(scopes(&["secrets:read"]), soon(), "a test").for_person(foreign);
    let error = host.rules.issue_token(new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_person_does_not_approve_by_a_token_what_they_ask_for_in_another_way() {
    let host = Host::new().await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("person:acme/ann", &["secrets:read", "approvals:decide"]).await;
    let all = ["secrets:read", "tokens:write", "approvals:decide"];
    let (_, text) = personal(&host, "ann", &all).await;
    let (_, again) = personal(&host, "ann", &all).await;
    let ann = host.access.act_with(&text, None).unwrap();
    let new = NewToken::new(scopes(&["secrets:read"]), soon(), "a tool");
    let (_, tool) = ann.rules().issue_token(new).await.unwrap();
    let tool = host.access.act_with(&tool, None).unwrap();
    let again = host.access.act_with(&again, None).unwrap();
    for requester in [&ann, &host.person("ann"), &tool] {
        let pending = requester.rules().request_approval(request("k")).await.unwrap();
        for approver in [&ann, &again, &host.person("ann")] {
            let error = approver.rules().approve(pending.id()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
        }
    }
}

#[tokio::test]
async fn nothing_but_the_person_presents_the_token_of_a_person() {
    let host = Host::new().await;
    let (_, text) = personal(&host, "ann", &["secrets:*", "approvals:decide"]).await;
    let workload = Principal::parse("spiffe://hexr.cloud/agent/acme/bot/x").unwrap();
    let bob = Principal::Person(Person::new("acme", "bob").unwrap());
    let foreign = Principal::Person(Person::new("other", "ann").unwrap());
    for presenter in [workload, bob, foreign] {
        let error = host.access.act_with(&text, Some(&presenter)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{presenter}");
    }
    let ann = Principal::Person(Person::new("acme", "ann").unwrap());
    let actor = host.access.act_with(&text, Some(&ann)).unwrap();
    assert_eq!(actor.principal(), "person:acme/ann");
    let bound = NewToken::new(scopes(&["secrets:read"]), soon(), "a test")
        .for_person(Person::new("acme", "ann").unwrap())
        .bound_to(SpiffeId::parse("spiffe://hexr.cloud/agent/acme/bot/x").unwrap());
    let error = host.rules.issue_token(bound).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_token_of_a_person_is_one_in_another_process_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let (_, text) = personal(&host, "ann", &["approvals:decide"]).await;
    let far = SystemTime::now() + Duration::from_secs(60);
    for _ in 0..2 {
        host.access.prune_audit(far, "cron").await.unwrap();
        let again = host.again(in_file(folder.path())).await;
        let ann = again.access.act_with(&text, None).unwrap();
        assert_eq!(ann.principal(), "person:acme/ann");
        again.access.close().await;
    }
    host.verify().await;
}
