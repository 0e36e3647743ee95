//! Two years of a key that is replaced every 90 days, with an issuer that fails now and then. The engine
//! reads the store once an hour.

use std::time::Duration;

use strongroom_core::{ErrorKind, MetadataPatch};
use tokio::time::{Instant, sleep};

use super::issuer::{DAY, Fault, Issuer, annotate, engine, single_instance_key, store};
use crate::RotationPolicy;

#[tokio::test(start_paused = true)]
async fn a_key_works_for_two_years_with_random_failures() {
    fastrand::seed(20_261_127);
    let (store, issuer) = (store().await, Issuer::new());
    issuer.set(|state| state.timing.lifetime = Some(100 * DAY));
    annotate(&store, MetadataPatch::new().rotation_interval(90 * DAY)).await;
    let policy = RotationPolicy::new().propagation_timeout(Duration::from_secs(3 * 3600));
    let rotation = || single_instance_key(&issuer).policy(policy.clone());
    let mut engine_now = engine(&store);
    let mut key = engine_now.add(rotation()).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < 2 * 365 * DAY {
        for _ in 0..24 {
            let guard = key.acquire();
            assert!(issuer.is_live(&guard), "after {:?}", start.elapsed());
            sleep(Duration::from_secs(3600)).await;
            drop(guard);
        }
        issuer.set(|state| {
            state.faults.issue.clear();
            state.faults.revoke.clear();
            for faults in [&mut state.faults.issue, &mut state.faults.revoke] {
                for _ in 0..fastrand::usize(..8) {
                    faults.push_back(match fastrand::u8(..4) {
                        0 => Fault::Lose,
                        1 => Fault::Refuse(ErrorKind::Denied),
                        2 => Fault::Refuse(ErrorKind::RateLimited),
                        _ => Fault::Refuse(ErrorKind::Unavailable),
                    });
                }
            }
        });
        if fastrand::u8(..30) == 0 {
            engine_now.shutdown().await;
            engine_now = engine(&store);
            key = engine_now.add(rotation()).await.unwrap();
        }
    }
    let generation = key.state().generation;
    assert!((8..=9).contains(&generation), "{generation}");
    sleep(2 * DAY).await;
    assert_eq!(issuer.live().len(), 1, "{:?}", issuer.live());
}
