//! Many secrets at once.

use serde_json::{Value, json};
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, Error, ErrorKind, Operation, Result, Secret, SecretPath};
use strongroom_testkit::canary::CANARY;

use crate::fake::{FIRST, Fake, html, ok, read, refusal, right, saying};
use crate::support::{lasting, open, passing, path};

fn paths(count: usize) -> Vec<SecretPath> {
    (0..count).map(|i| path(&format!("key-{i:02}"))).collect()
}

async fn opened(fake: &Fake) -> AwsBackend {
    fake.open_bare().await
}

fn all_are_there(results: &[Result<Secret>]) {
    for result in results {
        assert_eq!(result.as_ref().unwrap().version().to_string(), FIRST);
    }
}

fn asked_for(body: &Value) -> Vec<&str> {
    body["SecretIdList"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

/// An error for one secret, as a batch answers it.
fn entry(name: &str, code: &str, message: &str) -> Value {
    json!({ "SecretId": name, "ErrorCode": code, "Message": format!("{message} {CANARY}") })
}

#[tokio::test]
async fn twenty_are_asked_for_at_once_and_each_once() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    let mut wanted = paths(45);
    wanted.extend(paths(10));
    let results = backend.get_many(&wanted).await;
    all_are_there(&results);
    for (result, path) in results.iter().zip(&wanted) {
        assert_eq!(result.as_ref().unwrap().path(), path);
    }
    assert_eq!(fake.asked(), ["BatchGetSecretValue"; 3]);
    let given = fake.given("BatchGetSecretValue");
    let mut sizes: Vec<_> = given.iter().map(|body| asked_for(body).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20, 20]);
    let mut names: Vec<_> = given.iter().flat_map(asked_for).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 45);
}

#[tokio::test]
async fn none_and_one_need_no_batch() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    assert!(backend.get_many(&[]).await.is_empty());
    assert!(fake.asked().is_empty());
    all_are_there(&backend.get_many(&[path("key"), path("key")]).await);
    assert_eq!(fake.asked(), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_batch_goes_on_where_it_stopped() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        let (page, next) = match body["NextToken"].as_str() {
            None => (0, Some("second+/=")),
            Some("second+/=") => (1, Some("third")),
            Some("third") => (2, None),
            Some(other) => panic!("{other} is no token"),
        };
        let names = asked_for(body);
        let values: Vec<_> =
            names.chunks(2).nth(page).unwrap().iter().map(|n| read(n, FIRST)).collect();
        ok(&json!({ "SecretValues": values, "NextToken": next }))
    });
    all_are_there(&backend.get_many(&paths(6)).await);
    assert_eq!(fake.asked(), ["BatchGetSecretValue"; 3]);
    let given = fake.given("BatchGetSecretValue");
    assert!(given.iter().all(|body| asked_for(body).len() == 6));
}

#[tokio::test]
async fn what_a_batch_leaves_out_is_read_alone() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        let values: Vec<_> = asked_for(body)[1..].iter().map(|name| read(name, FIRST)).collect();
        ok(&json!({ "SecretValues": values }))
    });
    all_are_there(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.asked(), ["BatchGetSecretValue", "GetSecretValue"]);
    assert_eq!(fake.given("GetSecretValue")[0]["SecretId"], "key-00");
}

#[tokio::test]
async fn a_value_that_cannot_be_one_is_read_alone() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.always("BatchGetSecretValue", ok(&json!({})));
    all_are_there(&backend.get_many(&paths(2)).await);
    assert_eq!(fake.asked(), ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]);
}

#[tokio::test]
async fn each_path_has_its_own_error() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    let decryption = ("DecryptionFailure", "Access to KMS is not allowed");
    fake.on("BatchGetSecretValue", move |body| {
        let names = asked_for(body);
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
    fake.always("GetSecretValue", saying(decryption.0, decryption.1));
    let results = backend.get_many(&paths(6)).await;
    let kinds: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect();
    let denied = Some(ErrorKind::Denied);
    let missing = Some(ErrorKind::NotFound);
    assert_eq!(kinds, [None, denied, missing, denied, None, missing]);
    for (i, path) in paths(6).iter().enumerate().filter(|(i, _)| kinds[*i].is_some()) {
        let error = lasting(Operation::Get, kinds[i].unwrap(), results[i].clone());
        assert_eq!(error.path(), Some(path));
    }
    let advice = results[1].as_ref().unwrap_err().advice();
    assert!(
        advice.contains("secretsmanager:GetSecretValue` on `…:secret:key-01-??????`"),
        "{advice}"
    );
    assert_eq!(fake.asked(), ["BatchGetSecretValue", "GetSecretValue"]);
    assert_eq!(fake.given("GetSecretValue")[0]["SecretId"], "key-03");
}

/// Such as trouble of the service with one of them, in the middle of an answer.
#[tokio::test]
async fn what_a_batch_says_of_one_secret_is_its_answer_only_if_it_is_about_the_secret() {
    for code in ["InternalServiceError", "ThrottlingException", "DecryptionFailure", "Unheard"] {
        let fake = Fake::new();
        let backend = opened(&fake).await;
        fake.on("BatchGetSecretValue", move |body| {
            let names = asked_for(body);
            let values: Vec<_> = names[1..].iter().map(|name| read(name, FIRST)).collect();
            ok(&json!({ "SecretValues": values, "Errors": [entry(names[0], code, "")] }))
        });
        all_are_there(&backend.get_many(&paths(3)).await);
        assert_eq!(fake.asked(), ["BatchGetSecretValue", "GetSecretValue"], "{code}");
    }
}

#[tokio::test]
async fn a_batch_without_end_ends() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.always("BatchGetSecretValue", ok(&json!({ "SecretValues": [], "NextToken": "more" })));
    all_are_there(&backend.get_many(&paths(3)).await);
    assert_eq!(fake.count("BatchGetSecretValue"), 4);
    assert_eq!(fake.count("GetSecretValue"), 3);
}

#[tokio::test]
async fn a_key_that_may_not_be_used_says_nothing_about_batches() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    for words in [
        "Access to KMS is not allowed",
        "User: arn:aws:iam::123456789012:user/app is not authorized to perform: kms:Decrypt",
    ] {
        fake.always("BatchGetSecretValue", saying("AccessDeniedException", words));
        all_are_there(&backend.get_many(&paths(2)).await);
        assert_eq!(fake.asked(), ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]);
    }
    fake.heal();
    all_are_there(&backend.get_many(&paths(2)).await);
    assert_eq!(fake.asked(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn without_the_permission_secrets_are_read_one_by_one_from_then_on() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.always("BatchGetSecretValue", refusal("AccessDeniedException"));
    all_are_there(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.count("BatchGetSecretValue"), 1);
    assert_eq!(fake.count("GetSecretValue"), 5);
    fake.asked();
    all_are_there(&backend.get_many(&paths(5)).await);
    assert_eq!(fake.asked(), ["GetSecretValue"; 5]);
}

#[tokio::test]
async fn a_passing_failure_of_the_batch_is_that_of_its_secrets() {
    for (reply, kind, calls) in [
        (refusal("ThrottlingException"), ErrorKind::RateLimited, 3),
        (html(503), ErrorKind::Unavailable, 3),
        (html(200), ErrorKind::Unavailable, 1),
    ] {
        let fake = Fake::new();
        let backend = opened(&fake).await;
        fake.always("BatchGetSecretValue", reply);
        for (result, path) in backend.get_many(&paths(3)).await.into_iter().zip(paths(3)) {
            let error = passing(Operation::Get, kind, result);
            assert_eq!(error.path(), Some(&path));
        }
        assert_eq!(fake.asked(), vec!["BatchGetSecretValue"; calls]);
        fake.heal();
        all_are_there(&backend.get_many(&paths(3)).await);
        assert_eq!(fake.asked(), ["BatchGetSecretValue"]);
    }
}

#[tokio::test]
async fn one_batch_that_fails_takes_no_other_along() {
    let fake = Fake::new();
    let backend = opened(&fake).await;
    fake.on("BatchGetSecretValue", |body| {
        if asked_for(body).contains(&"key-20") {
            refusal("ThrottlingException")
        } else {
            right("BatchGetSecretValue", body)
        }
    });
    let results = backend.get_many(&paths(40)).await;
    all_are_there(&results[..20]);
    for result in &results[20..] {
        passing(Operation::Get, ErrorKind::RateLimited, result.clone());
    }
}

/// AWS documents these as errors of the batch as well, and of one secret.
#[tokio::test]
async fn what_is_wrong_with_one_secret_is_not_wrong_with_all() {
    for reply in [
        refusal("DecryptionFailure"),
        refusal("ResourceNotFoundException"),
        refusal("InvalidRequestException"),
        refusal("InvalidParameterException"),
        saying("InvalidRequestException", "because it was marked for deletion."),
    ] {
        let fake = Fake::new();
        let backend = opened(&fake).await;
        fake.always("BatchGetSecretValue", reply.clone());
        fake.on("GetSecretValue", move |body| {
            if body["SecretId"] == "key-00" { reply.clone() } else { right("GetSecretValue", body) }
        });
        let results = backend.get_many(&paths(3)).await;
        let error = results[0].as_ref().unwrap_err();
        lasting(Operation::Get, error.kind(), results[0].clone());
        all_are_there(&results[1..]);
    }
}

#[tokio::test]
async fn metadata_is_looked_up_once_for_each() {
    let fake = Fake::new();
    let backend = fake.open().await;
    all_are_there(&backend.get_many(&paths(3)).await);
    let first = ["BatchGetSecretValue", "DescribeSecret", "DescribeSecret", "DescribeSecret"];
    assert_eq!(fake.asked(), first);
    all_are_there(&backend.get_many(&paths(3)).await);
    assert_eq!(fake.asked(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn a_path_without_a_name_fails_alone() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.prefix = Some("production".into());
    config.read_metadata = false;
    let backend = open(config).await;
    let wanted = [path(&"x".repeat(512)), path("a"), path("b")];
    let results = backend.get_many(&wanted).await;
    lasting(Operation::Get, ErrorKind::InvalidInput, results[0].clone());
    all_are_there(&results[1..]);
    assert_eq!(fake.asked(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn a_closed_backend_reads_none() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let two = paths(2);
    all_are_there(&backend.get_many(&two).await);
    backend.close().await.unwrap();
    fake.asked();
    for result in backend.get_many(&two).await {
        lasting(Operation::Get, ErrorKind::Closed, result);
    }
    assert!(fake.asked().is_empty());
}
