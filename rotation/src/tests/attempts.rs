//! Attempts that fail, revocations that are refused, and the attempts after them.

use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{
    Backend as _, ErrorKind, MetadataPatch, PutOptions, SecretValue, VersionSelector,
};
use tokio::time::sleep;

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Fault, Issuer, PATH, annotate, assert_settled, engine, path, read_record,
    received_steps, shared_key, single_instance_key, store,
};
use crate::clock;
use crate::{ManagedKey, PasswordIssuer, RotationPolicy, RotationStep};

#[tokio::test(start_paused = true)]
async fn a_restart_before_a_rejected_key_is_revoked_leaves_no_key_behind() {
    for is_idempotent in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.is_idempotent, state.lists_keys, state.faults.rejects_keys) =
                (is_idempotent, true, true);
            state.faults.revoke.push_back(Fault::Refuse(ErrorKind::Denied));
        });
        let first = engine(&store);
        let key = first.add(single_instance_key(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        first.shutdown().await;
        assert_eq!(issuer.live(), [FIRST, "key-1"]);

        issuer.set(|state| state.faults.rejects_keys = false);
        let second = engine(&store);
        let key = second.add(single_instance_key(&issuer)).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        let current = key.acquire().expose_text().unwrap().to_owned();
        assert_eq!(current, if is_idempotent { "key-1" } else { "key-2" });
        assert_settled(&store, &issuer, &current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reports_a_rejected_key_that_is_not_revoked_and_revokes_it_later() {
    for is_idempotent in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|state| {
            (state.is_idempotent, state.lists_keys, state.faults.rejects_keys) =
                (is_idempotent, true, true);
            state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
        });
        let engine = engine(&store);
        let mut events = engine.events();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        sleep(DAY).await;
        let unrevoked = |step: &RotationStep| matches!(step, RotationStep::RevocationFailed { .. });
        assert_eq!(received_steps(&mut events).iter().filter(|step| unrevoked(step)).count(), 1);
        assert_eq!((issuer.issue_calls(), issuer.live()), (1, vec![FIRST.into(), "key-1".into()]));
        assert!(!read_record(&store).await.0.contains(&"rotation_attempt".into()));

        issuer.set(|state| {
            state.faults.rejects_keys = false;
            state.faults.revoke.clear();
        });
        assert_eq!(key.rotate().await.unwrap(), 1);
        sleep(DAY).await;
        assert_settled(&store, &issuer, "key-2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_to_get_a_key_do_not_postpone_revoking_the_old_one() {
    // Twelve attempts write twice each; the next one writes its claim, and then the key.
    for (loses_answer_to, limit) in [(None, 60), (Some(26), 3600 + 60)] {
        let (store, issuer) = (store().await, Issuer::new());
        let mut faulty = FaultyStore::new(&store).await;
        faulty.loses_answer_to = loses_answer_to;
        issuer.set(|state| {
            state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Denied), 12).collect();
            state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Denied), 2).collect();
        });
        let engine = Arc::new(faulty).engine();
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        for _ in 0..12 {
            assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        }
        assert_eq!(key.rotate().await.is_err(), loses_answer_to.is_some());
        sleep(Duration::from_secs(limit)).await;
        assert_settled(&store, &issuer, "key-1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn revokes_a_rejected_key_before_it_answers_the_caller() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.rejects_keys = true);
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap_err();
    assert_settled(&store, &issuer, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn repeats_the_same_attempt_after_an_unusable_answer() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 6 * DAY)).await;
    issuer.set(|state| {
        state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Config), 10_000).collect();
    });
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    sleep(5 * DAY).await;
    assert_eq!(store.versions(&path()).await.unwrap().len(), 2, "one attempt is stored");
    let calls = issuer.issue_calls();
    assert!((120..260).contains(&calls), "once or twice an hour, not {calls} times");
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Config);
    issuer.set(|state| state.faults.issue.clear());
    sleep(Duration::from_secs(3700)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn shows_the_last_error_as_long_as_the_key_is_due() {
    for is_due in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        let refusal = Fault::Refuse(ErrorKind::Denied);
        issuer.set(|state| state.faults.issue = repeat_n(refusal, 10_000).collect());
        let engine = engine(&store);
        let key = engine.add(single_instance_key(&issuer)).await.unwrap();
        if is_due {
            annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 6 * DAY)).await;
        }
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Denied);
        for _ in 0..24 {
            sleep(Duration::from_secs(3600)).await;
            assert_eq!(key.state().last_error.is_some(), is_due);
        }
        assert_eq!(issuer.issue_calls() > 1, is_due);
    }
}

#[tokio::test(start_paused = true)]
async fn gets_the_next_key_although_the_issuer_never_revokes() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.timing.lifetime = Some(30 * DAY);
        state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
    });
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    let old = key.acquire().fingerprint().clone();
    let unrevoked = |steps: Vec<RotationStep>| -> Vec<_> {
        let failure = |step| match step {
            RotationStep::RevocationFailed { fingerprint, error } => {
                Some((fingerprint, error.kind()))
            }
            _ => None,
        };
        steps.into_iter().filter_map(failure).collect()
    };
    sleep(22 * DAY).await;
    assert!(
        read_record(&store).await.0.contains(&"rotation_previous".into()),
        "the engine still tries"
    );
    assert_eq!(unrevoked(received_steps(&mut events)), []);
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Denied);

    sleep(2 * DAY).await;
    assert_eq!(key.state().generation, 2);
    let first = unrevoked(received_steps(&mut events));
    assert_eq!((first.len(), first[0].1), (1, ErrorKind::Denied));
    assert_eq!(key.rotate().await.unwrap(), 3, "a caller gets one at once");
    assert_eq!(unrevoked(received_steps(&mut events)), [(old, ErrorKind::Denied)]);

    issuer.set(|state| state.faults.revoke.clear());
    sleep(Duration::from_secs(3700)).await;
    assert_eq!(issuer.live(), [FIRST, "key-1", "key-3"]);
    assert!(key.state().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_attempt_other_readers_find_the_key_in_its_member() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.faults.issue.push_back(Fault::Refuse(ErrorKind::Denied)));
    let engine = engine(&store);
    let policy = RotationPolicy::new().single_instance().member("token");
    let key = engine.add(ManagedKey::new(PATH, issuer.clone()).policy(policy)).await.unwrap();
    key.rotate().await.unwrap_err();
    for current in [FIRST, "key-1"] {
        let secret = store.get(&path(), &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.field("token").unwrap().expose_text().unwrap(), current);
        key.rotate().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn frequent_rotations_with_refused_revocations_leave_no_key_behind() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let (mut rotated, mut failed) = (0, 0);
    for second in 0..200 {
        if second % 6 == 0 {
            let refusals = repeat_n(Fault::Refuse(ErrorKind::Denied), 4);
            issuer.set(|state| state.faults.revoke = refusals.collect());
        }
        match key.rotate().await {
            Ok(_) => rotated += 1,
            Err(_) => failed += 1,
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(rotated > 30 && failed > 30, "{rotated} rotated, {failed} failed");
    sleep(DAY).await;
    assert_settled(&store, &issuer, &format!("key-{rotated}")).await;
}

#[tokio::test(start_paused = true)]
async fn counts_refusals_for_each_key_separately() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusal = Fault::Refuse(ErrorKind::Denied);
    issuer.set(|state| {
        state.faults.rejects_keys = true;
        state.faults.revoke = repeat_n(refusal, 4).collect();
    });
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    for _ in 0..4 {
        key.rotate().await.unwrap_err();
    }
    issuer.set(|state| state.faults.rejects_keys = false);
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_settled(&store, &issuer, "key-1").await;
    issuer.set(|state| {
        state.faults.rejects_keys = true;
        state.faults.revoke.push_back(refusal);
    });
    key.rotate().await.unwrap_err();
    assert!(!received_steps(&mut events).iter().any(|step| step.name() == "revocation_failed"));
}

#[tokio::test(start_paused = true)]
async fn refused_revocations_write_few_versions() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        (state.is_idempotent, state.lists_keys) = (false, true);
        state.live.insert("key-9".into());
        state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Denied), 100_000).collect();
    });
    let value = SecretValue::fields([
        ("key", "key-9"),
        ("rotation_previous", FIRST),
        ("rotation_generation", "1"),
        ("rotation_unsure", "true"),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let engines: Vec<_> = (0..2).map(|_| engine(&store)).collect();
    for engine in &engines {
        let _ = engine.add(shared_key(&issuer)).await.unwrap();
    }
    sleep(DAY).await;
    let versions = store.versions(&path()).await.unwrap().len();
    assert!(versions <= 2 + 2 * 5, "{versions} versions, five for each instance");
    sleep(2 * DAY).await;
    let later = store.versions(&path()).await.unwrap().len() - versions;
    assert!((2..=4).contains(&later), "{later} more, one a day for each instance");
}

#[tokio::test(start_paused = true)]
async fn does_not_report_a_password_that_was_never_stored() {
    let store = store().await;
    let value = SecretValue::fields([
        ("key", FIRST),
        ("rotation_intent", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("rotation_intent_by", "another instance"),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&PasswordIssuer::default())).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(key.state().generation, 1);
    assert!(!received_steps(&mut events).iter().any(|step| step.name() == "orphaned"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_withdrawal_was_not_stored_reports_no_untracked_key() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer
        .set(|state| state.faults.issue = repeat_n(Fault::Refuse(ErrorKind::Denied), 1).collect());
    let mut faulty = FaultyStore::new(&store).await;
    faulty.hangs_at = Some(2);
    let engine = Arc::new(faulty).engine();
    let mut events = engine.events();
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap_err();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(60)).await;
    let orphaned = received_steps(&mut events).iter().any(|step| step.name() == "orphaned");
    assert!(!orphaned, "the issuer gave no key, and is idempotent");
}

#[tokio::test(start_paused = true)]
async fn an_unstored_key_that_is_never_revoked_writes_few_versions() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| {
        state.timing.verify_latency = Duration::from_secs(3);
        state.live.insert("key-9".to_owned());
        state.faults.revoke = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
    });
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let rotating = tokio::spawn(async move { key.rotate().await });
    sleep(Duration::from_secs(1)).await;
    let value = SecretValue::fields([("key", "key-9"), ("rotation_generation", "1")]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    rotating.await.unwrap().unwrap();
    sleep(DAY).await;
    let versions = store.versions(&path()).await.unwrap().len();
    assert!(versions <= 10, "{versions} versions");
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_revocation_was_refused_revokes_the_next_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusals = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000);
    issuer.set(|state| state.faults.revoke = refusals.collect());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared_key(&issuer)).await.unwrap();
    let _elsewhere = second.add(shared_key(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    // An operator ends what the second instance was refused.
    first.shutdown().await;
    issuer.set(|state| {
        state.live.remove(FIRST);
        state.faults.revoke.clear();
    });
    let now = store.get(&path(), &VersionSelector::Active).await.unwrap();
    let value = now.value().with_fields(&[("rotation_previous", None)]).unwrap();
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let third = engine(&store);
    let key = third.add(shared_key(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 2);
    third.shutdown().await;
    sleep(Duration::from_secs(120)).await;
    assert_settled(&store, &issuer, "key-2").await;
}
