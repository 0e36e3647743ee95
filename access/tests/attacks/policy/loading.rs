//! Loading, replacing and trying a policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_access::{Access, Action, AuditMode, AuditQuery, AuditRecord, Policy};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, PutOptions, Tier};

use super::{BOT, denies, host, policy};
use crate::support::{Host, in_file, in_memory, path, refusal};

#[tokio::test]
async fn a_policy_that_is_wrong_is_refused_with_everything_that_is_wrong() {
    let broken = policy("deny contains \"x\" if nosuch(input.path)");
    let error = Access::open(in_memory().policy(broken.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.problems()[0].starts_with("`AccessConfig::policy`: test.rego:2:"), "{error}");
    let host = host(denies("write")).await;
    let two = Policy::from_text("a", "package a\nx := ").text("b", "package b\ny := ");
    for wrong in [broken, two, Policy::default(), Policy::from_file("/none/policy.rego")] {
        let error = host.access.reload_policy(wrong.clone(), "ops").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let tried = host.access.try_policy(wrong, AuditQuery::new()).await.unwrap_err();
        assert_eq!(tried.problems(), error.problems());
    }
    assert_eq!(host.count("policy.loaded").await, 1);
    let write = host.agent(BOT).put(&path("k"), "v".into(), PutOptions::new()).await;
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_file_is_read_when_it_is_loaded_and_its_digest_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.rego");
    std::fs::write(&file, "package strongroom.access\ndeny contains \"x\" if false\n").unwrap();
    let config = in_file(folder.path()).policy(Policy::from_file(&file));
    let host = Host::open(config.clone()).await;
    std::fs::write(&file, "package strongroom.access\ndeny contains \"closed\"\n").unwrap();
    host.put("acme/k", Tier::Standard).await;
    host.grant("agent:bot", &["secrets:read"]).await;
    assert_eq!(refusal(&host.agent(BOT), "k").await, None);
    host.access.reload_policy(Policy::from_file(&file), "ops").await.unwrap();
    assert_eq!(refusal(&host.agent(BOT), "k").await, Some(ErrorKind::Denied));
    host.access.close().await;
    let again = host.again(config).await;
    assert_eq!(refusal(&again.agent(BOT), "k").await, Some(ErrorKind::Denied));
    let loaded = again.access.audit(AuditQuery::new().event("policy.loaded")).await.unwrap();
    let by: Vec<_> = loaded.iter().map(|record| record.principal.as_str()).collect();
    assert_eq!(by, ["host", "administrator:ops", "host"]);
    assert_ne!(loaded[0].details["sha256"], loaded[1].details["sha256"]);
    assert_eq!(loaded[1].details["sha256"], loaded[2].details["sha256"]);
    let explained = again.actor(BOT).explain(Action::Read, &path("k"));
    assert_eq!(explained.policy.as_deref(), loaded[2].details["sha256"].as_str());
    assert_eq!(explained.reasons, ["closed"]);
    assert_eq!(loaded[0].details["modules"][0], "policy.rego");
    again.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reload_holds_when_it_returns_also_for_calls_under_way() {
    for mode in [AuditMode::Durable, AuditMode::WritesAndDenials] {
        let config = in_memory().audit_mode(mode).policy(policy("deny contains \"x\" if false"));
        let host = Host::open(config).await;
        host.put("acme/k", Tier::Standard).await;
        host.grant("agent:bot", &["secrets:*"]).await;
        let closed = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (bot, closed) = (host.agent(BOT), Arc::clone(&closed));
                tokio::spawn(async move {
                    let (mut reads, mut after) = (0_u32, 0);
                    while after < 20 {
                        let is_closed = closed.load(Ordering::SeqCst);
                        let kind = refusal(&bot, "k").await;
                        let listed = bot.list(None, &ListOptions::new()).await.unwrap().paths;
                        if is_closed {
                            assert_eq!((kind, listed.len()), (Some(ErrorKind::Denied), 0));
                            after += 1;
                        }
                        reads += 1;
                        tokio::task::yield_now().await;
                    }
                    reads
                })
            })
            .collect();
        for round in 0..20 {
            let rules = format!("deny contains \"x\" if input.path == \"none-{round}\"");
            host.access.reload_policy(policy(&rules), "ops").await.unwrap();
        }
        host.access.reload_policy(policy("deny contains \"closed\""), "ops").await.unwrap();
        closed.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.await.unwrap() >= 20);
        }
        assert_eq!(host.count("policy.loaded").await, 22);
        host.verify().await;
    }
}

#[tokio::test]
async fn a_trial_tells_what_would_change_and_changes_nothing() {
    let host =
        host(policy("deny contains \"closed\" if startswith(input.path, \"closed/\")")).await;
    for at in ["closed/a", "open/a", "open/b"] {
        host.put(&format!("acme/{at}"), Tier::Standard).await;
    }
    let bot = host.guard(host.actor(BOT).because("ticket 7").unwrap());
    for (at, expected) in
        [("closed/a", Some(ErrorKind::Denied)), ("open/a", None), ("open/b", None)]
    {
        assert_eq!(refusal(&bot, at).await, expected);
    }
    bot.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(refusal(&host.agent("acme/other/x"), "open/a").await, Some(ErrorKind::Denied));
    let records = host.records(0).await;
    let seq = |at: &str| {
        let of = |record: &&AuditRecord| record.path.as_deref() == Some(at);
        records.iter().find(of).map(|record| record.seq).unwrap()
    };
    let new = policy(
        "deny contains \"b\" if { input.path == \"open/b\"; input.principal.agent == \"bot\"
        input.reason == \"ticket 7\"; input.tier == \"standard\"; input.action == \"read\" }",
    );
    let trial = host.access.try_policy(new, AuditQuery::new()).await.unwrap();
    assert_eq!(trial.checked, 3);
    let denies: Vec<_> = trial.denies.iter().map(|it| (it.seq, it.reasons.clone())).collect();
    assert_eq!(denies, [(seq("open/b"), vec!["b".to_owned()])]);
    assert_eq!(trial.allows, [seq("closed/a")]);
    assert_eq!(trial.last, records.last().map(|record| record.seq));
    let same = host.records(0).await;
    assert_eq!(same.len(), records.len());
    assert_eq!(refusal(&bot, "open/b").await, None);
    let page = AuditQuery::new().event("vault.accessed").at_most(1);
    let trial = host.access.try_policy(policy("deny contains \"all\""), page).await.unwrap();
    assert_eq!((trial.checked, trial.denies.len()), (1, 1));
}

#[tokio::test]
async fn the_policy_of_the_guide_decides_as_it_reads() {
    let guide = include_str!("../../../../docs/src/access/policy.md");
    let rego = guide.split("```").find_map(|block| block.strip_prefix("rego\n")).unwrap();
    let host = host(Policy::from_text("guide.rego", rego)).await;
    let researcher = host.actor("acme/bot/researcher");
    let explained = researcher.explain(Action::Read, &path("production/a"));
    assert_eq!(explained.reasons, ["researchers read no production secrets"]);
    assert_eq!(researcher.explain(Action::Read, &path("staging/a")).denial, None);
    let describe = |actor: &strongroom_access::Actor| {
        actor.explain_at(Action::Describe, &path("a"), Tier::Critical).reasons
    };
    assert_eq!(describe(&researcher), ["critical secrets need a ticket"]);
    assert!(describe(&researcher.because("OPS-7: rotate").unwrap()).is_empty());
}
