//! Writes that follow the documentation of AWS where LocalStack does not, and failures of writes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::poll_immediate;
use serde_json::{Value, json};
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, ErrorKind, MetadataPatch, Operation, PutOptions, SecretValue};
use strongroom_testkit::canary;
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, described, documented_answer, html, key, ok, put, read, refusal,
    refusal_with_message, value,
};
use crate::support::{expect_failure, open, permanent, transient};

const BEING_DELETED: &str = "You can't create this secret because a secret with this name is \
                             already scheduled for deletion.";

fn missing(fake: &Fake) {
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
}

/// The version ids in requests to write.
fn tokens(bodies: &[Value]) -> Vec<&str> {
    bodies.iter().map(|body| body["ClientRequestToken"].as_str().unwrap()).collect()
}

async fn put_with_tag(backend: &AwsBackend) -> strongroom_core::Result<strongroom_core::Version> {
    put(backend, PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"))).await
}

#[tokio::test]
async fn a_retried_creation_creates_one_version() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.attempt_timeout = Duration::from_secs(3);
    let backend = open(config).await;
    missing(&fake);
    // AWS has created the secret, and recognises the second request by its token.
    fake.first("CreateSecret", [Reply::silence()]);
    let version = put(&backend, PutOptions::new().must_not_exist()).await.unwrap();
    let given = fake.bodies("CreateSecret");
    assert_eq!(tokens(&given), vec![version.to_string(); 2]);
    assert_eq!(given[0], given[1]);
    assert!((32..=64).contains(&version.to_string().len()));
}

#[tokio::test]
async fn every_attempt_at_a_write_carries_the_same_token() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("PutSecretValue", [html(500), Reply::reset()]);
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let other = put(&backend, PutOptions::new()).await.unwrap();
    assert_ne!(version, other);
    let (id, other) = (version.to_string(), other.to_string());
    let given = fake.bodies("PutSecretValue");
    assert_eq!(tokens(&given), [&id, &id, &id, &other]);
    assert!(given.iter().all(|body| body["VersionStages"] == json!(["AWSCURRENT"])));
}

#[tokio::test]
async fn retries_a_creation_until_the_name_is_released() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.first(
        "CreateSecret",
        vec![refusal_with_message("InvalidRequestException", BEING_DELETED); 2],
    );
    let version = put(&backend, PutOptions::new()).await.unwrap();
    let given = fake.bodies("CreateSecret");
    assert_eq!(given.len(), 3);
    assert_eq!(tokens(&given)[2], version.to_string());
}

#[tokio::test]
async fn adds_a_version_if_another_client_wins_the_creation() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.first("DescribeSecret", [refusal("ResourceNotFoundException")]);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    put(&backend, PutOptions::new()).await.unwrap();
    let describes = ["DescribeSecret"; 3];
    assert_eq!(
        fake.take_requests_sorted(),
        [&["CreateSecret"], &describes[..], &["PutSecretValue"]].concat()
    );

    fake.first("DescribeSecret", [refusal("ResourceNotFoundException")]);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    permanent(Operation::Put, ErrorKind::Conflict, result);
    assert_eq!(fake.take_requests_sorted(), ["CreateSecret", "DescribeSecret", "DescribeSecret"]);
}

#[tokio::test]
async fn recognises_a_creation_whose_answer_was_lost() {
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
        assert_eq!(tokens(&fake.bodies("CreateSecret")), vec![version.to_string(); 2]);
        let asked = ["CreateSecret", "CreateSecret", "DescribeSecret", "DescribeSecret"];
        assert_eq!(fake.take_requests_sorted(), asked);
    }
}

/// Another client creates and destroys the secret in a loop.
#[tokio::test]
async fn gives_up_on_a_creation_that_always_races() {
    let fake = Fake::new();
    let backend = fake.open().await;
    missing(&fake);
    fake.always("CreateSecret", refusal("ResourceExistsException"));
    transient(Operation::Put, ErrorKind::Unavailable, put(&backend, PutOptions::new()).await);
    assert!(fake.count("CreateSecret") <= 20);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    permanent(Operation::Put, ErrorKind::Conflict, result);
}

#[tokio::test]
async fn a_name_that_is_not_released_is_no_conflict() {
    for options in [PutOptions::new(), PutOptions::new().must_not_exist()] {
        let fake = Fake::new();
        let mut config = fake.config();
        config.timeout = Duration::from_secs(3);
        let allowed = config.timeout;
        let backend = open(config).await;
        missing(&fake);
        fake.always("CreateSecret", refusal_with_message("InvalidRequestException", BEING_DELETED));
        let begin = Instant::now();
        let result = put(&backend, options).await;
        let error = transient(Operation::Put, ErrorKind::Unavailable, result);
        assert!(error.to_string().contains("still removing the destroyed secret"), "{error}");
        let took = begin.elapsed();
        assert!(took >= allowed && took < allowed + Duration::from_secs(30), "{took:?}");
        // A request every 250 ms, and more on no machine.
        assert!((2..=14).contains(&fake.count("CreateSecret")));
    }
}

#[tokio::test]
async fn reports_a_value_written_without_its_metadata() {
    for (action, reply, kind) in [
        ("TagResource", refusal("AccessDeniedException"), ErrorKind::Denied),
        ("TagResource", refusal("ThrottlingException"), ErrorKind::RateLimited),
        ("TagResource", html(503).header("Retry-After", "9"), ErrorKind::Unavailable),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        fake.always(action, reply);
        let error = permanent(Operation::Put, kind, put_with_tag(&backend).await);
        let given = fake.bodies("PutSecretValue");
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
async fn a_put_does_not_fail_because_it_cannot_say_who_writes() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("TagResource", refusal("AccessDeniedException"));
    let by_ann = PutOptions::new().metadata(MetadataPatch::new().updated_by("ann"));
    put(&backend, by_ann).await.unwrap();
    assert_eq!((fake.count("PutSecretValue"), fake.count("TagResource")), (1, 1));
}

#[tokio::test]
async fn rejects_a_value_over_the_limit_before_a_request() {
    let fake = Fake::new();
    let backend = fake.open().await;
    for value in [SecretValue::from("x".repeat(65_537)), SecretValue::binary(vec![7; 65_537])] {
        let result = backend.put(&key(), value, PutOptions::new()).await;
        let error = permanent(Operation::Put, ErrorKind::InvalidInput, result);
        assert!(error.to_string().contains("65537 bytes, more than 65536"), "{error}");
    }
    assert!(fake.take_requests_sorted().is_empty());
}

#[tokio::test]
async fn a_failed_write_keeps_the_old_value() {
    let fake = Fake::new();
    let backend = fake.open().await;
    assert_eq!(value(&backend).await.unwrap(), FIRST);
    for (reply, kind) in [
        (html(503), ErrorKind::Unavailable),
        (refusal("LimitExceededException"), ErrorKind::RateLimited),
        (Reply::reset(), ErrorKind::Unavailable),
    ] {
        fake.always("PutSecretValue", reply);
        let error = expect_failure(Operation::Put, kind, put(&backend, PutOptions::new()).await);
        assert_eq!(error.is_temporary(), kind == ErrorKind::Unavailable, "{error}");
        assert_eq!(value(&backend).await.unwrap(), FIRST);
    }
}

#[tokio::test]
async fn a_write_completes_after_its_caller_is_dropped() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let options = PutOptions::new().metadata(MetadataPatch::new().tag("team", "payments"));
    let path = key();
    let mut write = Box::pin(backend.put(&path, canary::text("put"), options));
    assert!(poll_immediate(&mut write).await.is_none());
    drop(write);
    fake.wait_for("TagResource", 1).await;
}

#[tokio::test]
async fn close_waits_for_a_write_in_progress() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let late = Duration::from_millis(300);
    fake.on("PutSecretValue", move |body| {
        documented_answer("PutSecretValue", body).in_pieces(1_000, late)
    });
    let begin = Instant::now();
    let write = put(&backend, PutOptions::new());
    let close = async {
        fake.wait_for("PutSecretValue", 1).await;
        backend.close().await.unwrap();
        assert!(begin.elapsed() >= late);
    };
    let (written, ()) = tokio::join!(write, close);
    written.unwrap();
}

#[tokio::test]
async fn close_waits_for_a_write_whose_task_has_not_started() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut write = Box::pin(put(&backend, PutOptions::new()));
    assert!(poll_immediate(&mut write).await.is_none());
    backend.close().await.unwrap();
    assert_eq!(fake.count("PutSecretValue"), 1);
    write.await.unwrap();
}

#[tokio::test]
async fn a_closed_backend_sends_nothing() {
    let fake = Fake::new();
    let backend = fake.open().await;
    value(&backend).await.unwrap();
    backend.close().await.unwrap();
    backend.close().await.unwrap();
    fake.take_requests_sorted();
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
        permanent(
            operation,
            ErrorKind::Closed,
            crate::fake::run_operation(&backend, operation).await,
        );
    }
    assert!(fake.take_requests_sorted().is_empty());
}

#[tokio::test]
async fn sends_and_receives_binary_values_as_bytes() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let value = SecretValue::binary(vec![0, 255, 7]);
    backend.put(&key(), value.clone(), PutOptions::new()).await.unwrap();
    let given = fake.bodies("PutSecretValue");
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
