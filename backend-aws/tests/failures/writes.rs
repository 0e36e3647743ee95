//! Writing, as AWS documents it and LocalStack does not do it, and what a failure leaves behind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::poll_immediate;
use serde_json::{Value, json};
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions, SecretValue};
use strongroom_testkit::canary;
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, described, html, key, ok, put, read, refusal, right, saying, value,
};
use crate::support::{failed, lasting, open, passing};

const BEING_DELETED: &str = "You can't create this secret because a secret with this name is \
                             already scheduled for deletion.";

fn missing(fake: &Fake) {
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
}

/// The ids of the versions that were to be written.
fn tokens(bodies: &[Value]) -> Vec<&str> {
    bodies.iter().map(|body| body["ClientRequestToken"].as_str().unwrap()).collect()
}

async fn tagged(backend: &AwsBackend) -> strongroom_core::Result<strongroom_core::Version> {
    put(backend, PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"))).await
}

#[tokio::test]
async fn a_secret_whose_creation_times_out_is_created_once() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.attempt_timeout = Duration::from_secs(1);
    let backend = open(config).await;
    missing(&fake);
    // AWS has created it, and recognises the second request by its token.
    fake.first("CreateSecret", [Reply::silence()]);
    let version = put(&backend, PutOptions::new().must_not_exist()).await.unwrap();
    let given = fake.given("CreateSecret");
    assert_eq!(tokens(&given), vec![version.to_string(); 2]);
    assert_eq!(given[0], given[1]);
    assert!((32..=64).contains(&version.to_string().len()));
}

#[tokio::test]
async fn every_attempt_at_a_version_has_its_token() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("PutSecretValue", [html(500), Reply::reset()]);
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let other = put(&backend, PutOptions::new()).await.unwrap();
    assert_ne!(version, other);
    let (id, other) = (version.to_string(), other.to_string());
    let given = fake.given("PutSecretValue");
    assert_eq!(tokens(&given), [&id, &id, &id, &other]);
    assert!(given.iter().all(|body| body["VersionStages"] == json!(["AWSCURRENT"])));
}

#[tokio::test]
async fn a_name_that_is_not_free_yet_is_asked_for_again() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.first("CreateSecret", vec![saying("InvalidRequestException", BEING_DELETED); 2]);
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let given = fake.given("CreateSecret");
    assert_eq!(given.len(), 3);
    assert_eq!(tokens(&given)[2], version.to_string());
}

#[tokio::test]
async fn a_secret_that_somebody_else_creates_meanwhile_gets_a_version() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [refusal("ResourceNotFoundException")]);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    put(&backend, PutOptions::new()).await.unwrap();
    let looks = ["DescribeSecret"; 3];
    assert_eq!(fake.asked(), [&["CreateSecret"], &looks[..], &["PutSecretValue"]].concat());

    fake.first("DescribeSecret", [refusal("ResourceNotFoundException")]);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    lasting(Operation::Put, ErrorKind::Conflict, result);
    assert_eq!(fake.asked(), ["CreateSecret", "DescribeSecret", "DescribeSecret"]);
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_counts() {
    for options in [PutOptions::new(), PutOptions::new().must_not_exist()] {
        let fake = Fake::new();
        let backend = fake.open().await;
        missing(&fake);
        let created = Arc::new(Mutex::new(None::<String>));
        let shown = Arc::clone(&created);
        fake.on("DescribeSecret", move |_| match &*shown.lock().unwrap() {
            Some(id) => ok(&described("key", id)),
            None => refusal("ResourceNotFoundException"),
        });
        fake.on("CreateSecret", move |body| {
            let id = body["ClientRequestToken"].as_str().unwrap().to_owned();
            match created.lock().unwrap().replace(id) {
                None => Reply::reset(),
                Some(_) => refusal("ResourceExistsException"),
            }
        });
        let version = put(&backend, options).await.unwrap();
        assert_eq!(tokens(&fake.given("CreateSecret")), vec![version.to_string(); 2]);
        let asked = ["CreateSecret", "CreateSecret", "DescribeSecret", "DescribeSecret"];
        assert_eq!(fake.asked(), asked);
    }
}

/// A name that another process creates and destroys all the time.
#[tokio::test]
async fn a_creation_that_is_always_overtaken_is_given_up() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    passing(Operation::Put, ErrorKind::Unavailable, put(&backend, PutOptions::new()).await);
    assert!(fake.count("CreateSecret") <= 20);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    lasting(Operation::Put, ErrorKind::Conflict, result);
}

#[tokio::test]
async fn a_name_that_is_never_freed_is_no_conflict() {
    for options in [PutOptions::new(), PutOptions::new().must_not_exist()] {
        let fake = Fake::new();
        let mut config = fake.config();
        config.timeout = Duration::from_secs(1);
        let allowed = config.timeout;
        let backend = open(config).await;
        missing(&fake);
        fake.always("CreateSecret", saying("InvalidRequestException", BEING_DELETED));
        let begin = Instant::now();
        let result = put(&backend, options).await;
        let error = passing(Operation::Put, ErrorKind::Unavailable, result);
        assert!(error.to_string().contains("still removing the secret"), "{error}");
        let took = begin.elapsed();
        assert!(took >= allowed && took < 4 * allowed, "{took:?}");
        assert!((2..=6).contains(&fake.count("CreateSecret")));
    }
}

#[tokio::test]
async fn metadata_that_cannot_follow_its_value_is_told_apart() {
    for (action, reply, kind) in [
        ("TagResource", refusal("AccessDeniedException"), ErrorKind::Denied),
        ("TagResource", refusal("ThrottlingException"), ErrorKind::RateLimited),
        ("TagResource", html(503).header("Retry-After", "9"), ErrorKind::Unavailable),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always(action, reply);
        let error = lasting(Operation::Put, kind, tagged(&backend).await);
        let given = fake.given("PutSecretValue");
        let written = tokens(&given)[0];
        assert!(error.to_string().contains(&format!("version {written} was written")), "{error}");
        assert!(error.advice().contains("`annotate`"), "{error}");
        if kind == ErrorKind::Denied {
            assert!(error.to_string().contains("secretsmanager:TagResource"), "{error}");
        }
        assert_eq!(given.len(), 1);
    }
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_before_the_call() {
    let fake = Fake::new();
    let backend = fake.open().await;
    for value in [SecretValue::from("x".repeat(65_537)), SecretValue::binary(vec![7; 65_537])] {
        let result = backend.put(&key(), value, PutOptions::new()).await;
        let error = lasting(Operation::Put, ErrorKind::InvalidInput, result);
        assert!(error.to_string().contains("65537 bytes, more than 65536"), "{error}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_failed_write_loses_no_value() {
    let fake = Fake::new();
    let backend = fake.open().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    for (reply, kind) in [
        (html(503), ErrorKind::Unavailable),
        (refusal("LimitExceededException"), ErrorKind::RateLimited),
        (Reply::reset(), ErrorKind::Unavailable),
    ] {
        fake.always("PutSecretValue", reply);
        let error = failed(Operation::Put, kind, put(&backend, PutOptions::new()).await);
        assert_eq!(error.is_temporary(), kind == ErrorKind::Unavailable, "{error}");
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}

#[tokio::test]
async fn a_write_goes_on_without_its_caller() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let options = PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"));
    let path = key();
    let mut write = Box::pin(backend.put(&path, canary::text("put"), options));
    assert!(poll_immediate(&mut write).await.is_none());
    drop(write);
    fake.comes("TagResource", 1).await;
}

#[tokio::test]
async fn closing_waits_for_a_write_under_way() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let late = Duration::from_millis(300);
    fake.on("PutSecretValue", move |body| right("PutSecretValue", body).in_pieces(1_000, late));
    let begin = Instant::now();
    let write = put(&backend, PutOptions::new());
    let close = async {
        fake.comes("PutSecretValue", 1).await;
        backend.close().await.unwrap();
        assert!(begin.elapsed() >= late);
    };
    let (written, ()) = tokio::join!(write, close);
    written.unwrap();
}

/// Also for one whose task has not begun.
#[tokio::test]
async fn closing_waits_for_a_write_that_was_just_asked_for() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut write = Box::pin(put(&backend, PutOptions::new()));
    assert!(poll_immediate(&mut write).await.is_none());
    backend.close().await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 1);
    write.await.unwrap();
}

#[tokio::test]
async fn a_closed_backend_asks_for_nothing() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    backend.close().await.unwrap();
    backend.close().await.unwrap();
    fake.asked();
    for operation in [
        Operation::Get,
        Operation::Put,
        Operation::Delete,
        Operation::Destroy,
        Operation::Undelete,
        Operation::List,
        Operation::Versions,
        Operation::Rollback,
        Operation::Describe,
        Operation::Annotate,
        Operation::Rotate,
        Operation::Health,
    ] {
        lasting(operation, ErrorKind::Closed, crate::fake::ask(&backend, operation).await);
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_binary_value_goes_and_comes_as_bytes() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let value = SecretValue::binary(vec![0, 255, 7]);
    backend.put(&key(), value.clone(), PutOptions::new()).await.unwrap();
    let given = fake.given("PutSecretValue");
    assert_eq!(
        (&given[0]["SecretBinary"], &given[0]["SecretString"]),
        (&json!("AP8H"), &Value::Null)
    );
    let mut answer = read("key", FIRST);
    answer.as_object_mut().unwrap().remove("SecretString");
    answer["SecretBinary"] = json!("AP8H");
    fake.always("GetSecretValue", ok(&answer));
    let secret = crate::fake::secret(&backend).await.unwrap();
    assert!(secret.value().constant_time_eq(&value));
}
