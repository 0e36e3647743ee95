//! The key before the current one, while it still works.

use std::time::Duration;

use tokio::time::sleep;

use super::issuer::{FIRST, Issuer, alone, engine, shared, store};

#[tokio::test(start_paused = true)]
async fn the_previous_key_is_readable_until_it_is_revoked() {
    let (store, issuer) = (store().await, Issuer::new());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared(&issuer)).await.unwrap();
    let elsewhere = second.add(shared(&issuer)).await.unwrap();
    assert!(key.previous().is_none());
    key.rotate().await.unwrap();
    let previous = key.previous().unwrap();
    assert_eq!((previous.expose_text().unwrap(), previous.generation()), (FIRST, 0));
    assert!(!key.is_current(&previous));
    elsewhere.check_store();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(elsewhere.previous().unwrap().expose_text().unwrap(), FIRST);
    // An instance that starts during the overlap knows it, too.
    let third = engine(&store);
    let late = third.add(shared(&issuer)).await.unwrap();
    assert_eq!(late.previous().unwrap().expose_text().unwrap(), FIRST);
    while issuer.is_live(&previous) {
        assert!(key.previous().is_some());
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(31)).await;
    for key in [&key, &elsewhere, &late] {
        assert!(key.previous().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_previous_key_does_not_keep_it_from_being_revoked() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(alone(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    let previous = key.previous().unwrap();
    drop(in_flight);
    sleep(Duration::from_secs(1)).await;
    assert!(!issuer.is_live(&previous));
    assert!(key.previous().is_none());
}
