//! Comparable timings within one process.
//!
//! The speed of a machine drifts during a measurement. Therefore each round takes one sample of each subject,
//! ratios are computed within a round, and the median over the rounds counts.
//!
//! Threads contend only while they run at the same time. The scheduler often runs a woken thread on the
//! processor of the thread that woke it, and another program can occupy a processor; both make each operation
//! look twice as expensive. Therefore threads spin until all of them run, in many short batches, and the
//! median batch counts.

use std::hint::{black_box, spin_loop};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;

/// The number and the length of the samples of each subject.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// The number of samples.
    pub rounds: usize,
    /// The minimum length of a sample. A slower operation runs once per sample.
    pub sample_time: Duration,
}

/// For operations within this process.
pub const IN_PROCESS: Sampling = Sampling { rounds: 41, sample_time: Duration::from_millis(5) };

/// The maximum number of batches in a sample of several threads.
const BATCHES: u32 = 64;
/// How often threads synchronize before the first batch. Two threads on one processor need a time slice to
/// synchronize once, so the scheduler has about 100 ms to give each thread its own processor.
const WARM_UP_BARRIERS: u32 = 32;

/// An operation to time. The time includes the drop of its result.
pub struct Subject<'a>(Sample<'a>);

/// Takes the number of iterations and the maximum number of threads, runs the operation, and returns the time.
type Sample<'a> = Box<dyn FnMut(u32, usize) -> Duration + 'a>;

impl<'a> Subject<'a> {
    /// A synchronous function.
    pub fn new<T>(mut operation: impl FnMut() -> T + 'a) -> Self {
        Self(Box::new(move |times, _| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(operation());
            }
            start.elapsed()
        }))
    }

    /// An asynchronous function. Each sample enters the runtime once.
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

    /// An asynchronous function with this number of concurrent calls.
    ///
    /// The time of one operation is the inverse of the throughput.
    pub fn concurrent<F: Future>(
        runtime: &'a Runtime,
        concurrency: usize,
        mut operation: impl FnMut() -> F + 'a,
    ) -> Self {
        Self(Box::new(move |times, _| {
            runtime.block_on(async {
                let start = Instant::now();
                let operations = stream::iter(0..times).map(|_| operation());
                let mut done = operations.buffer_unordered(concurrency);
                while let Some(result) = done.next().await {
                    black_box(result);
                }
                start.elapsed()
            })
        }))
    }

    /// A function that this number of threads run concurrently, each of them as often as a single thread.
    ///
    /// The threads live for one sample and start each batch together. The time of one operation is the time
    /// from the first start to the last end of the median batch, divided by the iterations of each thread:
    /// threads without contention take as long as one.
    pub fn on_threads<T>(threads: usize, operation: impl Fn() -> T + Sync + 'a) -> Self {
        Self(Box::new(move |times, most_threads| {
            let work = |times| {
                for _ in 0..times {
                    black_box(operation());
                }
            };
            run_threads((0..threads.min(most_threads)).map(|_| &work), times)
        }))
    }

    /// Like [`on_threads`](Self::on_threads), for an asynchronous function: one thread per runtime, which
    /// enters its runtime once per batch.
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
            run_threads(runtimes.iter().take(most_threads).map(work), times)
        }))
    }

    /// The number of iterations that fill a sample of one thread. The trial runs also warm the caches.
    fn iterations_per_sample(&mut self, sample_time: Duration) -> u32 {
        let mut times = 1;
        loop {
            let taken = (self.0)(times, 1);
            if taken >= sample_time || times > u32::MAX / 2 {
                return times;
            }
            times *= 2;
        }
    }
}

/// Runs each piece of work on its own thread, in batches that start together. Returns the time from the first
/// start to the last end of the median batch, multiplied by the number of batches.
fn run_threads<W: Fn(u32) + Send>(work: impl Iterator<Item = W>, times: u32) -> Duration {
    let work: Vec<_> = work.collect();
    let batches = times.clamp(1, BATCHES);
    let times_per_batch = times.div_ceil(batches);
    let barrier = &SpinBarrier::new(work.len());
    let threads: Vec<Vec<(Instant, Instant)>> = thread::scope(|scope| {
        let spawn = |work: W| {
            scope.spawn(move || {
                let mut member = barrier.join();
                for _ in 0..WARM_UP_BARRIERS {
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
        let threads: Vec<_> = work.into_iter().map(spawn).collect();
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

/// A reusable barrier that releases its threads within nanoseconds of each other.
struct SpinBarrier {
    threads: usize,
    arrivals: AtomicUsize,
}

impl SpinBarrier {
    /// More arrivals than any number of barriers needs.
    const OPEN: usize = usize::MAX / 1024;

    fn new(threads: usize) -> Self {
        Self { threads, arrivals: AtomicUsize::new(0) }
    }

    fn join(&self) -> BarrierMember<'_> {
        BarrierMember { barrier: self, awaited: 0 }
    }
}

/// A thread at the barrier. The others do not wait for it after its drop, for example in a panic.
struct BarrierMember<'a> {
    barrier: &'a SpinBarrier,
    awaited: usize,
}

impl BarrierMember<'_> {
    /// Waits until all threads wait, and does not yield the processor.
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

/// Samples the subjects in the order A B C, A B C, … with [`IN_PROCESS`].
#[must_use]
pub fn compare<const N: usize>(mut subjects: [Subject<'_>; N]) -> [Timing; N] {
    let times =
        subjects.each_mut().map(|subject| subject.iterations_per_sample(IN_PROCESS.sample_time));
    run_rounds(IN_PROCESS.rounds, subjects, times)
}

/// Like [`compare`], with another sampling, for subjects of about the same speed. All samples have the same
/// number of iterations, so the overhead of a sample is the same for all subjects.
#[must_use]
pub fn compare_alike<const N: usize>(
    sampling: Sampling,
    mut subjects: [Subject<'_>; N],
) -> [Timing; N] {
    let times =
        subjects.each_mut().map(|subject| subject.iterations_per_sample(sampling.sample_time));
    let most = times.into_iter().max().unwrap_or(1);
    run_rounds(sampling.rounds, subjects, [most; N])
}

fn run_rounds<const N: usize>(
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
