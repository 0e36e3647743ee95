//! The end of a session: it leaves no token and no task behind.

use super::*;

#[tokio::test(start_paused = true)]
async fn close_waits_for_requests_and_revokes() {
    let server = Server::new(|_| {});
    let session = Arc::new(server.session());
    let request = session.token().await.unwrap().begin_request();
    let closing = tokio::spawn({
        let session = Arc::clone(&session);
        async move { session.close().await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.count("revoke"), 0, "a request is in flight");
    drop(request);
    closing.await.unwrap();
    assert_eq!(times_of(&server.events(), "revoke 1"), [3]);
    session.close().await;
    assert_eq!(session.token().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(server.events().len(), 2, "{:?}", server.events());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_close_completes() {
    let server = Server::new(|_| {});
    let session = server.session();
    let request = session.token().await.unwrap().begin_request();
    assert!(tokio::time::timeout(Duration::from_secs(1), session.close()).await.is_err());
    drop(request);
    session.close().await;
    assert_eq!(server.count("revoke 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn close_waits_ten_seconds_at_most_for_a_request() {
    let server = Server::new(|_| {});
    let session = server.session();
    let _request = session.token().await.unwrap().begin_request();
    session.close().await;
    assert_eq!(times_of(&server.events(), "revoke 1"), [10]);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_the_revocation_of_replaced_tokens() {
    let server = Server::new(|_| {});
    let session = server.session();
    let first = session.token().await.unwrap();
    let request = first.begin_request();
    session.replace(&first).await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(request);
    });
    session.close().await;
    let events = server.events();
    assert_eq!((times_of(&events, "revoke 1"), times_of(&events, "revoke 2")), (vec![4], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn a_close_during_a_login_leaves_no_token_behind() {
    let server = Server::new(|server| {
        server.renewable = false;
        server.login_takes = Duration::from_secs(5);
    });
    let session = server.session();
    session.token().await.unwrap();
    let renew_at = session.token().await.unwrap().lease.renew_at(MARGIN, 0.0).unwrap();
    // The renewer is logging in now.
    tokio::time::sleep_until(renew_at + Duration::from_secs(1)).await;
    session.close().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(server.count("login"), server.count("revoke"), "{:?}", server.events());
    assert_eq!(Arc::strong_count(&server.0), 2, "all tasks have ended");
}

#[test]
fn close_works_outside_of_the_runtime() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = Server::new(|_| {});
    let session = server.session();
    runtime.block_on(session.token()).unwrap();
    outside_of_tokio(session.close());
    assert_eq!(server.count("revoke 1"), 1);
}

/// Drives a future without any runtime.
fn outside_of_tokio<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_never_ends_does_not_block_callers_for_ever() {
    let server = Server::new(|server| server.login_takes = Duration::from_secs(3_600));
    let session = server.session();
    let pending = tokio::time::timeout(Duration::from_secs(1), session.token()).await;
    assert!(pending.is_err());
    let begin = Instant::now();
    assert_eq!(session.token().await.unwrap_err().kind(), ErrorKind::Timeout);
    session.close().await;
    assert!(begin.elapsed() <= Duration::from_secs(121));
}

#[tokio::test(start_paused = true)]
async fn revokes_a_token_that_is_issued_after_the_session_has_ended() {
    let server = Server::new(|server| server.login_takes = Duration::from_secs(1));
    let session = server.session();
    assert!(tokio::time::timeout(Duration::from_millis(10), session.token()).await.is_err());
    drop(session);
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    let events: Vec<_> = server.events().into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, ["login 1", "revoke 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_renews_nothing() {
    let server = Server::new(|_| {});
    let session = server.session();
    session.token().await.unwrap();
    drop(session);
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(server.events().len(), 1);
    assert_eq!(Arc::strong_count(&server.0), 1, "the renewer has ended");
}
