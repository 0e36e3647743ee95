//! Attempts to get a key or to be rid of one that do not end well, and those that come after them.

use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{
    Backend as _, ErrorKind, MetadataPatch, PutOptions, SecretValue, VersionSelector,
};
use tokio::time::sleep;

use super::faulty_store::FaultyStore;
use super::issuer::{
    DAY, FIRST, Fault, Issuer, PATH, alone, annotate, assert_settled, engine, path, shared, store,
    stored, told,
};
use crate::clock;
use crate::{ManagedKey, PasswordIssuer, RotationPolicy, RotationStep};

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_work_is_found_though_the_engine_stops_before_it_is_revoked() {
    for repeats in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| {
            (books.repeats, books.lists, books.verify_refuses) = (repeats, true, true);
            books.revoke_faults.push_back(Fault::Refuse(ErrorKind::Denied));
        });
        let first = engine(&store);
        let key = first.add(alone(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        first.shutdown().await;
        assert_eq!(issuer.live(), [FIRST, "key-1"]);

        issuer.set(|books| books.verify_refuses = false);
        let second = engine(&store);
        let key = second.add(alone(&issuer)).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        let current = key.acquire().expose_text().unwrap().to_owned();
        assert_eq!(current, if repeats { "key-1" } else { "key-2" });
        assert_settled(&store, &issuer, &current).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_neither_works_nor_is_revoked_is_told_of_and_looked_for_later() {
    for repeats in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        issuer.set(|books| {
            (books.repeats, books.lists, books.verify_refuses) = (repeats, true, true);
            books.revoke_faults = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
        });
        let engine = engine(&store);
        let mut events = engine.events();
        let key = engine.add(alone(&issuer)).await.unwrap();
        assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
        sleep(DAY).await;
        let unrevoked = |step: &RotationStep| matches!(step, RotationStep::RevocationFailed { .. });
        assert_eq!(told(&mut events).iter().filter(|step| unrevoked(step)).count(), 1);
        assert_eq!((issuer.issue_calls(), issuer.live()), (1, vec![FIRST.into(), "key-1".into()]));
        assert!(!stored(&store).await.0.contains(&"rotation_attempt".into()));

        issuer.set(|books| {
            books.verify_refuses = false;
            books.revoke_faults.clear();
        });
        assert_eq!(key.rotate().await.unwrap(), 1);
        sleep(DAY).await;
        assert_settled(&store, &issuer, "key-2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_work_is_revoked_before_anybody_hears_of_it() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| books.verify_refuses = true);
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap_err();
    assert_settled(&store, &issuer, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_understood_is_asked_for_again_and_not_for_another_key() {
    let (store, issuer) = (store().await, Issuer::new());
    annotate(&store, MetadataPatch::new().expires_at(clock::wall() + 6 * DAY)).await;
    issuer.set(|books| {
        books.issue_faults = repeat_n(Fault::Refuse(ErrorKind::Config), 10_000).collect();
    });
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    sleep(5 * DAY).await;
    assert_eq!(store.versions(&path()).await.unwrap().len(), 2, "one attempt is noted");
    let calls = issuer.issue_calls();
    assert!((120..260).contains(&calls), "once or twice an hour, not {calls} times");
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Config);
    issuer.set(|books| books.issue_faults.clear());
    sleep(Duration::from_secs(3700)).await;
    assert_settled(&store, &issuer, "key-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_seen_as_long_as_a_rotation_is_wanted() {
    for is_due in [true, false] {
        let (store, issuer) = (store().await, Issuer::new());
        let refusal = Fault::Refuse(ErrorKind::Denied);
        issuer.set(|books| books.issue_faults = repeat_n(refusal, 10_000).collect());
        let engine = engine(&store);
        let key = engine.add(alone(&issuer)).await.unwrap();
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
async fn an_issuer_that_never_revokes_does_not_keep_the_next_key_away() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        books.lifetime = Some(30 * DAY);
        books.revoke_faults = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
    });
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    let old = key.acquire().fingerprint().clone();
    let unrevoked = |steps: Vec<RotationStep>| -> Vec<_> {
        let is_told = |step| match step {
            RotationStep::RevocationFailed { fingerprint, error } => {
                Some((fingerprint, error.kind()))
            }
            _ => None,
        };
        steps.into_iter().filter_map(is_told).collect()
    };
    sleep(22 * DAY).await;
    assert!(stored(&store).await.0.contains(&"rotation_previous".into()), "it is still tried");
    assert_eq!(unrevoked(told(&mut events)), []);
    assert_eq!(key.state().last_error.unwrap().kind(), ErrorKind::Denied);

    sleep(2 * DAY).await;
    assert_eq!(key.state().generation, 2);
    let first = unrevoked(told(&mut events));
    assert_eq!((first.len(), first[0].1), (1, ErrorKind::Denied));
    assert_eq!(key.rotate().await.unwrap(), 3, "who wants one at once gets it");
    assert_eq!(unrevoked(told(&mut events)), [(old, ErrorKind::Denied)]);

    issuer.set(|books| books.revoke_faults.clear());
    sleep(Duration::from_secs(3700)).await;
    assert_eq!(issuer.live(), [FIRST, "key-1", "key-3"]);
    assert!(key.state().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_attempt_other_readers_find_the_key_in_its_member() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| books.issue_faults.push_back(Fault::Refuse(ErrorKind::Denied)));
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
async fn an_issuer_that_refuses_now_and_then_leaves_no_key_behind_however_often_one_is_wanted() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    let (mut rotated, mut failed) = (0, 0);
    for second in 0..200 {
        if second % 6 == 0 {
            let refusals = repeat_n(Fault::Refuse(ErrorKind::Denied), 4);
            issuer.set(|books| books.revoke_faults = refusals.collect());
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
async fn refusals_are_counted_for_each_key() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusal = Fault::Refuse(ErrorKind::Denied);
    issuer.set(|books| {
        books.verify_refuses = true;
        books.revoke_faults = repeat_n(refusal, 4).collect();
    });
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(alone(&issuer)).await.unwrap();
    for _ in 0..4 {
        key.rotate().await.unwrap_err();
    }
    issuer.set(|books| books.verify_refuses = false);
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_settled(&store, &issuer, "key-1").await;
    issuer.set(|books| {
        books.verify_refuses = true;
        books.revoke_faults.push_back(refusal);
    });
    key.rotate().await.unwrap_err();
    assert!(!told(&mut events).iter().any(|step| step.name() == "revocation_failed"));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_goes_on_refusing_to_revoke_costs_few_versions() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        (books.repeats, books.lists) = (false, true);
        books.live.insert("key-9".into());
        books.revoke_faults = repeat_n(Fault::Refuse(ErrorKind::Denied), 100_000).collect();
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
        let _ = engine.add(shared(&issuer)).await.unwrap();
    }
    sleep(DAY).await;
    let versions = store.versions(&path()).await.unwrap().len();
    assert!(versions <= 2 + 2 * 5, "{versions} versions, five for each instance");
    sleep(2 * DAY).await;
    let later = store.versions(&path()).await.unwrap().len() - versions;
    assert!((2..=4).contains(&later), "{later} more, one a day for each instance");
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_made_and_not_stored_is_no_key_that_nobody_knows() {
    let store = store().await;
    let value = SecretValue::fields([
        ("key", FIRST),
        ("rotation_intent", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("rotation_intent_by", "another instance"),
    ]);
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let engine = engine(&store);
    let mut events = engine.events();
    let key = engine.add(alone(&PasswordIssuer::default())).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(key.state().generation, 1);
    assert!(!told(&mut events).iter().any(|step| step.name() == "orphaned"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_end_was_not_stored_leaves_no_doubt() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer
        .set(|books| books.issue_faults = repeat_n(Fault::Refuse(ErrorKind::Denied), 1).collect());
    let mut unkind = FaultyStore::new(&store).await;
    unkind.hangs = Some(2);
    let engine = Arc::new(unkind).engine();
    let mut events = engine.events();
    let key = engine.add(alone(&issuer)).await.unwrap();
    key.rotate().await.unwrap_err();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(key.rotate().await.unwrap(), 1);
    sleep(Duration::from_secs(60)).await;
    let orphaned = told(&mut events).iter().any(|step| step.name() == "orphaned");
    assert!(!orphaned, "the issuer gave no key, and repeats");
}

#[tokio::test(start_paused = true)]
async fn a_key_left_over_that_is_never_revoked_costs_few_versions() {
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|books| {
        books.verify_latency = Duration::from_secs(3);
        books.live.insert("key-9".to_owned());
        books.revoke_faults = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000).collect();
    });
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
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
async fn whoever_was_refused_one_key_tries_to_revoke_the_next_all_the_same() {
    let (store, issuer) = (store().await, Issuer::new());
    let refusals = repeat_n(Fault::Refuse(ErrorKind::Denied), 10_000);
    issuer.set(|books| books.revoke_faults = refusals.collect());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared(&issuer)).await.unwrap();
    let _elsewhere = second.add(shared(&issuer)).await.unwrap();
    key.rotate().await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    // What the second was refused, somebody else ends.
    first.shutdown().await;
    issuer.set(|books| {
        books.live.remove(FIRST);
        books.revoke_faults.clear();
    });
    let now = store.get(&path(), &VersionSelector::Active).await.unwrap();
    let value = now.value().with_fields(&[("rotation_previous", None)]).unwrap();
    store.put(&path(), value, PutOptions::new()).await.unwrap();
    let third = engine(&store);
    let key = third.add(shared(&issuer)).await.unwrap();
    assert_eq!(key.rotate().await.unwrap(), 2);
    third.shutdown().await;
    sleep(Duration::from_secs(120)).await;
    assert_settled(&store, &issuer, "key-2").await;
}
