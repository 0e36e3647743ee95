//! A put to a deleted secret restores it first, and deletes it again if the write fails.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_core::{ErrorKind, Operation, PutOptions, Version};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, SECOND, described, described_with, documented_answer, html, ok, put, refusal,
    refusal_with_message,
};
use crate::support::{expect_failure, permanent, transient};

const MOVE_LABEL: &str = "UpdateSecretVersionStage";

/// The state of a secret in the stub: whether it is deleted, and its active version.
#[derive(Clone)]
struct SecretState(Arc<Mutex<(bool, String)>>);

impl SecretState {
    fn deleted(fake: &Fake) -> Self {
        let state = Self(Arc::new(Mutex::new((true, FIRST.to_owned()))));
        let shown = state.clone();
        fake.on("DescribeSecret", move |_| ok(&shown.description()));
        let restored = state.clone();
        fake.on("RestoreSecret", move |body| {
            restored.0.lock().unwrap().0 = false;
            documented_answer("RestoreSecret", body)
        });
        let deleted = state.clone();
        fake.on("DeleteSecret", move |body| {
            deleted.delete();
            documented_answer("DeleteSecret", body)
        });
        state
    }

    fn description(&self) -> Value {
        let (is_deleted, active) = &*self.0.lock().unwrap();
        let deleted = json!({ "DeletedDate": 1.7e9 });
        if *is_deleted { described_with("key", active, &deleted) } else { described("key", active) }
    }

    fn delete(&self) {
        self.0.lock().unwrap().0 = true;
    }

    /// Another client writes.
    fn write(&self, id: &str) {
        id.clone_into(&mut self.0.lock().unwrap().1);
    }

    fn get(&self) -> (bool, String) {
        self.0.lock().unwrap().clone()
    }
}

fn access_denied() -> Reply {
    refusal("AccessDeniedException")
}

fn if_unchanged() -> PutOptions {
    PutOptions::new().must_be_version(Version::new(FIRST))
}

#[tokio::test]
async fn a_put_restores_a_deleted_secret() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    put(&backend, PutOptions::new()).await.unwrap();
    assert!(!state.get().0);
    assert_eq!(fake.take_requests(), ["DescribeSecret", "RestoreSecret", "PutSecretValue"]);
}

#[tokio::test]
async fn deletes_the_secret_again_if_nothing_was_written() {
    for (reply, kind) in [
        (access_denied(), ErrorKind::Denied),
        (refusal("ThrottlingException"), ErrorKind::RateLimited),
        (html(503), ErrorKind::Unavailable),
        (refusal("InvalidRequestException"), ErrorKind::InvalidInput),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        let state = SecretState::deleted(&fake);
        fake.always("PutSecretValue", reply);
        expect_failure(Operation::Put, kind, put(&backend, PutOptions::new()).await);
        assert_eq!(state.get(), (true, FIRST.to_owned()));
        assert_eq!(
            fake.bodies("DeleteSecret"),
            [json!({
                "SecretId": "key", "RecoveryWindowInDays": 30,
            })]
        );
        let mut asked = fake.take_requests();
        asked.dedup();
        let expected =
            ["DescribeSecret", "RestoreSecret", "PutSecretValue", "DescribeSecret", "DeleteSecret"];
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn does_not_delete_a_secret_that_is_deleted_already() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on("PutSecretValue", move |_| {
        now.delete();
        access_denied()
    });
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(state.get().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn keeps_a_concurrent_write_of_another_client() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on("PutSecretValue", move |_| {
        now.write(SECOND);
        access_denied()
    });
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(state.get(), (false, SECOND.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

/// The stub writes the value and drops the connection.
#[tokio::test]
async fn keeps_a_write_whose_answer_was_lost() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on("PutSecretValue", move |body| {
        now.write(body["ClientRequestToken"].as_str().unwrap());
        Reply::reset()
    });
    transient(Operation::Put, ErrorKind::Unavailable, put(&backend, PutOptions::new()).await);
    assert!(!state.get().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn keeps_a_secret_that_cannot_be_described_again() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    fake.first("DescribeSecret", [ok(&state.description()), access_denied()]);
    fake.always("PutSecretValue", access_denied());
    let error =
        permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(error.advice().contains("secretsmanager:PutSecretValue"), "{error}");
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_failed_condition_keeps_the_winning_write() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on(MOVE_LABEL, move |body| {
        if body["VersionStage"] == "AWSCURRENT" {
            now.write(SECOND);
            return refusal_with_message(
                "InvalidParameterException",
                "is attached to another version",
            );
        }
        documented_answer(MOVE_LABEL, body)
    });
    permanent(Operation::Put, ErrorKind::Conflict, put(&backend, if_unchanged()).await);
    assert_eq!(state.get(), (false, SECOND.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn deletes_the_secret_again_if_the_condition_could_not_be_checked() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    fake.on(MOVE_LABEL, |body| {
        if body["VersionStage"] == "AWSCURRENT" {
            access_denied()
        } else {
            documented_answer(MOVE_LABEL, body)
        }
    });
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, if_unchanged()).await);
    assert_eq!(state.get(), (true, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 1);
}

#[tokio::test]
async fn does_not_delete_again_what_another_client_deleted_during_a_conditional_put() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on(MOVE_LABEL, move |body| {
        if body["VersionStage"] == "AWSCURRENT" {
            now.delete();
            return access_denied();
        }
        documented_answer(MOVE_LABEL, body)
    });
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, if_unchanged()).await);
    assert!(state.get().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_condition_that_fails_early_restores_nothing() {
    for options in [
        PutOptions::new().must_be_version(Version::new(SECOND)),
        PutOptions::new().must_not_exist(),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        SecretState::deleted(&fake);
        permanent(Operation::Put, ErrorKind::Conflict, put(&backend, options).await);
        assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
    }
}

/// Another client restores the secret between the description and the write.
#[tokio::test]
async fn keeps_a_secret_that_another_client_restored() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let now = state.clone();
    fake.on("RestoreSecret", move |_| {
        now.0.lock().unwrap().0 = false;
        refusal("InvalidRequestException")
    });
    fake.always("PutSecretValue", access_denied());
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(state.get(), (false, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

/// The first write reaches a part of the service that does not yet know of the restore.
#[tokio::test]
async fn deletes_the_secret_again_after_a_second_attempt() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let state = SecretState::deleted(&fake);
    let lagging = refusal_with_message("InvalidRequestException", "it was marked for deletion");
    fake.first("PutSecretValue", [lagging, access_denied()]);
    permanent(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(state.get(), (true, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 1);
}
