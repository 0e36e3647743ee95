//! Writes that demand something of the active version, and going back to an earlier one.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation, PutOptions, Version};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, SECOND, THIRD, described, html, key, ok, put, refusal, right, saying, value,
};
use crate::support::{lasting, passing};

const MOVE: &str = "UpdateSecretVersionStage";
const PENDING: &str = "STRONGROOM_PENDING";
const ELSEWHERE: &str = "Staging label AWSCURRENT is currently attached to another version";

fn unchanged() -> PutOptions {
    PutOptions::new().must_be_version(Version::new(FIRST))
}

/// A service that knows which version is active and lets a test act before it answers a move.
struct Active(Arc<Mutex<String>>);

impl Active {
    fn of(
        fake: &Fake,
        mut answer: impl FnMut(&mut String, &Value) -> Reply + Send + 'static,
    ) -> Self {
        let active = Arc::new(Mutex::new(FIRST.to_owned()));
        let shown = Arc::clone(&active);
        fake.on("DescribeSecret", move |_| ok(&described("key", &shown.lock().unwrap())));
        let moved = Arc::clone(&active);
        fake.on(MOVE, move |body| {
            if body["VersionStage"] == "AWSCURRENT" {
                answer(&mut moved.lock().unwrap(), body)
            } else {
                right(MOVE, body)
            }
        });
        Self(active)
    }

    fn id(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// As AWS does it.
fn moved(active: &mut String, body: &Value) -> Reply {
    if body["RemoveFromVersionId"] != **active {
        return saying("InvalidParameterException", ELSEWHERE);
    }
    body["MoveToVersionId"].as_str().unwrap().clone_into(active);
    right(MOVE, body)
}

#[tokio::test]
async fn a_version_becomes_active_only_after_the_condition_was_checked() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = Active::of(&fake, moved);
    let version = put(&backend, unchanged()).await.unwrap();
    assert_eq!(active.id(), version.to_string());
    assert_eq!(fake.given("PutSecretValue")[0]["VersionStages"], json!([PENDING]));
    let moves = fake.given(MOVE);
    assert_eq!(moves.len(), 2);
    assert_eq!(moves[0]["RemoveFromVersionId"], FIRST);
    assert_eq!(moves[0]["MoveToVersionId"], version.to_string());
    assert_eq!(moves[1]["VersionStage"], PENDING);
    assert_eq!(moves[1]["RemoveFromVersionId"], version.to_string());
}

#[tokio::test]
async fn a_refused_move_changes_nothing_that_is_active() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = Active::of(&fake, |_, _| refusal("AccessDeniedException"));
    let result = put(&backend, unchanged()).await;
    let error = lasting(Operation::Put, ErrorKind::Denied, result);
    assert!(error.advice().contains("secretsmanager:UpdateSecretVersionStage"), "{error}");
    assert_eq!(active.id(), FIRST);
    let given = fake.given("PutSecretValue");
    assert_eq!(given.len(), 1);
    assert_eq!(given[0]["VersionStages"], json!([PENDING]));
    // The label that waits does not stay.
    let moves = fake.given(MOVE);
    assert_eq!(moves.last().unwrap()["RemoveFromVersionId"], given[0]["ClientRequestToken"]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn whoever_comes_second_conflicts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = Active::of(&fake, |active, body| {
        SECOND.clone_into(active);
        moved(active, body)
    });
    lasting(Operation::Put, ErrorKind::Conflict, put(&backend, unchanged()).await);
    assert_eq!(active.id(), SECOND);
    fake.asked();

    lasting(Operation::Put, ErrorKind::Conflict, put(&backend, unchanged()).await);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    lasting(Operation::Put, ErrorKind::Conflict, result);
    assert_eq!(fake.asked(), ["DescribeSecret"; 2], "nothing was written");
}

#[tokio::test]
async fn a_condition_on_a_version_of_no_secret_conflicts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    lasting(Operation::Put, ErrorKind::Conflict, put(&backend, unchanged()).await);
    assert_eq!(fake.asked(), ["DescribeSecret"]);
}

#[tokio::test]
async fn a_move_whose_answer_was_lost_counts() {
    for (answer, attempts) in [(Reply::reset(), 3), (html(503), 3), (html(200), 1)] {
        let fake = Fake::new();
        let backend = fake.open().await;
        let active = Active::of(&fake, move |active, body| {
            moved(active, body);
            answer.clone()
        });
        let version = put(&backend, unchanged()).await.unwrap();
        assert_eq!(active.id(), version.to_string());
        // Then the label that waited is taken away.
        assert_eq!(fake.count(MOVE), attempts + 1);
    }
}

#[tokio::test]
async fn a_move_that_acted_and_is_refused_the_second_time_counts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    let active = Active::of(&fake, move |active, body| {
        let reply = moved(active, body);
        if std::mem::take(&mut is_first) { Reply::reset() } else { reply }
    });
    let version = put(&backend, unchanged()).await.unwrap();
    assert_eq!(active.id(), version.to_string());
    assert_eq!(fake.count(MOVE), 3);
}

#[tokio::test]
async fn a_move_that_fails_in_passing_is_passing() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = Active::of(&fake, |_, _| html(503));
    passing(Operation::Put, ErrorKind::Unavailable, put(&backend, unchanged()).await);
    assert_eq!(active.id(), FIRST);
}

#[tokio::test]
async fn a_label_that_stays_is_no_failure() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on(MOVE, |body| {
        if body["VersionStage"] == PENDING {
            refusal("InvalidParameterException")
        } else {
            right(MOVE, body)
        }
    });
    put(&backend, unchanged()).await.unwrap();
}

async fn back(backend: &strongroom_backend_aws::AwsBackend) -> strongroom_core::Result<Version> {
    backend.rollback(&key(), &Version::new(THIRD)).await
}

#[tokio::test]
async fn a_rollback_that_is_overtaken_starts_again() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    let active = Active::of(&fake, move |active, body| {
        if std::mem::take(&mut is_first) {
            SECOND.clone_into(active);
        }
        moved(active, body)
    });
    assert_eq!(back(&backend).await.unwrap().to_string(), THIRD);
    assert_eq!(active.id(), THIRD);
    let moves = fake.given(MOVE);
    let from: Vec<_> = moves.iter().map(|body| body["RemoveFromVersionId"].clone()).collect();
    assert_eq!(from, [FIRST, SECOND]);
}

#[tokio::test]
async fn a_rollback_that_is_always_overtaken_conflicts_in_the_end() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut turn = 0;
    let active = Active::of(&fake, move |active, body| {
        turn += 1;
        *active = format!("{turn:08}-2222-7222-8222-222222222222");
        moved(active, body)
    });
    lasting(Operation::Rollback, ErrorKind::Conflict, back(&backend).await);
    assert_ne!(active.id(), THIRD);
    assert!(fake.count(MOVE) <= 20);
}

#[tokio::test]
async fn a_rollback_whose_answer_was_lost_counts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    Active::of(&fake, move |active, body| {
        let reply = moved(active, body);
        if std::mem::take(&mut is_first) { Reply::reset() } else { reply }
    });
    assert_eq!(back(&backend).await.unwrap().to_string(), THIRD);
    assert_eq!(fake.count(MOVE), 2);
}

#[tokio::test]
async fn a_rollback_to_the_active_version_asks_for_no_move() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let version = Version::new(FIRST);
    assert_eq!(backend.rollback(&key(), &version).await.unwrap(), version);
    assert_eq!(fake.asked(), ["DescribeSecret"]);
}

/// Such as one that another service manages.
#[tokio::test]
async fn a_rollback_that_a_live_secret_does_not_allow_is_invalid() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = Active::of(&fake, |_, _| refusal("InvalidRequestException"));
    let error = lasting(Operation::Rollback, ErrorKind::InvalidInput, back(&backend).await);
    assert!(error.to_string().contains("present state"), "{error}");
    assert_eq!(active.id(), FIRST);
    assert_eq!(fake.asked(), ["DescribeSecret", "DescribeSecret", MOVE]);
}

#[tokio::test]
async fn a_rollback_to_no_version_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    for code in ["InvalidParameterException", "ResourceNotFoundException"] {
        fake.asked();
        let active = Active::of(&fake, move |_, _| refusal(code));
        let error = lasting(Operation::Rollback, ErrorKind::NotFound, back(&backend).await);
        assert!(error.to_string().contains("no such version"), "{error}");
        assert_eq!(active.id(), FIRST);
        assert_eq!(fake.asked(), ["DescribeSecret", "DescribeSecret", MOVE]);
    }
    let result = backend.rollback(&key(), &Version::new("7")).await;
    lasting(Operation::Rollback, ErrorKind::NotFound, result);
    assert!(fake.asked().is_empty(), "no id of AWS is that short");
}
