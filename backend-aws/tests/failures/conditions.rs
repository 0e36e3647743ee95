//! Conditional writes and rollbacks, with concurrent writes of other clients.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, Operation, PutOptions, Version};
use strongroom_testkit::stub::Reply;

use crate::fake::{
    FIRST, Fake, SECOND, THIRD, described, described_with, documented_answer, html, key, ok, put,
    refusal, refusal_with_message, value, version,
};
use crate::support::{expect_failure, permanent, transient};

const LIST_VERSIONS: &str = "ListSecretVersionIds";
const MOVE_LABEL: &str = "UpdateSecretVersionStage";
const PENDING: &str = "STRONGROOM_PENDING";
const ATTACHED_TO_ANOTHER: &str =
    "Staging label AWSCURRENT is currently attached to another version";

fn if_unchanged() -> PutOptions {
    PutOptions::new().must_be_version(Version::new(FIRST))
}

/// The active version of the stub, which a test may change before the stub answers a label move.
struct ActiveVersion(Arc<Mutex<String>>);

impl ActiveVersion {
    fn track(
        fake: &Fake,
        mut answer: impl FnMut(&mut String, &Value) -> Reply + Send + 'static,
    ) -> Self {
        let active = Arc::new(Mutex::new(FIRST.to_owned()));
        let shown = Arc::clone(&active);
        fake.on("DescribeSecret", move |_| ok(&described("key", &shown.lock().unwrap())));
        let versions = [version(FIRST, &["AWSCURRENT"]), version(THIRD, &[])];
        fake.always(LIST_VERSIONS, ok(&json!({ "Name": "key", "Versions": versions })));
        let moved = Arc::clone(&active);
        fake.on(MOVE_LABEL, move |body| {
            if body["VersionStage"] == "AWSCURRENT" {
                answer(&mut moved.lock().unwrap(), body)
            } else {
                documented_answer(MOVE_LABEL, body)
            }
        });
        Self(active)
    }

    fn id(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Moves the label as AWS does.
fn move_label(active: &mut String, body: &Value) -> Reply {
    if body["RemoveFromVersionId"] != **active {
        return refusal_with_message("InvalidParameterException", ATTACHED_TO_ANOTHER);
    }
    body["MoveToVersionId"].as_str().unwrap().clone_into(active);
    documented_answer(MOVE_LABEL, body)
}

#[tokio::test]
async fn activates_a_version_only_after_checking_the_condition() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, move_label);
    let version = put(&backend, if_unchanged()).await.unwrap();
    assert_eq!(active.id(), version.to_string());
    assert_eq!(fake.bodies("PutSecretValue")[0]["VersionStages"], json!([PENDING]));
    let moves = fake.bodies(MOVE_LABEL);
    assert_eq!(moves.len(), 2);
    assert_eq!(moves[0]["RemoveFromVersionId"], FIRST);
    assert_eq!(moves[0]["MoveToVersionId"], version.to_string());
    assert_eq!(moves[1]["VersionStage"], PENDING);
    assert_eq!(moves[1]["RemoveFromVersionId"], version.to_string());
}

#[tokio::test]
async fn a_denied_label_move_leaves_the_active_version() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, |_, _| refusal("AccessDeniedException"));
    let result = put(&backend, if_unchanged()).await;
    let error = permanent(Operation::Put, ErrorKind::Denied, result);
    assert!(error.advice().contains("secretsmanager:UpdateSecretVersionStage"), "{error}");
    assert_eq!(active.id(), FIRST);
    let given = fake.bodies("PutSecretValue");
    assert_eq!(given.len(), 1);
    assert_eq!(given[0]["VersionStages"], json!([PENDING]));
    // The pending label is removed.
    let moves = fake.bodies(MOVE_LABEL);
    assert_eq!(moves.last().unwrap()["RemoveFromVersionId"], given[0]["ClientRequestToken"]);
    assert_eq!(value(&backend).await.unwrap(), FIRST);
}

#[tokio::test]
async fn the_second_of_two_conditional_writes_conflicts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, |active, body| {
        SECOND.clone_into(active);
        move_label(active, body)
    });
    permanent(Operation::Put, ErrorKind::Conflict, put(&backend, if_unchanged()).await);
    assert_eq!(active.id(), SECOND);
    fake.take_requests_sorted();

    permanent(Operation::Put, ErrorKind::Conflict, put(&backend, if_unchanged()).await);
    let result = put(&backend, PutOptions::new().must_not_exist()).await;
    permanent(Operation::Put, ErrorKind::Conflict, result);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"; 2], "nothing was written");
}

#[tokio::test]
async fn a_version_condition_on_a_missing_secret_conflicts() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    permanent(Operation::Put, ErrorKind::Conflict, put(&backend, if_unchanged()).await);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
}

#[tokio::test]
async fn recognises_a_label_move_whose_answer_was_lost() {
    for (answer, attempts) in [(Reply::reset(), 3), (html(503), 3), (html(200), 1)] {
        let fake = Fake::new();
        let backend = fake.open().await;
        let active = ActiveVersion::track(&fake, move |active, body| {
            move_label(active, body);
            answer.clone()
        });
        let version = put(&backend, if_unchanged()).await.unwrap();
        assert_eq!(active.id(), version.to_string());
        // The last request removes the pending label.
        assert_eq!(fake.count(MOVE_LABEL), attempts + 1);
    }
}

#[tokio::test]
async fn recognises_a_label_move_whose_retry_is_refused() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    let active = ActiveVersion::track(&fake, move |active, body| {
        let reply = move_label(active, body);
        if std::mem::take(&mut is_first) { Reply::reset() } else { reply }
    });
    let version = put(&backend, if_unchanged()).await.unwrap();
    assert_eq!(active.id(), version.to_string());
    assert_eq!(fake.count(MOVE_LABEL), 3);
}

#[tokio::test]
async fn a_transient_failure_of_a_label_move_is_transient() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, |_, _| html(503));
    transient(Operation::Put, ErrorKind::Unavailable, put(&backend, if_unchanged()).await);
    assert_eq!(active.id(), FIRST);
}

#[tokio::test]
async fn a_pending_label_that_cannot_be_removed_is_no_failure() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on(MOVE_LABEL, |body| {
        if body["VersionStage"] == PENDING {
            refusal("InvalidParameterException")
        } else {
            documented_answer(MOVE_LABEL, body)
        }
    });
    put(&backend, if_unchanged()).await.unwrap();
}

async fn roll_back(
    backend: &strongroom_backend_aws::AwsBackend,
) -> strongroom_core::Result<Version> {
    backend.rollback(&key(), &Version::new(THIRD)).await
}

#[tokio::test]
async fn a_rollback_retries_after_a_concurrent_write() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    let active = ActiveVersion::track(&fake, move |active, body| {
        if std::mem::take(&mut is_first) {
            SECOND.clone_into(active);
        }
        move_label(active, body)
    });
    assert_eq!(roll_back(&backend).await.unwrap().to_string(), THIRD);
    assert_eq!(active.id(), THIRD);
    let moves = fake.bodies(MOVE_LABEL);
    let from: Vec<_> = moves.iter().map(|body| body["RemoveFromVersionId"].clone()).collect();
    assert_eq!(from, [FIRST, SECOND]);
}

#[tokio::test]
async fn a_rollback_conflicts_after_too_many_concurrent_writes() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut round = 0;
    let active = ActiveVersion::track(&fake, move |active, body| {
        round += 1;
        *active = format!("{round:08}-2222-7222-8222-222222222222");
        move_label(active, body)
    });
    permanent(Operation::Rollback, ErrorKind::Conflict, roll_back(&backend).await);
    assert_ne!(active.id(), THIRD);
    assert!(fake.count(MOVE_LABEL) <= 20);
}

#[tokio::test]
async fn recognises_a_rollback_whose_answer_was_lost() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut is_first = true;
    ActiveVersion::track(&fake, move |active, body| {
        let reply = move_label(active, body);
        if std::mem::take(&mut is_first) { Reply::reset() } else { reply }
    });
    assert_eq!(roll_back(&backend).await.unwrap().to_string(), THIRD);
    assert_eq!(fake.count(MOVE_LABEL), 2);
}

#[tokio::test]
async fn a_rollback_to_the_active_version_moves_no_label() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let version = Version::new(FIRST);
    assert_eq!(backend.rollback(&key(), &version).await.unwrap(), version);
    assert_eq!(fake.take_requests_sorted(), ["DescribeSecret"]);
}

/// For example, a secret that another service manages.
#[tokio::test]
async fn a_rollback_that_the_secret_does_not_allow_is_invalid_input() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, |_, _| refusal("InvalidRequestException"));
    let error = permanent(Operation::Rollback, ErrorKind::InvalidInput, roll_back(&backend).await);
    assert!(error.to_string().contains("present state"), "{error}");
    assert_eq!(active.id(), FIRST);
    let requests = ["DescribeSecret", "DescribeSecret", LIST_VERSIONS, MOVE_LABEL];
    assert_eq!(fake.take_requests_sorted(), requests);
}

#[tokio::test]
async fn a_rollback_moves_the_label_only_to_a_version_that_exists() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let active = ActiveVersion::track(&fake, move_label);
    let missing = Version::new(SECOND);
    let result = backend.rollback(&key(), &missing).await;
    let error = permanent(Operation::Rollback, ErrorKind::NotFound, result);
    assert!(error.to_string().contains("no such version"), "{error}");
    assert_eq!(fake.count(MOVE_LABEL), 0);
    assert_eq!(active.id(), FIRST);

    fake.always(LIST_VERSIONS, refusal("AccessDeniedException"));
    let error = permanent(Operation::Rollback, ErrorKind::Denied, roll_back(&backend).await);
    assert!(error.advice().contains("secretsmanager:ListSecretVersionIds"), "{error}");
    assert_eq!(fake.count(MOVE_LABEL), 0);
}

#[tokio::test]
async fn a_rollback_to_a_version_with_a_label_lists_no_versions() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let versions = json!({ FIRST: ["AWSCURRENT"], THIRD: ["AWSPREVIOUS"] });
    let members = json!({ "VersionIdsToStages": versions });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &members)));
    roll_back(&backend).await.unwrap();
    assert_eq!(fake.take_requests(), ["DescribeSecret", MOVE_LABEL]);
}

/// A server that ignores the token of a request has written a version of another id, or none.
#[tokio::test]
async fn a_label_moves_only_to_the_version_that_was_written() {
    let fake = Fake::new();
    let backend = fake.open().await;
    for answer in [json!({ "Name": "key", "VersionId": SECOND }), json!({ "Name": "key" })] {
        fake.always("PutSecretValue", ok(&answer));
        let result = put(&backend, if_unchanged()).await;
        expect_failure(Operation::Put, ErrorKind::Unavailable, result);
        assert_eq!(fake.count(MOVE_LABEL), 0);
    }
}

#[tokio::test]
async fn a_rollback_to_a_missing_version_is_not_found() {
    let fake = Fake::new();
    let backend = fake.open().await;
    for code in ["InvalidParameterException", "ResourceNotFoundException"] {
        fake.take_requests_sorted();
        let active = ActiveVersion::track(&fake, move |_, _| refusal(code));
        let error = permanent(Operation::Rollback, ErrorKind::NotFound, roll_back(&backend).await);
        assert!(error.to_string().contains("no such version"), "{error}");
        assert_eq!(active.id(), FIRST);
        let requests = ["DescribeSecret", "DescribeSecret", LIST_VERSIONS, MOVE_LABEL];
        assert_eq!(fake.take_requests_sorted(), requests);
    }
    let result = backend.rollback(&key(), &Version::new("7")).await;
    permanent(Operation::Rollback, ErrorKind::NotFound, result);
    assert!(fake.take_requests_sorted().is_empty(), "version ids of AWS are longer");
}
