//! Guards on several threads.

use std::collections::VecDeque;
use std::iter::repeat_with;
use std::thread;

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

#[test]
fn a_replaced_key_is_drained_only_when_no_thread_holds_a_guard() {
    const KEYS: usize = 2000;
    // More than `arc_swap` tracks without a reference count.
    const GUARDS: usize = 20;
    let (key, first) = RotatingKey::fixed("0", 0);
    let is_drained: Vec<_> = repeat_with(|| AtomicBool::new(false)).take(KEYS).collect();
    let check = |guard: KeyGuard| {
        let number: usize = guard.expose_text().unwrap().parse().unwrap();
        assert_eq!(guard.generation(), number as u64);
        assert!(!is_drained[number].load(Relaxed), "key {number} is in use");
        number
    };
    let mut earlier = Vec::new();
    let mut current = first;
    thread::scope(|scope| {
        for guards in [1, GUARDS, GUARDS] {
            let (key, check) = (&key, &check);
            scope.spawn(move || {
                let mut held = VecDeque::new();
                let mut oldest = 0;
                while oldest < KEYS - 1 {
                    held.push_back(key.acquire());
                    if held.len() >= guards {
                        oldest = held.pop_front().map_or(oldest, check);
                    }
                }
            });
        }
        for number in 1..KEYS {
            let next = key.replace(&number.to_string());
            earlier.push((number - 1, std::mem::replace(&mut current, next)));
            earlier.retain_mut(|(number, drained)| {
                let is_held = drained.try_recv() == Err(TryRecvError::Empty);
                is_drained[*number].store(!is_held, Relaxed);
                is_held
            });
        }
    });
    for (number, drained) in &mut earlier {
        assert_eq!(drained.try_recv(), Err(TryRecvError::Closed), "key {number} is not in use");
    }
    assert_eq!(current.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn reference_counts_share_no_cache_line_with_what_requests_read() {
    let (key, _drained) = RotatingKey::fixed("key", 0);
    let guard = key.acquire();
    // The reference count of an `Arc` comes right before the value.
    assert!(std::ptr::from_ref::<SharedKey>(&key.0).addr().is_multiple_of(128));
    assert!(std::ptr::from_ref(guard.generation_of()).addr().is_multiple_of(128));
}
