//! Tokens that a server does not accept, and those in files.

use std::fs;
use std::sync::{Arc, Mutex};

use strongroom_backend_remote::{BearerToken, RemoteBackend, RemoteConfig};
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, PutOptions};
use strongroom_testkit::errors::expect_permanent;
use strongroom_testkit::stub::Stub;

use crate::support::{config, path, problem, read, serve};

#[tokio::test]
async fn a_new_token_in_its_file_is_used_at_once_when_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "one\n").unwrap();
    let accepted = Arc::new(Mutex::new("Bearer one"));
    let now = Arc::clone(&accepted);
    let stub = Stub::new(move |request| {
        if request.header("authorization") == Some(*now.lock().unwrap()) {
            return serve(request, "kept");
        }
        problem(&Error::new(ErrorKind::Unauthenticated, "log in").because("no such token"))
    });
    let config = RemoteConfig::new(stub.url(), BearerToken::File(file.clone()));
    let backend = RemoteBackend::open(config).await.unwrap();
    assert_eq!(read(&backend, "a").await.unwrap(), "kept");
    fs::write(&file, "two\n").unwrap();
    *accepted.lock().unwrap() = "Bearer two";
    backend.put(&path("a"), "new".into(), PutOptions::new()).await.unwrap();
    assert_eq!(read(&backend, "a").await.unwrap(), "kept");
    *accepted.lock().unwrap() = "Bearer three";
    let refused = read(&backend, "a").await;
    let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, refused);
    assert!(error.advice().contains("the file of `BearerToken::File`"), "{error}");
    assert!(error.cause().contains("no such token"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_refused_says_which_setting_to_change() {
    let stub = Stub::new(|_| problem(&Error::new(ErrorKind::Unauthenticated, "log in")));
    let opened = RemoteBackend::open(config(&[&stub.url()])).await;
    let error = expect_permanent(Operation::Open, ErrorKind::Unauthenticated, opened);
    assert!(error.advice().contains("`BearerToken::Text`"), "{error}");
}
