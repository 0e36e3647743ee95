//! Races: revocation against reads, closing, and futures that are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use strongroom_access::AuditMode;
use strongroom_core::{Backend as _, ErrorKind, PutOptions, Tier};

use crate::support::{
    Host, PATIENCE, in_file, in_memory, path, read, refusal, request, wait_until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_that_begins_after_a_revocation_returned_succeeds() {
    for mode in [
        AuditMode::Durable,
        AuditMode::Batched(Duration::from_millis(20)),
        AuditMode::WritesAndDenials,
    ] {
        let host = Host::open(in_memory().audit_mode(mode)).await;
        host.put("acme/a", Tier::Standard).await;
        for round in 0..10 {
            let grant = host.grant("agent:a", &["secrets:read"]).await;
            let (token, text) = host.token(&["secrets:read"]).await;
            let (is_revoked, stop) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let attempts: Arc<[AtomicUsize; 8]> = Arc::default();
            let readers: Vec<_> = (0..8)
                .map(|number| {
                    let reader =
                        if number % 2 == 0 { host.agent("acme/a/b") } else { host.bearer(&text) };
                    let (is_revoked, stop) = (Arc::clone(&is_revoked), Arc::clone(&stop));
                    let attempts = Arc::clone(&attempts);
                    tokio::spawn(async move {
                        while !stop.load(Ordering::SeqCst) {
                            let revoked_before = is_revoked.load(Ordering::SeqCst);
                            let result = read(&reader, "a").await;
                            if revoked_before {
                                assert!(result.is_err(), "a read after the revocation");
                                attempts[number].fetch_add(1, Ordering::SeqCst);
                            }
                            tokio::task::yield_now().await;
                        }
                    })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(10)).await;
            host.rules.delete_grant(grant.id).await.unwrap();
            host.rules.revoke_token(token.id).await.unwrap();
            is_revoked.store(true, Ordering::SeqCst);
            wait_until("each reader has tried after the revocation", || {
                readers.iter().any(tokio::task::JoinHandle::is_finished)
                    || attempts.iter().all(|count| count.load(Ordering::SeqCst) > 0)
            })
            .await;
            stop.store(true, Ordering::SeqCst);
            for reader in readers {
                reader.await.unwrap();
            }
            let agent = host.agent("acme/a/b");
            assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied), "round {round}");
        }
        host.verify().await;
    }
}

#[tokio::test]
async fn a_change_by_another_process_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let other = host.again(in_file(folder.path()).audit_mode(AuditMode::WritesAndDenials)).await;
    host.put("acme/a", Tier::Standard).await;
    let agent = other.agent("acme/a/b");
    let explain = || other.actor("acme/a/b").explain(strongroom_access::Action::Read, &path("a"));
    for _ in 0..5 {
        let grant = host.grant("agent:a", &["secrets:read"]).await;
        wait_until("the grant is seen", || explain().rule.is_some()).await;
        read(&agent, "a").await.unwrap();
        host.rules.delete_grant(grant.id).await.unwrap();
        wait_until("the deletion is seen", || explain().denial.is_some()).await;
        assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied));
    }
}

#[tokio::test]
async fn a_durable_read_in_another_process_is_denied_as_soon_as_the_revocation_has_returned() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    let other = host.again(in_file(folder.path())).await;
    host.put("acme/a", Tier::Standard).await;
    let agent = other.agent("acme/a/b");
    for _ in 0..20 {
        let grant = host.grant("agent:a", &["secrets:read"]).await;
        let (token, text) = host.token(&["secrets:read"]).await;
        wait_until("the token is seen", || other.access.act_with(&text, None).is_ok()).await;
        let bearer = other.bearer(&text);
        read(&agent, "a").await.unwrap();
        read(&bearer, "a").await.unwrap();
        host.rules.delete_grant(grant.id).await.unwrap();
        host.rules.revoke_token(token.id).await.unwrap();
        // Without a wait: the read is decided at the end of the log.
        assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Denied));
        assert_eq!(refusal(&bearer, "a").await, Some(ErrorKind::Unauthenticated));
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_rules_and_record_whole() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    host.put("acme/k", Tier::Critical).await;
    host.grant("agent:a", &["secrets:*"]).await;
    host.appoint(&["ann"]).await;
    let actor = host.actor("acme/a/b");
    let agent = host.guard(actor.clone());
    let pending = actor.rules().request_approval(request("k")).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    for polls in 0..6 {
        drop_after(polls, read(&agent, "a")).await;
        drop_after(polls, agent.put(&path("a"), "two".into(), PutOptions::new())).await;
        drop_after(polls, agent.get_many(&[path("a"), path("none")])).await;
        drop_after(polls, agent.describe(&path("a"))).await;
        drop_after(polls, host.access.sign_checkpoint()).await;
        drop_after(polls, actor.rules().request_approval(request("k"))).await;
    }
    // A read that was dropped may have used the approval; it is used at most once.
    for polls in 0..4 {
        drop_after(polls, read(&agent, "k")).await;
    }
    read(&agent, "k").await.ok();
    assert_eq!(refusal(&agent, "k").await, Some(ErrorKind::ApprovalRequired));
    assert_eq!(host.count("approval.used").await, 1);
    read(&agent, "a").await.unwrap();
    host.verify().await;
}

/// Polls a future so often, and drops it.
async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        let ready = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if ready.await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_value_that_is_handed_out_before_a_close_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let config = || in_file(folder.path()).audit_mode(AuditMode::Batched(Duration::from_secs(10)));
    let mut expected = 0;
    let host = Host::open(config()).await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:read"]).await;
    host.access.close().await;
    for _ in 0..10 {
        let host = host.again(config()).await;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let agent = host.agent("acme/a/b");
                tokio::spawn(async move {
                    let mut count = 0;
                    loop {
                        match read(&agent, "a").await {
                            Ok(_) => count += 1,
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                                return count;
                            }
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        tokio::join!(host.access.close(), host.access.close());
        for reader in readers {
            expected += reader.await.unwrap();
        }
    }
    let host = host.again(config()).await;
    let verified = host.access.verify_audit(Vec::new()).await.unwrap();
    // Reads whose value was lost to the close may be recorded, too.
    let recorded = verified.rows - 1;
    assert!(recorded >= expected && recorded <= expected + 40, "{recorded} {expected}");
}

#[tokio::test]
async fn closing_ends_what_waits_and_can_be_repeated() {
    let host = Host::new().await;
    host.put("acme/a", Tier::Standard).await;
    host.grant("agent:a", &["secrets:*"]).await;
    let agent = host.agent("acme/a/b");
    {
        let closing = host.access.close();
        drop_after(1, closing).await;
    }
    tokio::time::timeout(PATIENCE, host.access.close()).await.unwrap();
    assert_eq!(refusal(&agent, "a").await, Some(ErrorKind::Closed));
    let put = agent.put(&path("a"), "x".into(), PutOptions::new()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap_err().kind(), ErrorKind::Closed);
    host.access.close().await;
}
