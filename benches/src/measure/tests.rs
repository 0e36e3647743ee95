//! Tests of the harness, on threads that share nothing, a cache line, or a counter.

use std::cell::{Cell, RefCell};
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use tokio::runtime::Builder;

use super::*;

#[test]
#[expect(clippy::float_cmp, reason = "the expected values are exact")]
fn ratios_are_taken_round_by_round() {
    // The machine became ten times slower on the way; the ratio did not change.
    let base = Timing(vec![1.0, 10.0, 10.0]);
    let own = Timing(vec![2.0, 20.0, 20.0]);
    assert_eq!(own.over(&base), 2.0);
    assert_eq!(own.median(), 20.0);
    assert_eq!(own.min(), 2.0);
    assert_eq!(Timing::sum(&[&own, &base]).0, [3.0, 30.0, 30.0]);
}

#[test]
#[expect(clippy::float_cmp, reason = "the expected values are exact")]
fn the_median_of_an_even_number_lies_between() {
    assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    assert!(median(std::iter::empty()).is_nan());
}

#[test]
fn samples_of_similar_subjects_have_the_same_number_of_iterations() {
    let latest = RefCell::new([0; 2]);
    // One operation takes a half and a quarter of a sample.
    let subject = |index: usize, fraction| {
        let latest = &latest;
        Subject(Box::new(move |times, _| {
            latest.borrow_mut()[index] = times;
            IN_PROCESS.sample_time * times / fraction
        }))
    };
    let timings = compare_alike(IN_PROCESS, [subject(0, 2), subject(1, 4)]);
    assert_eq!(timings.map(|timing| timing.0.len()), [IN_PROCESS.rounds; 2]);
    assert_eq!(latest.into_inner(), [4, 4]);
}

#[test]
fn concurrent_operations_overlap() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let (started, under_way, most) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut subject = Subject::concurrent(&runtime, 3, || async {
        started.set(started.get() + 1);
        under_way.set(under_way.get() + 1);
        most.set(most.get().max(under_way.get()));
        tokio::task::yield_now().await;
        under_way.set(under_way.get() - 1);
    });
    (subject.0)(10, usize::MAX);
    drop(subject);
    assert_eq!((started.get(), under_way.get(), most.get()), (10, 0, 3));
}

#[test]
fn threads_run_concurrently_and_as_often_as_one() {
    const PAUSE: Duration = Duration::from_millis(1);
    // No thread passes the barrier before the other arrives.
    let (both, done) = (Barrier::new(2), AtomicU32::new(0));
    let operation = || {
        both.wait();
        thread::sleep(PAUSE);
        done.fetch_add(1, Ordering::Relaxed);
    };
    let runtimes = [(); 2].map(|()| Builder::new_current_thread().build().unwrap());
    let subjects = [
        Subject::on_threads(2, operation),
        Subject::awaiting_on_threads(&runtimes, || async { operation() }),
    ];
    for (mut subject, done_by_then) in subjects.into_iter().zip([6, 12]) {
        assert!((subject.0)(3, usize::MAX) >= 3 * PAUSE);
        assert_eq!(done.load(Ordering::Relaxed), done_by_then);
    }
}

#[test]
fn a_delayed_batch_does_not_count() {
    const PAUSE: Duration = Duration::from_millis(50);
    let calls = AtomicU32::new(0);
    let mut subject = Subject::on_threads(1, || {
        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
            thread::sleep(PAUSE);
        }
    });
    assert!((subject.0)(BATCHES, usize::MAX) < PAUSE);
    assert_eq!(calls.load(Ordering::Relaxed), BATCHES);
}

#[test]
#[should_panic = "stop"]
fn a_thread_that_panics_does_not_keep_the_others_waiting() {
    let calls = AtomicU32::new(0);
    let mut subject = Subject::on_threads(2, || {
        assert!(calls.fetch_add(1, Ordering::Relaxed) != 5, "stop");
    });
    (subject.0)(BATCHES, usize::MAX);
}

#[test]
fn each_round_samples_every_subject() {
    let order = RefCell::new(Vec::new());
    // One operation fills a sample, so each sample has one iteration.
    let subject = |name| {
        Subject(Box::new({
            let order = &order;
            move |_, _| {
                order.borrow_mut().push(name);
                IN_PROCESS.sample_time
            }
        }))
    };
    let [a, b] = compare([subject('a'), subject('b')]);
    assert_eq!((a.0.len(), b.0.len()), (IN_PROCESS.rounds, IN_PROCESS.rounds));
    let order: String = order.into_inner().into_iter().collect();
    assert_eq!(order, "ab".repeat(IN_PROCESS.rounds + 1));
}
