//! Fair timing within one process.
//!
//! A machine's speed drifts while it measures. Subjects that are compared therefore take turns,
//! round by round, and a ratio is computed within each round before the median is taken.
//!
//! Several threads only hinder each other while they run at the same time. The scheduler often gives
//! a thread that has just been woken the processor of the thread that woke it, and another program
//! may take a processor away: both look as if each operation cost twice as much. Threads therefore
//! spin until all of them run, in many short batches, and the median batch counts.

use std::hint::{black_box, spin_loop};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;

/// How many turns each subject gets, and how long they are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many turns.
    pub rounds: usize,
    /// How long a turn lasts at least; an operation that is slower alone is run once per turn.
    pub turn: Duration,
}

/// For operations within this process.
pub const BRISK: Pace = Pace { rounds: 41, turn: Duration::from_millis(5) };

/// How many batches a turn of several threads has, at most.
const BATCHES: u32 = 64;
/// How often threads meet before the first batch. Two threads on one processor need a time slice to
/// meet once, so the scheduler has about 100 ms to give each thread a processor.
const MEETINGS: u32 = 32;

/// An operation to time. What it returns is dropped within the measured time.
pub struct Subject<'a>(Turn<'a>);

/// Runs the operation so many times, on at most so many threads, and returns the time taken.
type Turn<'a> = Box<dyn FnMut(u32, usize) -> Duration + 'a>;

impl<'a> Subject<'a> {
    /// A plain function.
    pub fn new<T>(mut operation: impl FnMut() -> T + 'a) -> Self {
        Self(Box::new(move |times, _| {
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
        Self(Box::new(move |times, _| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    black_box(operation().await);
                }
                start.elapsed()
            })
        }))
    }

    /// An asynchronous function of which so many are under way at a time.
    ///
    /// The time of one operation is then the inverse of how many are done per second.
    pub fn at_once<F: Future>(
        runtime: &'a Runtime,
        at_once: usize,
        mut operation: impl FnMut() -> F + 'a,
    ) -> Self {
        Self(Box::new(move |times, _| {
            runtime.block_on(async {
                let start = Instant::now();
                let operations = stream::iter(0..times).map(|_| operation());
                let mut done = operations.buffer_unordered(at_once);
                while let Some(result) = done.next().await {
                    black_box(result);
                }
                start.elapsed()
            })
        }))
    }

    /// A function that so many threads run at once, each of them as often as one alone would.
    ///
    /// The threads live for a turn and begin each batch together. The time of one operation is that
    /// from the first beginning to the last end of the median batch, divided by how often each
    /// thread ran it: threads that do not hinder each other take as long as one.
    pub fn on_threads<T>(threads: usize, operation: impl Fn() -> T + Sync + 'a) -> Self {
        Self(Box::new(move |times, most_threads| {
            let work = |times| {
                for _ in 0..times {
                    black_box(operation());
                }
            };
            together((0..threads.min(most_threads)).map(|_| &work), times)
        }))
    }

    /// As [`on_threads`](Self::on_threads), for an asynchronous function: one thread for each of
    /// the runtimes, which it enters once per batch.
    pub fn awaiting_on_threads<F: Future>(
        runtimes: &'a [Runtime],
        operation: impl Fn() -> F + Sync + 'a,
    ) -> Self {
        Self(Box::new(move |times, most_threads| {
            let operation = &operation;
            let work = |runtime: &'a Runtime| {
                move |times| {
                    runtime.block_on(async {
                        for _ in 0..times {
                            black_box(operation().await);
                        }
                    });
                }
            };
            together(runtimes.iter().take(most_threads).map(work), times)
        }))
    }

    /// How many operations fill a turn of one thread. Trying it out warms the caches, too.
    fn times_per_turn(&mut self, turn: Duration) -> u32 {
        let mut times = 1;
        loop {
            let taken = (self.0)(times, 1);
            if taken >= turn || times > u32::MAX / 2 {
                return times;
            }
            times *= 2;
        }
    }
}

/// Gives each piece of work a thread and runs it so many times there, in batches that begin together.
/// Returns the time from the first beginning to the last end of the median batch, times the number of
/// batches.
fn together<W: Fn(u32) + Send>(work: impl Iterator<Item = W>, times: u32) -> Duration {
    let work: Vec<_> = work.collect();
    let batches = times.clamp(1, BATCHES);
    let times_per_batch = times.div_ceil(batches);
    let barrier = &SpinBarrier::new(work.len());
    let threads: Vec<Vec<(Instant, Instant)>> = thread::scope(|scope| {
        let begin = |work: W| {
            scope.spawn(move || {
                let mut member = barrier.join();
                for _ in 0..MEETINGS {
                    member.wait();
                }
                let batch = |_| {
                    member.wait();
                    let start = Instant::now();
                    work(times_per_batch);
                    (start, Instant::now())
                };
                (0..batches).map(batch).collect()
            })
        };
        let threads: Vec<_> = work.into_iter().map(begin).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|spans| spans.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let batch = |number: usize| {
        let spans = threads.iter().filter_map(|spans| spans.get(number));
        let first = spans.clone().map(|(start, _)| *start).min();
        let last = spans.map(|(_, end)| *end).max();
        first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64())
    };
    let median = median((0..batches as usize).map(batch));
    Duration::from_secs_f64(median * f64::from(times) / f64::from(times_per_batch.max(1)))
}

/// Lets threads meet again and again, and go on within nanoseconds of each other.
struct SpinBarrier {
    threads: usize,
    arrivals: AtomicUsize,
}

impl SpinBarrier {
    /// More arrivals than any number of meetings needs.
    const OPEN: usize = usize::MAX / 1024;

    fn new(threads: usize) -> Self {
        Self { threads, arrivals: AtomicUsize::new(0) }
    }

    fn join(&self) -> BarrierMember<'_> {
        BarrierMember { barrier: self, awaited: 0 }
    }
}

/// A thread that meets others. The others do not wait for it once it is dropped, as by a panic.
struct BarrierMember<'a> {
    barrier: &'a SpinBarrier,
    awaited: usize,
}

impl BarrierMember<'_> {
    /// Waits until all threads wait, without giving the processor to another thread.
    fn wait(&mut self) {
        self.awaited += self.barrier.threads;
        self.barrier.arrivals.fetch_add(1, Ordering::AcqRel);
        while self.barrier.arrivals.load(Ordering::Acquire) < self.awaited {
            spin_loop();
        }
    }
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        self.barrier.arrivals.fetch_add(SpinBarrier::OPEN, Ordering::AcqRel);
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

/// Times the subjects in turns, A B C, A B C, …, at the pace [`BRISK`].
#[must_use]
pub fn compare<const N: usize>(mut subjects: [Subject<'_>; N]) -> [Timing; N] {
    let times = subjects.each_mut().map(|subject| subject.times_per_turn(BRISK.turn));
    take_turns(BRISK.rounds, subjects, times)
}

/// As [`compare`], at another pace, for subjects that take about the same time: every turn is of
/// as many operations, so that what a turn costs at its ends weighs on all alike.
#[must_use]
pub fn compare_alike<const N: usize>(pace: Pace, mut subjects: [Subject<'_>; N]) -> [Timing; N] {
    let times = subjects.each_mut().map(|subject| subject.times_per_turn(pace.turn));
    let most = times.into_iter().max().unwrap_or(1);
    take_turns(pace.rounds, subjects, [most; N])
}

fn take_turns<const N: usize>(
    rounds: usize,
    mut subjects: [Subject<'_>; N],
    times: [u32; N],
) -> [Timing; N] {
    let mut timings = [(); N].map(|()| Timing(Vec::with_capacity(rounds)));
    for _ in 0..rounds {
        for ((subject, times), timing) in subjects.iter_mut().zip(times).zip(&mut timings) {
            let taken = (subject.0)(times, usize::MAX);
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
mod tests;
