//! Many secrets at once.

use serde_json::{Value, json};
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, Result, Secret, SecretPath};
use strongroom_testkit::canary::CANARY;

use crate::fake::{
    FIRST, Fake, SECOND, documented_answer, html, ok, read, refusal, refusal_with_message,
};
use crate::support::{open, path, permanent, transient};

fn paths(count: usize) -> Vec<SecretPath> {
    (0..count).map(|i| path(&format!("key-{i:02}"))).collect()
}

async fn open_backend(fake: &Fake) -> AwsBackend {
    fake.open_without_metadata().await
}

fn assert_all_read(results: &[Result<Secret>]) {
    for result in results {
        assert_eq!(result.as_ref().unwrap().version().to_string(), FIRST);
    }
}

fn requested_names(body: &Value) -> Vec<&str> {
    body["SecretIdList"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

/// The error of one secret in the answer to a batch.
fn entry(name: &str, code: &str, message: &str) -> Value {
    json!({ "SecretId": name, "ErrorCode": code, "Message": format!("{message} {CANARY}") })
}

#[tokio::test]
async fn requests_twenty_secrets_per_batch_and_each_secret_once() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    let mut requested = paths(45);
    requested.extend(paths(10));
    let results = backend.get_many(&requested).await;
    assert_all_read(&results);
    for (result, path) in results.iter().zip(&requested) {
        assert_eq!(result.as_ref().unwrap().path(), path);
    }
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"; 3]);
    let given = fake.bodies("BatchGetSecretValue");
    let mut sizes: Vec<_> = given.iter().map(|body| requested_names(body).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20, 20]);
    let mut names: Vec<_> = given.iter().flat_map(requested_names).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 45);
}

#[tokio::test]
async fn sends_no_batch_for_fewer_than_two_secrets() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    assert!(backend.get_many(&[]).await.is_empty());
    assert!(fake.take_requests_sorted().is_empty());
    assert_all_read(&backend.get_many(&[path("key"), path("key")]).await);
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"]);
}

#[tokio::test]
async fn requests_all_pages_of_a_batch() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        let (page, next) = match body["NextToken"].as_str() {
            None => (0, Some("second+/=")),
            Some("second+/=") => (1, Some("third")),
            Some("third") => (2, None),
            Some(other) => panic!("{other} is not a token of this test"),
        };
        let names = requested_names(body);
        let values: Vec<_> =
            names.chunks(2).nth(page).unwrap().iter().map(|n| read(n, FIRST)).collect();
        ok(&json!({ "SecretValues": values, "NextToken": next }))
    });
    assert_all_read(&backend.get_many(&paths(6)).await);
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"; 3]);
    let given = fake.bodies("BatchGetSecretValue");
    assert!(given.iter().all(|body| requested_names(body).len() == 6));
}

#[tokio::test]
async fn reads_secrets_that_a_batch_omits_one_by_one() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        let values: Vec<_> =
            requested_names(body)[1..].iter().map(|name| read(name, FIRST)).collect();
        ok(&json!({ "SecretValues": values }))
    });
    assert_all_read(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue", "GetSecretValue"]);
    assert_eq!(fake.bodies("GetSecretValue")[0]["SecretId"], "key-00");
}

/// A batch names no label. Other servers of this API answer with the version that was written last.
#[tokio::test]
async fn reads_a_secret_again_whose_batch_gives_another_version_than_the_active_one() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        let names = requested_names(body);
        let mut values: Vec<_> = names.iter().map(|name| read(name, FIRST)).collect();
        values[0] = read(names[0], SECOND);
        values[0]["VersionStages"] = json!(["AWSPREVIOUS"]);
        values[1] = read(names[1], SECOND);
        values[1].as_object_mut().unwrap().remove("VersionStages");
        ok(&json!({ "SecretValues": values }))
    });
    assert_all_read(&backend.get_many(&paths(3)).await);
    let requests = ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"];
    assert_eq!(fake.take_requests_sorted(), requests);
}

#[tokio::test]
async fn reads_secrets_one_by_one_after_a_batch_without_values() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.always("BatchGetSecretValue", ok(&json!({})));
    assert_all_read(&backend.get_many(&paths(2)).await);
    assert_eq!(
        fake.take_requests_sorted(),
        ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]
    );
}

#[tokio::test]
async fn reports_the_error_of_each_path() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    let decryption = ("DecryptionFailure", "Access to KMS is not allowed");
    fake.on("BatchGetSecretValue", move |body| {
        let names = requested_names(body);
        ok(&json!({
            "SecretValues": [read(names[0], FIRST), read(names[4], FIRST)],
            "Errors": [
                entry(names[1], "AccessDeniedException", "User is not authorized"),
                entry(names[2], "ResourceNotFoundException", "Secrets Manager can't find it"),
                entry(names[3], decryption.0, decryption.1),
                entry(names[5], "InvalidRequestException", "because it was marked for deletion."),
            ],
        }))
    });
    fake.always("GetSecretValue", refusal_with_message(decryption.0, decryption.1));
    let results = backend.get_many(&paths(6)).await;
    let kinds: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect();
    let denied = Some(ErrorKind::Denied);
    let missing = Some(ErrorKind::NotFound);
    assert_eq!(kinds, [None, denied, missing, denied, None, missing]);
    for (i, path) in paths(6).iter().enumerate().filter(|(i, _)| kinds[*i].is_some()) {
        let error = permanent(Operation::Get, kinds[i].unwrap(), results[i].clone());
        assert_eq!(error.path(), Some(path));
    }
    let advice = results[1].as_ref().unwrap_err().advice();
    assert!(
        advice.contains("secretsmanager:GetSecretValue` on `…:secret:key-01-??????`"),
        "{advice}"
    );
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue", "GetSecretValue"]);
    assert_eq!(fake.bodies("GetSecretValue")[0]["SecretId"], "key-03");
}

/// For example, a failure of the service while it reads one of the secrets.
#[tokio::test]
async fn reads_a_secret_again_if_its_error_in_a_batch_does_not_concern_it() {
    for code in
        ["InternalServiceError", "ThrottlingException", "DecryptionFailure", "UnknownException"]
    {
        let fake = Fake::new();
        let backend = open_backend(&fake).await;
        fake.on("BatchGetSecretValue", move |body| {
            let names = requested_names(body);
            let values: Vec<_> = names[1..].iter().map(|name| read(name, FIRST)).collect();
            ok(&json!({ "SecretValues": values, "Errors": [entry(names[0], code, "")] }))
        });
        assert_all_read(&backend.get_many(&paths(3)).await);
        assert_eq!(
            fake.take_requests_sorted(),
            ["BatchGetSecretValue", "GetSecretValue"],
            "{code}"
        );
    }
}

#[tokio::test]
async fn stops_at_a_batch_that_always_has_a_next_page() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.always("BatchGetSecretValue", ok(&json!({ "SecretValues": [], "NextToken": "more" })));
    assert_all_read(&backend.get_many(&paths(3)).await);
    assert_eq!(fake.count("BatchGetSecretValue"), 4);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn a_denied_kms_key_does_not_disable_batches() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    for words in [
        "Access to KMS is not allowed",
        "User: arn:aws:iam::123456789012:user/app is not authorized to perform: kms:Decrypt",
    ] {
        fake.always("BatchGetSecretValue", refusal_with_message("AccessDeniedException", words));
        assert_all_read(&backend.get_many(&paths(2)).await);
        assert_eq!(
            fake.take_requests_sorted(),
            ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]
        );
    }
    fake.reset();
    assert_all_read(&backend.get_many(&paths(2)).await);
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn reads_one_by_one_after_a_denied_batch() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.always("BatchGetSecretValue", refusal("AccessDeniedException"));
    assert_all_read(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.count("BatchGetSecretValue"), 1);
    assert_eq!(fake.count("GetSecretValue"), 5);
    fake.take_requests_sorted();
    assert_all_read(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.take_requests_sorted(), ["GetSecretValue"; 5]);
}

#[tokio::test]
async fn a_transient_failure_of_a_batch_fails_its_secrets() {
    for (reply, kind, calls) in [
        (refusal("ThrottlingException"), ErrorKind::RateLimited, 3),
        (html(503), ErrorKind::Unavailable, 3),
        (html(200), ErrorKind::Unavailable, 1),
    ] {
        let fake = Fake::new();
        let backend = open_backend(&fake).await;
        fake.always("BatchGetSecretValue", reply);
        for (result, path) in backend.get_many(&paths(3)).await.into_iter().zip(paths(3)) {
            let error = transient(Operation::Get, kind, result);
            assert_eq!(error.path(), Some(&path));
        }
        assert_eq!(fake.take_requests_sorted(), vec!["BatchGetSecretValue"; calls]);
        fake.reset();
        assert_all_read(&backend.get_many(&paths(3)).await);
        assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"]);
    }
}

#[tokio::test]
async fn a_failed_batch_does_not_fail_other_batches() {
    let fake = Fake::new();
    let backend = open_backend(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        if requested_names(body).contains(&"key-20") {
            refusal("ThrottlingException")
        } else {
            documented_answer("BatchGetSecretValue", body)
        }
    });
    let results = backend.get_many(&paths(40)).await;
    assert_all_read(&results[..20]);
    for result in &results[20..] {
        transient(Operation::Get, ErrorKind::RateLimited, result.clone());
    }
}

/// AWS documents these as errors of a whole batch and of one secret.
#[tokio::test]
async fn an_error_of_one_secret_does_not_fail_the_others() {
    for reply in [
        refusal("DecryptionFailure"),
        refusal("ResourceNotFoundException"),
        refusal("InvalidRequestException"),
        refusal("InvalidParameterException"),
        refusal_with_message("InvalidRequestException", "because it was marked for deletion."),
    ] {
        let fake = Fake::new();
        let backend = open_backend(&fake).await;
        fake.always("BatchGetSecretValue", reply.clone());
        fake.on("GetSecretValue", move |body| {
            if body["SecretId"] == "key-00" {
                reply.clone()
            } else {
                documented_answer("GetSecretValue", body)
            }
        });
        let results = backend.get_many(&paths(3)).await;
        let error = results[0].as_ref().unwrap_err();
        permanent(Operation::Get, error.kind(), results[0].clone());
        assert_all_read(&results[1..]);
    }
}

#[tokio::test]
async fn fetches_the_metadata_of_each_secret_once() {
    let fake = Fake::new();
    let backend = fake.open().await;
    assert_all_read(&backend.get_many(&paths(3)).await);
    let first = ["BatchGetSecretValue", "DescribeSecret", "DescribeSecret", "DescribeSecret"];
    assert_eq!(fake.take_requests_sorted(), first);
    assert_all_read(&backend.get_many(&paths(3)).await);
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn a_path_that_maps_to_no_name_fails_alone() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.prefix = Some("production".into());
    config.read_metadata = false;
    let backend = open(config).await;
    let requested = [path(&"x".repeat(512)), path("a"), path("b")];
    let results = backend.get_many(&requested).await;
    permanent(Operation::Get, ErrorKind::InvalidInput, results[0].clone());
    assert_all_read(&results[1..]);
    assert_eq!(fake.take_requests_sorted(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn a_closed_backend_reads_no_secret() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let two = paths(2);
    assert_all_read(&backend.get_many(&two).await);
    backend.close().await.unwrap();
    fake.take_requests_sorted();
    for result in backend.get_many(&two).await {
        permanent(Operation::Get, ErrorKind::Closed, result);
    }
    assert!(fake.take_requests_sorted().is_empty());
}
