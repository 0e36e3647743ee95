//! The key before the current one, while it still works.

use std::time::Duration;

use tokio::time::sleep;

use super::issuer::{FIRST, Issuer, engine, shared_key, single_instance_key, store};

#[tokio::test(start_paused = true)]
async fn the_previous_key_is_readable_until_it_is_revoked() {
    let (store, issuer) = (store().await, Issuer::new());
    let (first, second) = (engine(&store), engine(&store));
    let key = first.add(shared_key(&issuer)).await.unwrap();
    let elsewhere = second.add(shared_key(&issuer)).await.unwrap();
    assert!(key.previous().is_none());
    key.rotate().await.unwrap();
    let previous = key.previous().unwrap();
    assert_eq!((previous.expose_text().unwrap(), previous.generation()), (FIRST, 0));
    assert!(!key.is_current(&previous));
    elsewhere.check_store();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(elsewhere.previous().unwrap().expose_text().unwrap(), FIRST);
    // An instance that starts during the overlap has it, too.
    let third = engine(&store);
    let late = third.add(shared_key(&issuer)).await.unwrap();
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
async fn holding_the_previous_key_does_not_delay_its_revocation() {
    let (store, issuer) = (store().await, Issuer::new());
    let engine = engine(&store);
    let key = engine.add(single_instance_key(&issuer)).await.unwrap();
    let in_flight = key.acquire();
    key.rotate().await.unwrap();
    let previous = key.previous().unwrap();
    drop(in_flight);
    sleep(Duration::from_secs(1)).await;
    assert!(!issuer.is_live(&previous));
    assert!(key.previous().is_none());
}
