//! Floods and sizes: what costs much, and what must not cost anything.

use std::collections::BTreeSet;

use strongroom_access::{AuditMode, NewGrant, Subject};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, Tier};

use crate::support::{Host, PATIENCE, in_file, path, read, refusal, scopes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_denials_is_recorded_and_stops_no_other_principal() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:good", &["secrets:read"]).await;
    let floods: Vec<_> = (0..100)
        .map(|number| {
            let bad = host.agent(&format!("acme/bad/r{number}"));
            tokio::spawn(async move {
                for _ in 0..100 {
                    assert_eq!(refusal(&bad, "a").await, Some(ErrorKind::Denied));
                }
            })
        })
        .collect();
    let good = host.agent("acme/good/x");
    for _ in 0..20 {
        tokio::time::timeout(PATIENCE, read(&good, "a")).await.unwrap().unwrap();
    }
    for flood in floods {
        flood.await.unwrap();
    }
    let verified = host.access.verify_audit(Vec::new()).await.unwrap();
    assert_eq!(verified.rows, 10_000 + 20 + 1);
}

#[tokio::test]
async fn a_batch_of_denials_is_one_write_and_a_long_list_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let paths: Vec<_> = (0..3000).map(|number| path(&format!("p/{number}"))).collect();
    for at in &paths {
        host.put(&format!("acme/{at}"), Tier::Standard).await;
    }
    let bad = host.agent("acme/bad/x");
    let results = bad.get_many(&paths).await;
    assert!(results.iter().all(Result::is_err));
    // The rows of one append have one time.
    let mut times = BTreeSet::new();
    for after in [0, 1000, 2000] {
        times.extend(host.records(after).await.iter().map(|record| record.time));
    }
    assert_eq!(times.len(), 1);
    assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap().rows, 3000);
    host.grant("agent:good", &["secrets:list"]).await;
    let listed = host.agent("acme/good/x").list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(listed.paths.len(), 3000);
    assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap().rows, 3002);
}

#[tokio::test]
async fn texts_that_forge_records_are_refused() {
    let host = Host::new().await;
    let actor = host.actor("acme/a/b");
    let long = "x".repeat(1_000_000);
    for text in [
        "",
        "a\nb",
        "a\r",
        "\u{1b}[2J",
        "a\0",
        "a\u{85}",
        "\u{202e}a",
        "a\u{2028}b",
        "\u{feff}",
        long.as_str(),
    ] {
        assert_eq!(actor.clone().because(text).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            actor.clone().with_request_id(text).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(host.access.administrator(text, actor.tenant()).is_err());
        assert!(host.access.prune_audit(std::time::SystemTime::now(), text).await.is_err());
        let grant =
            NewGrant::new(Subject::parse("agent:a").unwrap(), scopes(&["secrets:read"]), text);
        assert_eq!(
            host.rules.create_grant(grant).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    let many: Vec<_> = (0..65).map(|_| scopes(&["secrets:read"]).remove(0)).collect();
    for count in [Vec::new(), many] {
        let grant = NewGrant::new(Subject::parse("agent:a").unwrap(), count, "a test");
        assert_eq!(
            host.rules.create_grant(grant).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    let longest = "y".repeat(512 - "acme/".len());
    let agent = host.guard(actor.because(&"é".repeat(256)).unwrap());
    assert_eq!(refusal(&agent, &longest).await, Some(ErrorKind::Denied));
    assert_eq!(refusal(&agent, &format!("{longest}y")).await, Some(ErrorKind::InvalidInput));
    host.verify().await;
}

#[tokio::test]
async fn a_list_of_8000_grants_is_complete_and_in_order() {
    let host =
        Host::open(crate::support::in_memory().audit_mode(AuditMode::WritesAndDenials)).await;
    let mut waiting = Vec::new();
    for number in 0..8000 {
        let subject =
            Subject::parse(&format!("spiffe://hexr.cloud/agent/acme/a{number}/*")).unwrap();
        let grant = NewGrant::new(subject, scopes(&["secrets:read:a"]), "a test");
        let rules = host.rules.clone();
        waiting.push(tokio::spawn(async move { rules.create_grant(grant).await.map(drop) }));
    }
    for grant in waiting {
        grant.await.unwrap().unwrap();
    }
    host.grant("agent:reader", &["grants:read"]).await;
    let grants = host.actor("acme/reader/x").rules().grants();
    assert_eq!(grants.len(), 8001);
    assert!(grants.is_sorted_by_key(|grant| (grant.created_at, grant.id)));
}
