//! A policy narrows what grants and tiers allow, for every operation, and never widens it.

mod loading;

use std::time::Duration;

use strongroom_access::{
    Action, AuditQuery, AuditRecord, Denial, NewToken, Outcome, PathPattern, Policy, Principal,
    Tiers,
};
use strongroom_core::{
    Backend as _, Error, ErrorKind, ListOptions, MetadataPatch, PutOptions, Result, SecretPath,
    Tier, VersionSelector,
};

use crate::support::{Host, in_memory, path, read, refusal, request, scopes, soon};

const BOT: &str = "acme/bot/x";

/// A policy with rules for `deny`.
fn policy(rules: &str) -> Policy {
    Policy::from_text("test.rego", format!("package strongroom.access\n{rules}"))
}

/// A policy that denies one action, and what it depends on.
fn denies(action: &str) -> Policy {
    policy(&format!("deny contains \"no {action}\" if input.action == \"{action}\""))
}

async fn host(policy: Policy) -> Host {
    let host = Host::open(in_memory().policy(policy)).await;
    host.put("acme/k", Tier::Standard).await;
    host.grant("agent:bot", &["secrets:*"]).await;
    host
}

/// The denials that name the policy.
async fn denials(host: &Host) -> Vec<AuditRecord> {
    let denied = host.access.audit(AuditQuery::new().event("vault.denied")).await.unwrap();
    denied
        .into_iter()
        .filter(|record| record.details.get("denial") == Some(&"policy".into()))
        .collect()
}

/// Runs each operation on `k`, with the action that it is.
async fn run_all(host: &Host) -> Vec<(&'static str, Action, Result<()>)> {
    let bot = host.agent(BOT);
    let key = path("k");
    let version = host.store.describe(&path("acme/k")).await.unwrap().version;
    let lower = MetadataPatch::new().tier(Tier::Standard);
    let active = VersionSelector::Active;
    let exact = VersionSelector::Exact(version.clone());
    let list = bot.list(None, &ListOptions::new()).await;
    let listed = list.and_then(|page| {
        if page.paths.contains(&key) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Denied, "").because("not listed"))
        }
    });
    vec![
        ("get", Action::Read, bot.get(&key, &active).await.map(drop)),
        ("get_exact", Action::Read, bot.get(&key, &exact).await.map(drop)),
        (
            "get_many",
            Action::Read,
            bot.get_many(std::slice::from_ref(&key)).await.remove(0).map(drop),
        ),
        ("check_read", Action::Read, bot.check_read(&key, Tier::Standard)),
        ("list", Action::List, listed),
        ("describe", Action::Describe, bot.describe(&key).await.map(drop)),
        ("versions", Action::Describe, bot.versions(&key).await.map(drop)),
        ("annotate", Action::Write, bot.annotate(&key, &MetadataPatch::new().tag("a", "b")).await),
        ("put", Action::Write, bot.put(&key, "v".into(), PutOptions::new()).await.map(drop)),
        ("rollback", Action::Write, bot.rollback(&key, &version).await.map(drop)),
        ("rotate", Action::Write, unless_unsupported(bot.rotate(&key).await.map(drop))),
        ("lower", Action::LowerTier, raise_and(host, bot.annotate(&key, &lower)).await),
        ("delete", Action::Delete, bot.delete(&key).await),
        ("undelete", Action::Delete, bot.undelete(&key).await),
        ("destroy", Action::Destroy, bot.destroy(&key).await),
    ]
}

/// A store in memory rotates nothing; what counts is that the call reaches it.
fn unless_unsupported(result: Result<()>) -> Result<()> {
    result.or_else(|error| match error.kind() {
        ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

async fn raise_and<T>(host: &Host, change: impl Future<Output = Result<T>>) -> Result<T> {
    let raised = MetadataPatch::new().tier(Tier::Sensitive);
    host.store.annotate(&path("acme/k"), &raised).await.unwrap();
    let result = change.await;
    let standard = MetadataPatch::new().tier(Tier::Standard);
    host.store.annotate(&path("acme/k"), &standard).await.unwrap();
    result
}

#[tokio::test]
async fn each_operation_is_denied_exactly_if_the_policy_denies_its_action() {
    for denied in Action::ALL {
        let host = host(denies(denied.as_str())).await;
        for (name, action, result) in run_all(&host).await {
            let kind = result.err().map(|error| error.kind());
            // To lower a tier is a write, too.
            let is_denied =
                action == *denied || (action == Action::LowerTier && *denied == Action::Write);
            let expected = is_denied.then_some(ErrorKind::Denied);
            assert_eq!(kind, expected, "{name} under a policy that denies {denied}");
        }
        for record in denials(&host).await {
            let reasons = record.details["reasons"].as_array().unwrap();
            assert_eq!(reasons, &[format!("no {denied}")], "{record:?}");
        }
        // `check_read` hands nothing out, and a path that is left out of a list is no denial.
        let expected = match denied {
            Action::Read => 3,
            Action::List => 0,
            Action::Describe | Action::Delete => 2,
            Action::Write => 5,
            _ => 1,
        };
        assert_eq!(denials(&host).await.len(), expected, "{denied}");
        host.verify().await;
    }
}

#[tokio::test]
async fn a_caller_cannot_tell_a_denial_of_the_policy_from_another() {
    let host = host(policy("deny contains \"x\" if startswith(input.path, \"closed/\")")).await;
    host.put("acme/closed/a", Tier::Standard).await;
    host.put("acme/a", Tier::Standard).await;
    let token = host.token(&["secrets:read:closed/*"]).await.1;
    for guarded in [host.agent(BOT), host.bearer(&token)] {
        let text = |error: Error| error.to_string().replace("closed/", "");
        let there = text(read(&guarded, "closed/a").await.unwrap_err());
        host.store.destroy(&path("acme/closed/a")).await.unwrap();
        let not_there = text(read(&guarded, "closed/a").await.unwrap_err());
        host.put("acme/closed/a", Tier::Standard).await;
        assert_eq!(there, not_there);
        assert!(!there.contains("policy"), "{there}");
    }
    let no_grant = read(&host.agent("acme/other/x"), "a").await.unwrap_err().to_string();
    let by_policy = read(&host.agent(BOT), "closed/a").await.unwrap_err().to_string();
    assert_eq!(by_policy.replace("closed/", ""), no_grant);
}

#[tokio::test]
async fn a_policy_allows_nothing_that_grants_or_tiers_deny() {
    // Rules beside `deny` decide nothing.
    let host =
        Host::open(in_memory().policy(policy(
            "allow := true\ndefault permit := true\ndeny contains \"never\" if false",
        )))
        .await;
    host.put("acme/k", Tier::Critical).await;
    assert_eq!(refusal(&host.agent(BOT), "k").await, Some(ErrorKind::Denied));
    host.grant("agent:bot", &["secrets:read"]).await;
    assert_eq!(refusal(&host.agent(BOT), "k").await, Some(ErrorKind::ApprovalRequired));
    let explained = host.actor(BOT).explain_at(Action::Read, &path("k"), Tier::Critical);
    assert_eq!(explained.denial, Some(Denial::NeedsApproval));
    assert!(explained.needs_approval && explained.policy.is_none());
}

#[tokio::test]
async fn the_policy_decides_after_the_tier_and_uses_no_approval_up() {
    let host = Host::open(in_memory().policy(policy(
        "deny contains \"closed\" if { input.action == \"read\"; input.tier == \"critical\"; input.reason == \"bad\" }",
    )))
    .await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:bot", &["secrets:read"]).await;
    host.appoint(&["ann"]).await;
    let actor = host.actor(BOT);
    let pending = actor.rules().request_approval(request("k")).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    let bad = host.guard(actor.clone().because("bad").unwrap());
    assert_eq!(refusal(&bad, "k").await, Some(ErrorKind::Denied));
    assert_eq!(denials(&host).await.len(), 1);
    assert_eq!(denials(&host).await[0].details["tier"], "critical");
    assert_eq!(refusal(&host.guard(actor), "k").await, None);
}

#[tokio::test]
async fn an_approval_of_what_the_policy_denies_cannot_be_asked_for() {
    let host = host(denies("read")).await;
    let rules = host.actor(BOT).rules();
    let error = rules.request_approval(request("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(host.count("approval.requested").await, 0);
    assert_eq!(denials(&host).await.len(), 1);
    // Without a grant it is the rules that deny it.
    let other = host.actor("acme/other/x").rules();
    assert_eq!(other.request_approval(request("k")).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(denials(&host).await.len(), 1);
    let writes = request("k").action(Action::Write);
    rules.request_approval(writes).await.unwrap();
}

#[tokio::test]
async fn the_input_tells_who_acts_and_with_what() {
    let host = host(policy(
        "deny contains json.marshal(object.remove(input, {\"time\"})) if startswith(input.path, \"k\")",
    ))
    .await;
    let (token, text) = host.token(&["secrets:read"]).await;
    let ann = Principal::parse("person:acme/ann").unwrap();
    let actors = [
        host.actor(BOT).because("ticket 7").unwrap(),
        host.access.act_with(&text, None).unwrap(),
        host.access.act_with(&text, Some(&ann)).unwrap(),
    ];
    for actor in actors {
        assert_eq!(refusal(&host.guard(actor), "k").await, Some(ErrorKind::Denied));
    }
    let shown: Vec<serde_json::Value> = denials(&host)
        .await
        .iter()
        .map(|record| serde_json::from_str(record.details["reasons"][0].as_str().unwrap()).unwrap())
        .collect();
    let bearer = format!("token:{}", token.id);
    assert_eq!(shown[0]["principal"]["agent"], "bot");
    assert_eq!(shown[0]["principal"]["role"], "x");
    assert_eq!((&shown[0]["reason"], &shown[0]["tier"]), (&"ticket 7".into(), &"standard".into()));
    assert!(shown[0].get("token").is_none() && shown[1].get("reason").is_none());
    assert_eq!(shown[1]["principal"]["id"], bearer);
    assert_eq!(shown[1]["token"]["id"], token.id.to_string());
    assert_eq!(shown[2]["token"]["presented_by"], "person:acme/ann");
    let secret = secrecy::ExposeSecret::expose_secret(&text).to_owned();
    assert!(denials(&host).await.iter().all(|record| !format!("{record:?}").contains(&secret)));
}

/// A policy whose evaluation fails for a path: it has no end, or a value of another type.
const FAILS: &str = "list := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
deny contains \"x\" if {
    input.path == \"loop\"
    some a in list; some b in list; some c in list; some d in list
    some e in list; some f in list; some g in list; some h in list
    a + b + c + d + e + f + g + h > 100
}
deny contains 7 if input.path == \"type\"";

#[tokio::test]
async fn an_evaluation_that_fails_denies_and_is_recorded() {
    let config = in_memory().policy(policy(FAILS)).policy_time_limit(Duration::from_secs(1));
    let host = Host::open(config).await;
    host.grant("agent:bot", &["secrets:*"]).await;
    for at in ["loop", "type", "fine"] {
        host.put(&format!("acme/{at}"), Tier::Standard).await;
    }
    let bot = host.agent(BOT);
    for at in ["loop", "type"] {
        assert_eq!(refusal(&bot, at).await, Some(ErrorKind::Denied), "{at}");
        let error = bot.put(&path(at), "v".into(), PutOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{at}");
        let explained = host.actor(BOT).explain(Action::Read, &path(at));
        assert_eq!(explained.denial, Some(Denial::PolicyFailed), "{at}");
        assert_eq!(explained.reasons.len(), 1, "{at}");
    }
    assert_eq!(refusal(&bot, "fine").await, None);
    let denied = host.access.audit(AuditQuery::new().event("vault.denied")).await.unwrap();
    let failed = |record: &&AuditRecord| record.details["denial"] == "policy_failed";
    assert_eq!(denied.iter().filter(failed).count(), 4);
    // A list could take the whole time for each path, so it fails as one.
    let error = bot.list(None, &ListOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn explain_names_the_rule_the_tier_and_the_reasons() {
    let tiers = Tiers::new().at_least(PathPattern::parse("wallet/**").unwrap(), Tier::Critical);
    let rules = "deny contains sprintf(\"%s by %s\", [input.tier, input.principal.role]) if {
        input.tier == \"sensitive\"; input.principal.role }";
    let host = Host::open(in_memory().tiers(tiers).policy(policy(rules))).await;
    let grant = host.grant("agent:bot", &["secrets:read"]).await;
    let actor = host.actor(BOT);
    let plain = actor.explain(Action::Read, &path("a"));
    assert_eq!(plain.rule, Some(strongroom_access::Rule::Grant(grant.id)));
    assert_eq!((plain.denial, plain.tier, plain.needs_approval), (None, None, false));
    assert_eq!(plain.policy.as_ref().map(String::len), Some(64));
    let sensitive = actor.explain_at(Action::Read, &path("a"), Tier::Sensitive);
    assert_eq!((sensitive.denial, sensitive.tier), (Some(Denial::Policy), Some(Tier::Sensitive)));
    assert_eq!(sensitive.reasons, ["sensitive by x"]);
    let critical = actor.explain(Action::Read, &path("wallet/a"));
    assert_eq!(critical.tier, Some(Tier::Critical));
    assert_eq!(critical.denial, Some(Denial::NeedsApproval));
    let denied = actor.explain(Action::Write, &path("a"));
    assert_eq!((denied.rule, denied.denial), (None, Some(Denial::NoGrant)));
    assert_eq!(denied.policy, None);
}

#[tokio::test]
async fn a_token_with_a_limit_of_uses_loses_none_by_a_denial_of_the_policy() {
    let host = host(denies("read")).await;
    let token = NewToken::new(scopes(&["secrets:read"]), soon(), "a test").max_uses(1);
    let (_, text) = host.rules.issue_token(token).await.unwrap();
    for _ in 0..3 {
        assert_eq!(refusal(&host.bearer(&text), "k").await, Some(ErrorKind::Denied));
    }
    host.access.reload_policy(denies("write"), "ops").await.unwrap();
    assert_eq!(refusal(&host.bearer(&text), "k").await, None);
    let records = host.access.audit(AuditQuery::new().event("vault.accessed")).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].details["outcome"], serde_json::to_value(Outcome::Allowed).unwrap());
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_denied_like_one_that_is() {
    let host = host(policy("deny contains \"x\" if startswith(input.path, \"closed/\")")).await;
    let bot = host.agent(BOT);
    let gone = SecretPath::parse("closed/none").unwrap();
    for error in [
        bot.get(&gone, &VersionSelector::Active).await.err(),
        bot.describe(&gone).await.err(),
        bot.versions(&gone).await.err(),
        bot.put(&gone, "v".into(), PutOptions::new()).await.err(),
        bot.annotate(&gone, &MetadataPatch::new().tag("a", "b")).await.err(),
        bot.delete(&gone).await.err(),
        bot.get_many(std::slice::from_ref(&gone)).await.remove(0).err(),
    ] {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Denied));
    }
    assert_eq!(host.store.list(None, &ListOptions::new()).await.unwrap().paths.len(), 1);
}
