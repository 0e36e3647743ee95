//! What goes wrong, and what is left of it: nothing.

use std::time::Duration;

use strongroom_core::{Backend as _, Capabilities, ErrorKind, MemoryBackend, PutOptions};
use tokio::time::sleep;

use super::issuer::{FIRST, Fault, Issuer, PATH, alone, assert_settled, engine, path, store};
use crate::{ManagedKey, RotationEngine};

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_last_good_key_stays_and_nothing_is_left() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    issuer.set(|books| books.issue_faults.push_back(Fault::Refuse(ErrorKind::Denied)));
    let error = key.rotate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.path().unwrap().as_str(), PATH);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Denied);
    assert_settled(&store, &issuer, FIRST).await;
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert!(key.state().last_error.is_none());
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_no_key() {
    for repeats in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| {
            (books.repeats, books.lists) = (repeats, true);
            books.issue_faults.push_back(Fault::Lose);
            books.revoke_faults.extend([Fault::Lose, Fault::Refuse(ErrorKind::Timeout)]);
        });
        let engine = engine(&store);
        let key = engine.add(alone(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap(), 1);
        sleep(Duration::from_secs(10)).await;
        let last = if repeats { "key-1" } else { "key-2" };
        assert_eq!(key.acquire().expose_text().unwrap(), last);
        if repeats {
            assert_settled(&store, &issuer, last).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_that_was_broken_off_costs_no_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusal = Fault::Refuse(ErrorKind::Denied);
    issuer.set(|books| books.issue_faults.extend([Fault::Hang, refusal, refusal]));
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    for kind in [ErrorKind::Timeout, ErrorKind::Denied, ErrorKind::Denied] {
        assert_eq!(key.rotate().await.unwrap_err().kind(), kind);
    }
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn the_pause_after_a_failure_begins_when_the_attempt_ends() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| books.issue_faults.push_back(Fault::Hang));
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(issuer.issue_calls(), 1);
    sleep(Duration::from_secs(7)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_key_that_does_not_work_is_not_used_and_not_left() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    issuer.set(|books| books.verify_refuses = true);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    issuer.set(|books| books.verify_refuses = false);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_key_is_not_revoked_while_the_new_one_does_not_work() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    issuer.set(|books| books.verify_refuses = true);
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
    issuer.set(|books| books.verify_refuses = false);
    sleep(Duration::from_secs(3600)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_for_a_while_loses_no_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    store.delete(&path()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    store.undelete(&path()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_panics_is_asked_again() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    issuer.set(|books| books.panics = 1);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Internal);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    sleep(Duration::from_secs(12)).await;
    assert_settled(&store, &issuer, "key-1").await;

    let in_flight = key.acquire();
    assert_eq!(key.rotate().await.unwrap(), 2);
    issuer.set(|books| books.panics = 2);
    drop(in_flight);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-2").await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_stops_nothing() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store).observer(|event| panic!("it cannot bear {event}"));
    let key = engine.add(alone(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test]
async fn what_cannot_be_rotated_is_refused_at_once() {
    let store = MemoryBackend::new();
    let text = r#"{"token": "x"}"#;
    store.put(&path(), text.into(), PutOptions::new()).await.unwrap();
    let engine = RotationEngine::new(store);
    let issuer = Issuer::new();
    let error = engine.add(ManagedKey::new(PATH, issuer.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = engine.add(ManagedKey::new("none", issuer.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let secrets =
        ReadOnly(strongroom_core::BackendInfo::new("read-only", "test", Capabilities::none()));
    let error = RotationEngine::new(secrets).add(alone(&issuer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[derive(Debug)]
struct ReadOnly(strongroom_core::BackendInfo);

#[strongroom_core::async_trait]
impl strongroom_core::Backend for ReadOnly {
    fn info(&self) -> &strongroom_core::BackendInfo {
        &self.0
    }

    async fn get(
        &self,
        path: &strongroom_core::SecretPath,
        _: &strongroom_core::VersionSelector,
    ) -> strongroom_core::Result<strongroom_core::Secret> {
        let metadata = strongroom_core::Metadata::default();
        Ok(strongroom_core::Secret::new(path.clone(), 1.into(), metadata, "value".into()))
    }

    async fn health(&self) -> strongroom_core::Result<strongroom_core::Health> {
        Ok(strongroom_core::Health::new(strongroom_core::HealthStatus::Ready))
    }
}
