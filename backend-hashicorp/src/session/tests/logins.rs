//! Concurrent logins, failed logins, and replacement of rejected tokens.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hundred_first_readers_share_one_login() {
    let server = Server::new(|server| server.login_takes = Duration::from_millis(50));
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.token().await.unwrap().generation })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    assert_eq!(server.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn readers_share_a_failed_login_and_do_not_repeat_it_immediately() {
    let server = Server::new(|server| {
        server.login_takes = Duration::from_millis(50);
        server.login_errors = Mutex::new([ErrorKind::Unauthenticated].into());
    });
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.token().await.unwrap_err().kind() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), ErrorKind::Unauthenticated);
    }
    assert!(session.token().await.is_err());
    assert_eq!(server.count("failed login"), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_readers_share_a_failed_login_even_after_its_retry_delay() {
    let server = Server::new(|server| {
        server.login_takes = Duration::from_secs(1);
        server.login_errors = Mutex::new([ErrorKind::Unauthenticated].into());
    });
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move {
                let kind = session.token().await.map_or_else(|error| Some(error.kind()), |_| None);
                // A busy process: the next reader runs later than the retry delay is long.
                tokio::time::advance(Duration::from_millis(300)).await;
                kind
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), Some(ErrorKind::Unauthenticated));
    }
    assert_eq!((server.count("failed login"), server.count("login")), (1, 0));
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_reader_does_not_lose_the_issued_token() {
    let server = Server::new(|server| server.login_takes = Duration::from_millis(50));
    let session = server.session();
    let cancelled = tokio::time::timeout(Duration::from_millis(10), session.token());
    assert!(cancelled.await.is_err());
    assert_eq!(session.token().await.unwrap().generation, 1);
    assert_eq!(server.count("login"), 1);
}

#[tokio::test(start_paused = true)]
async fn readers_with_a_rejected_token_share_one_login() {
    let server = Server::new(|server| server.login_takes = Duration::from_millis(50));
    let session = Arc::new(server.session());
    let rejected = session.token().await.unwrap();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (session, rejected) = (Arc::clone(&session), Arc::clone(&rejected));
            tokio::spawn(async move {
                match session.token_after(rejected.generation) {
                    Some(newer) => newer.generation,
                    None => session.replace(&rejected).await.unwrap().generation,
                }
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 2);
    }
    assert_eq!(server.count("login"), 2);
}

#[tokio::test(start_paused = true)]
async fn new_tokens_that_the_server_rejects_cause_few_logins() {
    let server = Server::new(|_| {});
    let session = server.session();
    // The server rejects every token, a thousand times a second for a minute.
    for _ in 0..60_000 {
        let token = session.token().await.unwrap();
        if let Err(error) = session.replace(&token).await {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.is_temporary());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let logins = server.count("login");
    assert!((2..=3).contains(&logins), "{logins} logins");
    // An accepted token ends the throttling.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let token = session.replace(&session.token().await.unwrap()).await.unwrap();
    token.mark_accepted();
    for _ in 0..2 {
        let token = session.token().await.unwrap();
        session.replace(&token).await.unwrap().mark_accepted();
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_bound_to_other_addresses_are_few_and_are_revoked_once_the_address_is_right() {
    let server = Server::new(|server| server.rejects_tokens = AtomicBool::new(true));
    let session = server.session();
    // A read each second for two hours.
    for _ in 0..7_200 {
        let token = session.token().await.unwrap();
        let _ = session.replace(&token).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let logins = server.count("login");
    assert!(logins <= 18, "{logins} logins");
    assert_eq!(server.count("revoke"), 0);
    server.0.rejects_tokens.store(false, Ordering::SeqCst);
    session.mark_accepted(&session.token().await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (revoked, alive) = (server.count("revoke"), 1);
    let expired = server
        .events()
        .iter()
        .filter(|(at, event)| event.starts_with("login") && at + 3_600 < 7_200)
        .count();
    assert!(
        revoked + expired + alive >= logins && revoked > 0,
        "{revoked} of {logins}, {expired} expired"
    );
}

#[tokio::test(start_paused = true)]
async fn replaces_each_token_that_is_used_up() {
    let server = Server::new(|_| {});
    let session = server.session();
    for generation in 2..200 {
        let token = session.token().await.unwrap();
        token.mark_accepted();
        let other = session.replace(&token).await.unwrap();
        assert_eq!(other.generation, generation);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.count("revoke"), 198);
    // The session and one renewer.
    assert_eq!(Arc::strong_count(&session.0), 2, "the renewers of old tokens have ended");
}
