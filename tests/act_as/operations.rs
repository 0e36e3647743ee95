//! Every operation on a secret, for each state of the rights of the principal.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use strongroom::access::{AuditQuery, AuditRecord, NewGrant, NewToken, Scope, Subject, TenantName};
use strongroom::{
    ErrorKind, ListOptions, MetadataPatch, PutOptions, ReadOptions, Result, SecretsManager, Tier,
    VersionSelector,
};

use crate::Host;

type Run = fn(SecretsManager) -> BoxFuture<'static, Result<()>>;

/// What an operation does to a secret, by which it is authorized.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A right, and an approval if the secret is critical.
    Approval,
    /// A right alone.
    Right,
}

const PATH: &str = "db/main";

macro_rules! operation {
    ($name:literal, $needs:ident, $ends:expr, |$secrets:ident| $call:expr) => {
        (
            $name,
            Needs::$needs,
            $ends,
            (|$secrets| async move { $call.await.map(|_| ()) }.boxed()) as Run,
        )
    };
}

/// Each operation, with the error that it has on this store if everything is allowed.
fn operations() -> Vec<(&'static str, Needs, Option<ErrorKind>, Run)> {
    vec![
        operation!("get", Approval, None, |it| it.get(PATH)),
        operation!("get_with", Approval, None, |it| it
            .get_with(PATH, ReadOptions::new().timeout(Duration::from_secs(60)))),
        operation!("refresh", Approval, None, |it| it.refresh(PATH)),
        operation!("get_version", Approval, None, |it| it.get_version(PATH, "1")),
        operation!("get_many", Approval, None, |it| async { it.get_many([PATH]).await.remove(0) }),
        operation!("get_many_with", Approval, None, |it| async {
            let options = ReadOptions::new().version(VersionSelector::Exact("1".into()));
            it.get_many_with([PATH], options).await.remove(0)
        }),
        operation!("get_or", Approval, None, |it| it.get_or(PATH, "default")),
        operation!("exists", Approval, None, |it| it.exists(PATH)),
        operation!("get_field", Approval, None, |it| it.get_field(PATH, "user")),
        operation!("get_json", Approval, None, |it| it.get_json::<serde_json::Value>(PATH)),
        operation!("watch", Approval, None, |it| it.watch(PATH)),
        operation!("namespace", Approval, None, |it| async {
            it.namespace("db")?.get("main").await
        }),
        operation!("versions", Right, None, |it| it.versions(PATH)),
        operation!("describe", Right, None, |it| it.describe(PATH)),
        operation!("list", Right, None, |it| it.list("").all()),
        operation!("list_with", Right, None, |it| it.list_with("db", ListOptions::new()).all()),
        operation!("put", Approval, None, |it| it.put(PATH, "new")),
        operation!("put_with", Approval, None, |it| it.put_with(PATH, "new", PutOptions::new())),
        operation!("put_json", Approval, None, |it| it.put_json(PATH, &1)),
        operation!("annotate", Approval, None, |it| it
            .annotate(PATH, MetadataPatch::new().tag("a", "b"))),
        operation!("annotate_lower", Approval, None, |it| it
            .annotate(PATH, MetadataPatch::new().tier(Tier::Standard))),
        operation!("rollback", Approval, None, |it| it.rollback(PATH, "1")),
        operation!("delete", Approval, None, |it| it.delete(PATH)),
        operation!("destroy", Approval, None, |it| it.destroy(PATH)),
        operation!("undelete", Approval, None, |it| it.undelete(PATH)),
    ]
}

const EVERYTHING: &str = "secrets:*";

async fn host(tier: Tier) -> Host {
    let host = Host::new().await;
    let options = PutOptions::new().metadata(MetadataPatch::new().tier(tier));
    host.secrets.put_with("acme/db/main", r#"{"user": "ann"}"#, options).await.unwrap();
    host
}

/// The records of operations on secrets, without those of the set-up.
async fn records(host: &Host) -> Vec<AuditRecord> {
    let query = AuditQuery::new().event("vault.accessed").event("vault.denied");
    host.access.audit(query).await.unwrap()
}

async fn assert_denied(host: &Host, agent: &SecretsManager, kind: ErrorKind, case: &str) {
    for (name, _, _, run) in operations() {
        let before = records(host).await.len();
        let error = run(agent.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {name}: {error}");
        let new = records(host).await.split_off(before);
        assert_eq!(new.len(), 1, "{case}: {name}: {new:?}");
        assert_eq!(new[0].event, "vault.denied", "{case}: {name}");
    }
    let secret = host.secrets.get("acme/db/main").await.unwrap();
    assert_eq!((secret.version().number(), secret.metadata().tags.len()), (Some(1), 0), "{case}");
}

#[tokio::test]
async fn what_is_granted_succeeds_and_leaves_one_record() {
    for (name, _, ends, run) in operations() {
        let host = host(Tier::Sensitive).await;
        host.grant("agent:x", EVERYTHING).await;
        let result = run(host.agent("acme/x/y")).await;
        assert_eq!(result.as_ref().err().map(strongroom::Error::kind), ends, "{name}: {result:?}");
        let records = records(&host).await;
        assert_eq!(records.len(), 1, "{name}: {records:?}");
        assert_eq!(records[0].event, "vault.accessed", "{name}");
        assert_eq!(records[0].principal, "spiffe://hexr.cloud/agent/acme/x/y", "{name}");
        host.access.verify_audit(Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_whether_or_not_it_exists() {
    let host = host(Tier::Sensitive).await;
    host.grant("agent:other", EVERYTHING).await;
    assert_denied(&host, &host.agent("acme/x/y"), ErrorKind::Denied, "not granted").await;
    // The same text for a secret that is not there.
    for (name, _, _, run) in operations() {
        let there = run(host.agent("acme/x/y")).await.unwrap_err().to_string();
        host.secrets.destroy("acme/db/main").await.unwrap();
        let not_there = run(host.agent("acme/x/y")).await.unwrap_err().to_string();
        assert_eq!(there, not_there, "{name}");
        host.secrets.put("acme/db/main", "value").await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_that_has_expired_gives_nothing() {
    let host = host(Tier::Sensitive).await;
    let end = SystemTime::now() + Duration::from_secs(5);
    let grant = NewGrant::new(
        Subject::parse("agent:x").unwrap(),
        [Scope::parse(EVERYTHING).unwrap()],
        "a test",
    );
    host.rules.create_grant(grant.until(end)).await.unwrap();
    let agent = host.agent("acme/x/y");
    while SystemTime::now() <= end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_denied(&host, &agent, ErrorKind::Denied, "expired").await;
}

#[tokio::test]
async fn a_token_that_was_revoked_gives_nothing() {
    let host = host(Tier::Sensitive).await;
    let end = SystemTime::now() + Duration::from_secs(3600);
    let new = NewToken::new([Scope::parse(EVERYTHING).unwrap()], end, "a test");
    let (token, text): (_, SecretString) = host.rules.issue_token(new).await.unwrap();
    let actor = host.access.act_with(&text, None).unwrap();
    let agent = host.secrets.for_actor(actor).unwrap();
    agent.get(PATH).await.unwrap();
    host.rules.revoke_token(token.id).await.unwrap();
    assert_denied(&host, &agent, ErrorKind::Unauthenticated, "revoked").await;
}

#[tokio::test]
async fn a_critical_secret_needs_an_approval_for_all_but_its_metadata() {
    for (name, needs, ends, run) in operations() {
        let host = host(Tier::Critical).await;
        host.grant("agent:x", EVERYTHING).await;
        let result = run(host.agent("acme/x/y")).await;
        let kind = result.as_ref().err().map(strongroom::Error::kind);
        // What `undelete` finds deleted has no tier; here it is not deleted.
        let expected =
            if needs == Needs::Approval { Some(ErrorKind::ApprovalRequired) } else { ends };
        assert_eq!(kind, expected, "{name}: {result:?}");
        assert_eq!(records(&host).await.len(), 1, "{name}");
        let secret = host.secrets.get("acme/db/main").await.unwrap();
        assert_eq!(secret.version().number(), Some(1), "{name}");
    }
}

#[cfg(feature = "access-rego")]
#[tokio::test]
async fn what_the_policy_denies_is_denied_by_every_operation() {
    use strongroom::access::Policy;
    for tier in [Tier::Standard, Tier::Sensitive] {
        for (name, _, ends, run) in operations() {
            let host = host(tier).await;
            host.grant("agent:x", EVERYTHING).await;
            host.grant("agent:z", EVERYTHING).await;
            let text = "package strongroom.access\ndeny contains \"closed\" if input.principal.agent == \"x\"";
            host.access.reload_policy(Policy::from_text("p", text), "ops").await.unwrap();
            let result = run(host.agent("acme/x/y")).await;
            let kind = result.as_ref().err().map(strongroom::Error::kind);
            // A list is decided path by path, and shows none.
            let is_list = name.starts_with("list");
            let expected = if is_list { ends } else { Some(ErrorKind::Denied) };
            assert_eq!(kind, expected, "{name}: {result:?}");
            let records = records(&host).await;
            assert_eq!(records.len(), 1, "{name}: {records:?}");
            if !is_list {
                assert_eq!(records[0].details["reasons"][0], "closed", "{name}");
            }
            let secret = host.secrets.get("acme/db/main").await.unwrap();
            assert_eq!((secret.version().number(), secret.metadata().tags.len()), (Some(1), 0));
            let other = run(host.agent("acme/z/y")).await;
            assert_eq!(other.err().map(|error| error.kind()), ends, "{name}");
        }
    }
}

#[tokio::test]
async fn another_tenant_changes_and_learns_nothing() {
    for (name, _, _, run) in operations() {
        let host = host(Tier::Sensitive).await;
        let other = TenantName::parse("other").unwrap();
        let grant = NewGrant::new(
            Subject::parse("agent:x").unwrap(),
            [Scope::parse(EVERYTHING).unwrap()],
            "a test",
        );
        let rules = host.access.administrator("host", &other).unwrap();
        rules.create_grant(grant).await.unwrap();
        let with = run(host.agent("other/x/y")).await.map_err(|error| error.to_string());
        let secret = host.secrets.get("acme/db/main").await.unwrap();
        assert_eq!(
            (secret.version().number(), secret.metadata().tags.len()),
            (Some(1), 0),
            "{name}"
        );
        for path in host.secrets.list("other").all().await.unwrap() {
            host.secrets.destroy(path.as_str()).await.unwrap();
        }
        host.secrets.destroy("acme/db/main").await.unwrap();
        let without = run(host.agent("other/x/y")).await.map_err(|error| error.to_string());
        assert_eq!(with, without, "{name}");
    }
}
