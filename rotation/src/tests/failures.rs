//! Faults that leave neither a key nor an attempt behind.

use std::time::Duration;

use strongroom_core::{Backend as _, Capabilities, ErrorKind, MemoryBackend, PutOptions};
use tokio::time::sleep;

use super::issuer::{
    FIRST, Fault, Issuer, PATH, assert_settled, engine, path, single_instance_key, store,
};
use crate::{ManagedKey, RotationEngine, RotationPolicy};

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_last_good_key_stays_and_no_attempt_is_left() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    issuer.set(|state| state.faults.issue.push_back(Fault::Refuse(ErrorKind::Denied)));
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
async fn recovers_from_lost_answers_of_the_issuer() {
    for is_idempotent in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.is_idempotent, state.lists_keys) = (is_idempotent, true);
            state.faults.issue.push_back(Fault::Lose);
            state.faults.revoke.extend([Fault::Lose, Fault::Refuse(ErrorKind::Timeout)]);
        });
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap(), 1);
        sleep(Duration::from_secs(10)).await;
        let last = if is_idempotent { "key-1" } else { "key-2" };
        assert_eq!(key.acquire().expose_text().unwrap(), last);
        if is_idempotent {
            assert_settled(&store, &issuer, last).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_timeout_leaves_no_key_behind() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusal = Fault::Refuse(ErrorKind::Denied);
    issuer.set(|state| state.faults.issue.extend([Fault::Hang, refusal, refusal]));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for kind in [ErrorKind::Timeout, ErrorKind::Denied, ErrorKind::Denied] {
        assert_eq!(key.rotate().await.unwrap_err().kind(), kind);
    }
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn the_back_off_begins_when_the_attempt_ends() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.issue.push_back(Fault::Hang));
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Timeout);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(issuer.issue_calls(), 1);
    sleep(Duration::from_secs(7)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn revokes_a_new_key_that_does_not_work_and_never_uses_it() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    issuer.set(|state| state.faults.rejects_keys = true);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    issuer.set(|state| state.faults.rejects_keys = false);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_key_is_not_revoked_while_the_new_one_does_not_work() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    issuer.set(|state| state.faults.rejects_keys = true);
    drop(in_flight);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(issuer.live(), [FIRST, "key-1"]);
    issuer.set(|state| state.faults.rejects_keys = false);
    sleep(Duration::from_secs(3600)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_loses_no_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    store.delete(&path()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    store.undelete(&path()).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn calls_an_issuer_again_after_it_panicked() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    issuer.set(|state| state.faults.panics = 1);
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Internal);
    assert_eq!(key.acquire().expose_text().unwrap(), FIRST);
    sleep(Duration::from_secs(12)).await;
    assert_settled(&store, &issuer, "key-1").await;

    let in_flight = key.acquire();
    assert_eq!(key.rotate().await.unwrap(), 2);
    issuer.set(|state| state.faults.panics = 2);
    drop(in_flight);
    sleep(Duration::from_secs(60)).await;
    assert_settled(&store, &issuer, "key-2").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_observer_does_not_stop_the_rotation() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store).observer(|event| panic!("the observer panics at {event}"));
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test]
async fn add_rejects_a_secret_that_cannot_be_rotated() {
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
    let error = RotationEngine::new(secrets).add(single_instance_key(&issuer)).await.unwrap_err();
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

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_followed_is_refused_with_the_setting_and_what_to_do() {
    let (store, issuer) = (store().await, Issuer::new());
    let policies = [
        (RotationPolicy::new().member("rotation_previous"), "rotation_"),
        (RotationPolicy::new().member("rotation_version"), "rotation_"),
        (RotationPolicy::new().attempt_lease(Duration::ZERO), "attempt_lease"),
    ];
    for (policy, setting) in policies {
        let key = ManagedKey::new(PATH, issuer.clone()).policy(policy);
        let error = engine(&store).add(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(setting) && text.contains(PATH), "{text}");
    }
    assert_eq!(issuer.issue_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_says_which_step_failed_and_why() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.revoke.push_back(Fault::Refuse(ErrorKind::Denied)));
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let error = key.rotate_compromised().await.unwrap_err().to_string();
    assert!(error.contains("has not revoked a key"), "{error}");
    assert!(error.contains("wait for the test to go on"), "the issuer's advice stays: {error}");
    let failed = std::iter::from_fn(|| events.try_recv().ok())
        .find(|event| event.step.name() == "failed")
        .unwrap();
    assert!(failed.to_string().contains("has not revoked a key"), "{failed}");
}
