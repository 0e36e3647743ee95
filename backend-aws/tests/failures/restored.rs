//! Writes to a deleted secret, which is restored first: what becomes of it if the write fails.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_core::{ErrorKind, Operation, PutOptions, Version};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, SECOND, described, described_with, html, ok, put, refusal, right, saying,
};
use crate::support::{failed, lasting, passing};

const MOVE: &str = "UpdateSecretVersionStage";

/// A secret whose state the tests know.
#[derive(Clone)]
struct Kept(Arc<Mutex<(bool, String)>>);

impl Kept {
    /// One that is deleted.
    fn of(fake: &Fake) -> Self {
        let kept = Self(Arc::new(Mutex::new((true, FIRST.to_owned()))));
        let shown = kept.clone();
        fake.on("DescribeSecret", move |_| ok(&shown.description()));
        let restored = kept.clone();
        fake.on("RestoreSecret", move |body| {
            restored.0.lock().unwrap().0 = false;
            right("RestoreSecret", body)
        });
        let deleted = kept.clone();
        fake.on("DeleteSecret", move |body| {
            deleted.delete();
            right("DeleteSecret", body)
        });
        kept
    }

    fn description(&self) -> Value {
        let (is_deleted, active) = &*self.0.lock().unwrap();
        let deleted = json!({ "DeletedDate": 1.7e9 });
        if *is_deleted { described_with("key", active, &deleted) } else { described("key", active) }
    }

    fn delete(&self) {
        self.0.lock().unwrap().0 = true;
    }

    /// Somebody writes.
    fn write(&self, id: &str) {
        id.clone_into(&mut self.0.lock().unwrap().1);
    }

    fn state(&self) -> (bool, String) {
        self.0.lock().unwrap().clone()
    }
}

fn denied() -> Reply {
    refusal("AccessDeniedException")
}

fn unchanged() -> PutOptions {
    PutOptions::new().must_be_version(Version::new(FIRST))
}

#[tokio::test]
async fn a_write_brings_it_back() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    put(&backend, PutOptions::new()).await.unwrap();
    assert!(!kept.state().0);
    assert_eq!(fake.asked_in_turn(), ["DescribeSecret", "RestoreSecret", "PutSecretValue"]);
}

#[tokio::test]
async fn it_is_deleted_again_if_nothing_was_written() {
    for (reply, kind) in [
        (denied(), ErrorKind::Denied),
        (refusal("ThrottlingException"), ErrorKind::RateLimited),
        (html(503), ErrorKind::Unavailable),
        (refusal("InvalidRequestException"), ErrorKind::InvalidInput),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        let kept = Kept::of(&fake);
        fake.always("PutSecretValue", reply);
        failed(Operation::Put, kind, put(&backend, PutOptions::new()).await);
        assert_eq!(kept.state(), (true, FIRST.to_owned()));
        assert_eq!(
            fake.given("DeleteSecret"),
            [json!({
                "SecretId": "key", "RecoveryWindowInDays": 30,
            })]
        );
        let mut asked = fake.asked_in_turn();
        asked.dedup();
        let expected =
            ["DescribeSecret", "RestoreSecret", "PutSecretValue", "DescribeSecret", "DeleteSecret"];
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn it_is_not_deleted_twice() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on("PutSecretValue", move |_| {
        now.delete();
        denied()
    });
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(kept.state().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on("PutSecretValue", move |_| {
        now.write(SECOND);
        denied()
    });
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(kept.state(), (false, SECOND.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

/// The value was written, and the answers were lost.
#[tokio::test]
async fn what_was_written_without_an_answer_stays() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on("PutSecretValue", move |body| {
        now.write(body["ClientRequestToken"].as_str().unwrap());
        Reply::reset()
    });
    passing(Operation::Put, ErrorKind::Unavailable, put(&backend, PutOptions::new()).await);
    assert!(!kept.state().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_secret_that_cannot_be_looked_at_again_stays() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    fake.first("DescribeSecret", [ok(&kept.description()), denied()]);
    fake.always("PutSecretValue", denied());
    let error = lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert!(error.advice().contains("secretsmanager:PutSecretValue"), "{error}");
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_condition_that_lost_leaves_what_won() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on(MOVE, move |body| {
        if body["VersionStage"] == "AWSCURRENT" {
            now.write(SECOND);
            return saying("InvalidParameterException", "is attached to another version");
        }
        right(MOVE, body)
    });
    lasting(Operation::Put, ErrorKind::Conflict, put(&backend, unchanged()).await);
    assert_eq!(kept.state(), (false, SECOND.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_condition_that_could_not_be_checked_leaves_it_deleted() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    fake.on(
        MOVE,
        |body| {
            if body["VersionStage"] == "AWSCURRENT" { denied() } else { right(MOVE, body) }
        },
    );
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, unchanged()).await);
    assert_eq!(kept.state(), (true, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 1);
}

#[tokio::test]
async fn a_condition_that_was_deleted_meanwhile_is_not_deleted_again() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on(MOVE, move |body| {
        if body["VersionStage"] == "AWSCURRENT" {
            now.delete();
            return denied();
        }
        right(MOVE, body)
    });
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, unchanged()).await);
    assert!(kept.state().0);
    assert_eq!(fake.count("DeleteSecret"), 0);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_restores_nothing() {
    for options in [
        PutOptions::new().must_be_version(Version::new(SECOND)),
        PutOptions::new().must_not_exist(),
    ] {
        let fake = Fake::new();
        let backend = fake.open().await;
        Kept::of(&fake);
        lasting(Operation::Put, ErrorKind::Conflict, put(&backend, options).await);
        assert_eq!(fake.asked(), ["DescribeSecret"]);
    }
}

/// Between the look and the write, somebody else has taken the delete back.
#[tokio::test]
async fn what_somebody_else_restored_stays() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let now = kept.clone();
    fake.on("RestoreSecret", move |_| {
        now.0.lock().unwrap().0 = false;
        refusal("InvalidRequestException")
    });
    fake.always("PutSecretValue", denied());
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(kept.state(), (false, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 0);
}

/// The first write meets a part of the service that does not know of the restoring yet.
#[tokio::test]
async fn it_is_deleted_again_also_after_a_second_round() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let kept = Kept::of(&fake);
    let lagging = saying("InvalidRequestException", "it was marked for deletion");
    fake.first("PutSecretValue", [lagging, denied()]);
    lasting(Operation::Put, ErrorKind::Denied, put(&backend, PutOptions::new()).await);
    assert_eq!(kept.state(), (true, FIRST.to_owned()));
    assert_eq!(fake.count("DeleteSecret"), 1);
}
