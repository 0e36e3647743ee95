//! Fair timing within one process.
//!
//! A machine's speed drifts while it measures. Subjects that are compared therefore take turns,
//! round by round, and a ratio is computed within each round before the median is taken.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// How many turns each subject gets.
pub const ROUNDS: usize = 41;

/// How long a turn lasts at least; an operation that is slower alone is run once per turn.
pub const TURN: Duration = Duration::from_millis(5);

/// An operation to time. What it returns is dropped within the measured time.
pub struct Subject<'a>(Turn<'a>);

/// Runs the operation so many times and returns the time taken.
type Turn<'a> = Box<dyn FnMut(u32) -> Duration + 'a>;

impl<'a> Subject<'a> {
    /// A plain function.
    pub fn new<T>(mut operation: impl FnMut() -> T + 'a) -> Self {
        Self(Box::new(move |times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(operation());
            }
            start.elapsed()
        }))
    }

    /// An asynchronous function. The runtime is entered once per turn, not once per operation.
    pub fn awaiting<F: Future>(
        runtime: &'a Runtime,
        mut operation: impl FnMut() -> F + 'a,
    ) -> Self {
        Self(Box::new(move |times| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    black_box(operation().await);
                }
                start.elapsed()
            })
        }))
    }

    /// How many operations fill a turn. Trying it out warms the caches, too.
    fn times_per_turn(&mut self) -> u32 {
        let mut times = 1;
        loop {
            let taken = (self.0)(times);
            if taken >= TURN || times > u32::MAX / 2 {
                return times;
            }
            times *= 2;
        }
    }
}

/// The time of one operation in each round, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Timing(Vec<f64>);

impl Timing {
    /// The median over all rounds, in nanoseconds per operation.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(self.0.iter().copied())
    }

    /// The fastest round, in nanoseconds per operation.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// How many times the cost of `base` this is: the median of the ratios of each round.
    ///
    /// Both must come from the same [`compare`].
    #[must_use]
    pub fn over(&self, base: &Self) -> f64 {
        median(self.0.iter().zip(&base.0).map(|(own, base)| own / base))
    }

    /// The cost of several parts one after the other, round by round.
    ///
    /// All must come from the same [`compare`].
    #[must_use]
    pub fn sum(parts: &[&Self]) -> Self {
        let rounds = parts.iter().map(|part| part.0.len()).min().unwrap_or(0);
        let at = |round| parts.iter().filter_map(|part| part.0.get(round)).sum();
        Self((0..rounds).map(at).collect())
    }
}

/// Times the subjects in turns: A B C, A B C, …
#[must_use]
pub fn compare<const N: usize>(mut subjects: [Subject<'_>; N]) -> [Timing; N] {
    let times = subjects.each_mut().map(Subject::times_per_turn);
    let mut timings = [(); N].map(|()| Timing(Vec::with_capacity(ROUNDS)));
    for _ in 0..ROUNDS {
        for ((subject, times), timing) in subjects.iter_mut().zip(times).zip(&mut timings) {
            let taken = (subject.0)(times);
            timing.0.push(taken.as_secs_f64() * 1e9 / f64::from(times));
        }
    }
    timings
}

/// The middle value, or the mean of the two middle values; NaN if there is none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().saturating_sub(1) / 2;
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

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
    fn subjects_take_turns() {
        let order = RefCell::new(Vec::new());
        // Slow enough to fill a turn alone, so that every turn is one operation.
        let subject = |name| {
            Subject(Box::new({
                let order = &order;
                move |_| {
                    order.borrow_mut().push(name);
                    TURN
                }
            }))
        };
        let [a, b] = compare([subject('a'), subject('b')]);
        assert_eq!((a.0.len(), b.0.len()), (ROUNDS, ROUNDS));
        let order: String = order.into_inner().into_iter().collect();
        assert_eq!(order, "ab".repeat(ROUNDS + 1));
    }
}
