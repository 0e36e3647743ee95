//! Renewal and replacement of tokens: no reader fails, and no login is wasted.

use super::*;

#[tokio::test(start_paused = true)]
async fn renews_sixty_seconds_before_expiry() {
    let server = Server::new(|_| {});
    let session = server.session();
    read_for(&session, 3 * 3_600).await;
    let renewals = times_of(&server.events(), "renew 1");
    assert_eq!(renewals.len(), 3, "{:?}", server.events());
    let mut granted = 0;
    for renewal in renewals {
        let remaining = granted + 3_600 - renewal;
        assert!((60..=67).contains(&remaining), "{remaining} s remained");
        granted = renewal;
    }
    assert_eq!(server.count("login"), 1);
    assert_eq!(session.status().renewals, 3);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_ttl_counts_from_when_the_request_was_sent() {
    let server = Server::new(|server| server.renewal_takes = Duration::from_secs(2));
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let sent = times_of(&server.events(), "renew 1");
    let lease = session.token().await.unwrap().lease;
    let second = |time: Instant| (time - server.0.begin).as_secs();
    assert_eq!(lease.expires_at().map(second), Some(sent[0] + 3_600));
    assert_eq!(lease.renew_at(MARGIN, 0.0).map(second), Some(sent[0] + 3_540));
    assert_eq!((server.count("login"), sent.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn renews_the_token_of_an_idle_service() {
    let server = Server::new(|_| {});
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(server.count("login"), 1);
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_expired_during_a_suspension_is_replaced_before_it_is_sent() {
    let server = Server::new(|_| {});
    let session = server.session();
    session.token().await.unwrap();
    clock::suspend(Duration::from_secs(3_599));
    assert_eq!(session.token().await.unwrap().generation, 1);
    clock::suspend(Duration::from_secs(1));
    assert_eq!(session.token().await.unwrap().generation, 2);
    assert_eq!(server.count("login"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_renewal_became_due_during_a_suspension_is_renewed_at_its_next_use() {
    let server = Server::new(|_| {});
    let session = server.session();
    session.token().await.unwrap();
    clock::suspend(Duration::from_secs(3_550));
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((server.count("login"), server.count("renew 1")), (1, 1));
    // The next renewal is due an hour after the last one.
    read_for(&session, 3_500).await;
    assert_eq!((server.count("login"), server.count("renew 1")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn replaces_a_token_near_its_maximum_ttl_and_then_revokes_it() {
    let server = Server::new(|server| server.max_ttl = 2 * 3_600);
    let session = server.session();
    read_for(&session, 4 * 3_600).await;
    let events = server.events();
    let (second, revoked) = (times_of(&events, "login 2"), times_of(&events, "revoke 1"));
    assert!(second[0] < 2 * 3_600, "{events:?}");
    assert!(revoked[0] >= second[0] && revoked[0] <= second[0] + 1, "{events:?}");
    assert_eq!(server.count("failed"), 0);
}

#[tokio::test(start_paused = true)]
async fn replaces_a_token_that_cannot_be_renewed_before_expiry() {
    let server = Server::new(|server| server.renewable = false);
    let session = server.session();
    read_for(&session, 3_600).await;
    let events = server.events();
    let second = times_of(&events, "login 2")[0];
    assert!((3_600 - 67..=3_600 - 60).contains(&second), "{events:?}");
    assert_eq!(server.count("renew"), 0);
}

#[tokio::test(start_paused = true)]
async fn logs_in_immediately_after_a_permanent_renewal_error() {
    let server = Server::new(|server| server.renew_errors = Mutex::new([permanent()].into()));
    let session = server.session();
    read_for(&session, 3_600).await;
    let events = server.events();
    assert_eq!(times_of(&events, "failed renewal 1"), times_of(&events, "login 2"), "{events:?}");
    assert_eq!(server.count("revoke 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_margin_causes_no_login() {
    let server = Server::new(|server| {
        server.renew_errors = Mutex::new((0..6).map(|_| transient()).collect());
    });
    let session = server.session();
    read_for(&session, 3_600).await;
    assert_eq!((server.count("login"), server.count("failed renewal")), (1, 6));
    assert_eq!(session.status().renewals, 1);
    assert!(session.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_token_ends_with_a_login_after_few_attempts() {
    let server = Server::new(|server| {
        server.renew_errors = Mutex::new((0..10_000).map(|_| transient()).collect());
    });
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let attempts = server.count("failed renewal");
    assert!((6..=24).contains(&attempts), "{attempts} attempts in the last minute");
    assert_eq!(server.count("login"), 1, "no caller asked for a token");
    assert_eq!(session.token().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn readers_get_the_old_token_while_the_login_fails() {
    let server = Server::new(|server| {
        server.renew_errors = Mutex::new([permanent()].into());
        server.login_errors = Mutex::default();
    });
    let session = server.session();
    session.token().await.unwrap();
    server.0.login_errors.lock().unwrap().extend([ErrorKind::Unavailable; 5]);
    read_for(&session, 3_600).await;
    assert_eq!((server.count("failed login"), server.count("login 2")), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_given_token_is_neither_replaced_nor_revoked() {
    let server = Server::new(|server| {
        server.replaceable = false;
        server.max_ttl = 2 * 3_600;
    });
    let session = server.session();
    session.token().await.unwrap();
    read_for(&session, 2 * 3_600 - 1).await;
    session.close().await;
    assert_eq!((server.count("login"), server.count("revoke")), (1, 0));
    assert!(server.count("renew") > 2);
}
