//! Servers that are not what the URL means.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{IssueAttempt, KeyIssuer as _, PostgresIssuer};
use strongroom_testkit::planted;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::expect_error;
use crate::fixture::{Fixture, url};
use crate::stub::Stub;

async fn issue(issuer: &PostgresIssuer, key: &SecretValue) -> strongroom_core::Result<()> {
    issuer.issue(key, &IssueAttempt::random()).await.map(drop)
}

/// What listens on a port of this machine need not be the server.
#[tokio::test]
async fn sends_no_password_to_a_server_that_asks_for_it() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    for request in [b"R\0\0\0\x08\0\0\0\x03".as_slice(), b"R\0\0\0\x0c\0\0\0\x05salt"] {
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        let stub = Stub::serving(move |mut stream| {
            let seen = Arc::clone(&seen);
            async move {
                let mut startup =
                    vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap() - 4];
                stream.read_exact(&mut startup).await.unwrap();
                stream.write_all(request).await.unwrap();
                let mut rest = Vec::new();
                // The client may break the connection.
                let _ = stream.read_to_end(&mut rest).await;
                seen.lock().unwrap().push(rest);
            }
        })
        .await;
        let admin = url(&stub.address.to_string(), "keeper", planted!("-asked"));
        fixture.store_admin_url(&admin).await;
        let error = expect_error(ErrorKind::Config, issue(&issuer, &fixture.first()).await);
        assert!(error.to_string().contains("scram-sha-256"), "{error}");
        wait_until(|| !received.lock().unwrap().is_empty()).await;
        assert!(received.lock().unwrap().iter().all(Vec::is_empty), "the client has answered");
    }
}

#[tokio::test]
async fn a_server_that_answers_without_end_is_cut_off() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let stub = Stub::serving(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            // A notice of almost 2 GiB.
            let mut piece = b"N\x7f\xff\xff\xff".to_vec();
            while stream.write_all(&piece).await.is_ok() {
                counter.fetch_add(piece.len(), Ordering::Relaxed);
                piece = vec![b' '; 1 << 16];
            }
        }
    })
    .await;
    let admin = url(&stub.address.to_string(), "keeper", planted!("-asked"));
    fixture.store_admin_url(&admin).await;
    let error = expect_error(ErrorKind::Unavailable, issue(&issuer, &fixture.first()).await);
    assert!(!error.is_temporary(), "{error}");
    // The buffers of both sockets hold some more.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);
}

async fn wait_until(is_true: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_true() {
        assert!(Instant::now() < limit, "it does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
