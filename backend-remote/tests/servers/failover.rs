//! Which of several servers a call ends at, when some of them fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_backend_remote::RemoteBackend;
use strongroom_core::{
    Backend as _, Capability, Error, ErrorKind, Operation, PutOptions, Result, Version,
};
use strongroom_testkit::errors::{expect_error, expect_permanent, expect_transient};
use strongroom_testkit::proxy::Proxy;
use strongroom_testkit::stub::{Reply, Stub};

use crate::support::{
    NOWHERE, config, on_secrets, open, path, problem, read, replying, serve, server,
};

async fn write(backend: &RemoteBackend) -> Result<Version> {
    backend.put(&path("a"), "new".into(), PutOptions::new()).await
}

fn html(status: u16) -> Reply {
    Reply::new(status, "<html>bad gateway</html>").header("Content-Type", "text/html")
}

#[tokio::test]
async fn a_refused_connection_leads_to_the_next_server() {
    let second = server("second");
    let backend = open(&[NOWHERE, &second.url()]).await;
    assert_eq!(read(&backend, "a").await.unwrap(), "second");
    assert_eq!(write(&backend).await.unwrap(), 2.into());
    assert_eq!(backend.health().await.unwrap().details["server"], second.url());
}

#[tokio::test]
async fn the_server_that_answered_last_is_asked_first() {
    let (first, second) = (server("first"), server("second"));
    let proxy = Proxy::new(first.address());
    let address = format!("http://{}", proxy.address());
    let backend = open(&[&address, &second.url()]).await;
    assert_eq!(read(&backend, "a").await.unwrap(), "first");
    proxy.refuse();
    proxy.reset_existing();
    assert_eq!(read(&backend, "a").await.unwrap(), "second");
    proxy.pass();
    let connections = proxy.connections();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(read(&backend, "a").await.unwrap(), "second");
    assert_eq!(proxy.connections(), connections, "the call went to the server that had failed");
}

#[tokio::test]
async fn a_write_goes_on_only_from_a_server_that_has_not_begun() {
    let closing = || problem(&Error::backend_closed());
    let unable = || problem(&Error::new(ErrorKind::Unavailable, "wait"));
    for (reply, goes_on) in [
        (closing as fn() -> Reply, true),
        (unable, false),
        (|| html(502), false),
        (|| html(503), false),
    ] {
        let first = replying(move |_| reply());
        let second = server("second");
        let backend = open(&[&first.url(), &second.url()]).await;
        let written = write(&backend).await;
        assert_eq!(written.is_ok(), goes_on, "{written:?}");
        assert_eq!(second.count(on_secrets), usize::from(goes_on));
        let backend = open(&[&first.url(), &second.url()]).await;
        assert_eq!(read(&backend, "a").await.unwrap(), "second");
    }
}

#[tokio::test]
async fn an_answer_about_a_secret_is_final() {
    for kind in
        [ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::Internal, ErrorKind::RateLimited]
    {
        let first = replying(move |_| problem(&Error::new(kind, "do this")));
        let second = server("second");
        let backend = open(&[&first.url(), &second.url()]).await;
        expect_error(Operation::Get, kind, read(&backend, "a").await);
        assert_eq!(second.count(on_secrets), 0, "{kind}");
    }
}

#[tokio::test]
async fn a_lost_answer_leads_a_read_to_the_next_server_and_ends_a_write() {
    for reply in
        [|| Reply::reset(), || Reply::silence(), || Reply::new(200, "{\"path\":").truncated()]
    {
        let first = replying(move |_| reply());
        let second = server("second");
        let addresses = [first.url(), second.url()];
        let backend = || async {
            let mut config = config(&[&addresses[0], &addresses[1]]);
            config.timeout = Duration::from_secs(2);
            RemoteBackend::open(config).await.unwrap()
        };
        assert_eq!(read(&backend().await, "a").await.unwrap(), "second");
        let written = write(&backend().await).await.unwrap_err();
        assert!(written.advice().starts_with("read the secret to see"), "{written}");
        assert!(written.is_temporary(), "{written}");
        assert_eq!(second.count(|request| request.method == "PUT"), 0, "{written}");
        assert_eq!(first.count(|request| request.method == "PUT"), 1, "{written}");
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_an_answer_leads_a_read_to_the_next_server() {
    let slow = replying(|request| serve(request, "first").in_pieces(8, Duration::from_millis(100)));
    let proxy = Proxy::new(slow.address());
    let second = server("second");
    let address = format!("http://{}", proxy.address());
    let backend = Arc::new(open(&[&address, &second.url()]).await);
    let reader = Arc::clone(&backend);
    let reading = tokio::spawn(async move { read(&reader, "a").await });
    let begin = Instant::now();
    while slow.count(on_secrets) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no request has arrived");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.refuse();
    proxy.reset_existing();
    assert_eq!(reading.await.unwrap().unwrap(), "second");
}

#[tokio::test]
async fn the_error_of_a_call_that_no_server_answers_is_temporary() {
    let mut config = config(&[NOWHERE, "http://127.0.0.2:1"]);
    config.timeout = Duration::from_secs(2);
    let backend = RemoteBackend::open(config).await.unwrap();
    // It was opened without a server.
    let info = backend.info();
    assert!(Capability::ALL.iter().all(|capability| info.capabilities.has(*capability)));
    assert!(!info.distinct_paths);
    let error = expect_transient(Operation::Get, ErrorKind::Unavailable, read(&backend, "a").await);
    assert!(error.to_string().contains("the last of 2 servers"), "{error}");
    expect_transient(Operation::Put, ErrorKind::Unavailable, write(&backend).await);
}

#[tokio::test]
async fn a_silent_server_ends_a_call_at_its_time_limit() {
    let stub = replying(|_| Reply::silence());
    let mut config = config(&[&stub.url()]);
    config.timeout = Duration::from_secs(1);
    let backend = RemoteBackend::open(config).await.unwrap();
    let begin = Instant::now();
    let error = expect_transient(Operation::Get, ErrorKind::Timeout, read(&backend, "a").await);
    assert!(error.advice().contains("`RemoteConfig::timeout`"), "{error}");
    assert!((1..20).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn opening_needs_no_server_but_one_that_accepts_the_caller() {
    for (kind, opens) in [
        (ErrorKind::Unavailable, true),
        (ErrorKind::RateLimited, true),
        (ErrorKind::Unauthenticated, false),
        (ErrorKind::Denied, false),
    ] {
        let stub = Stub::new(move |_| problem(&Error::new(kind, "do this")));
        let opened = RemoteBackend::open(config(&[&stub.url()])).await;
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        if !opens {
            expect_permanent(Operation::Open, kind, opened);
        }
    }
}

#[tokio::test]
async fn a_close_ends_reads_and_waits_for_writes() {
    let stub = replying(|request| match request.method.as_str() {
        "GET" => Reply::silence(),
        _ => serve(request, "").in_pieces(1, Duration::from_millis(20)),
    });
    let backend = Arc::new(open(&[&stub.url()]).await);
    let (reader, writer) = (Arc::clone(&backend), Arc::clone(&backend));
    let reading = tokio::spawn(async move { read(&reader, "a").await });
    let writing = tokio::spawn(async move { write(&writer).await });
    let begin = Instant::now();
    while stub.count(on_secrets) < 2 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no requests have arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    backend.close().await.unwrap();
    assert_eq!(writing.await.unwrap().unwrap(), 2.into());
    let read_end = reading.await.unwrap();
    expect_permanent(Operation::Get, ErrorKind::Closed, read_end);
    expect_permanent(Operation::Put, ErrorKind::Closed, write(&backend).await);
    expect_permanent(Operation::Health, ErrorKind::Closed, backend.health().await);
    backend.close().await.unwrap();
}
