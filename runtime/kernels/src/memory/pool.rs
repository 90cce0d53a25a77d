//! A persistent thread pool for work inside one layer.
//!
//! Workers sleep on a condition variable between inferences. Within one, layers follow each other in
//! microseconds, so a worker that finds nothing to do looks again for a bounded time ([`LOOKS`]) before it
//! sleeps: an idle box is silent, a busy one does not pay for waking.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a worker looks for the next job before it sleeps: about 30 µs.
const LOOKS: u32 = 1000;

/// Threads that work together on one job. The calling thread is one of them, so a pool of one spawns nothing.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: one job at a time, whoever calls.
    running: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Rung when more threads may work than before.
    more: Condvar,
    /// Workers from this index on rest.
    limit: AtomicUsize,
    /// Counts jobs; copies `State::job`'s number so that workers can look without locking.
    posted: AtomicUsize,
    /// Workers that have begun.
    started: AtomicUsize,
    /// Workers that took the current job and have not finished it; raised under the lock of `state`.
    busy: AtomicUsize,
    panicked: AtomicBool,
}

#[derive(Debug)]
struct State {
    job: Option<Job>,
    number: usize,
    stop: bool,
    /// Workers that have to be woken.
    sleeping: usize,
}

/// A borrowed closure with its lifetime erased. `Pool::broadcast` does not return before every worker that
/// took it is done with it, and then nobody can take it any more.
#[derive(Debug, Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
}

// SAFETY: `data` points to a closure that is `Sync` (bound of `broadcast`), and is only used to call it.
unsafe impl Send for Job {}

impl Pool {
    /// `threads` is at least 1; the caller counts as one.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { job: None, number: 0, stop: false, sleeping: 0 }),
            wake: Condvar::new(),
            more: Condvar::new(),
            limit: AtomicUsize::new(usize::MAX),
            posted: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("kernels-{index}"))
                .spawn(move || work(&shared, index))
                .ok()
        };
        // Fewer threads than asked for are fewer threads, not an error: `threads()` tells.
        let workers: Vec<_> = (1..threads).map_while(spawn).collect();
        // To begin takes a thread time and memory: that belongs here, not beside the first jobs.
        while shared.started.load(Ordering::Acquire) < workers.len() {
            std::thread::yield_now();
        }
        Self { shared, workers, running: Mutex::new(()) }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// From the next job on so many threads work, at least 1; the others sleep. Results do not depend on it.
    pub fn limit(&self, threads: usize) {
        // Under the lock, so that no worker goes to rest on a limit that is over.
        let _state = lock(&self.shared.state);
        self.shared.limit.store(threads.max(1), Ordering::Release);
        self.shared.more.notify_all();
    }

    /// Calls `part(thread, i)` once for each `i` of `0..parts`; a thread takes the next part when it has done one.
    pub fn run(&self, parts: usize, part: impl Fn(usize, usize) + Sync) {
        let alone = self.workers.is_empty() || self.shared.limit.load(Ordering::Relaxed) == 1;
        if parts <= 1 || alone {
            (0..parts).for_each(|i| part(0, i));
            return;
        }
        let next = AtomicUsize::new(0);
        self.broadcast(&|thread| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= parts {
                    return;
                }
                part(thread, i);
            }
        });
    }

    /// Splits `0..items` into one contiguous range a thread, of at least `grain` items.
    pub fn split(&self, items: usize, grain: usize, part: impl Fn(Range<usize>) + Sync) {
        let parts = (items / grain.max(1)).clamp(1, self.threads());
        self.run(parts, |_, i| part(items * i / parts..items * (i + 1) / parts));
    }

    /// Splits the rows of `y` (`stride` apart, the last one may be shorter) over the threads:
    /// `part(first row, rows)`.
    pub(crate) fn split_rows<T: Send>(
        &self,
        y: &mut [T],
        rows: usize,
        stride: usize,
        part: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let base = Shares(y.as_mut_ptr(), y.len());
        // About 16 kB a part: less is not worth waking anybody.
        let grain = (1 << 14) / (stride * size_of::<T>()).max(1) + 1;
        self.split(rows, grain, |range| {
            let (start, end) = (
                range.start * stride,
                if range.end == rows { base.len() } else { range.end * stride },
            );
            assert!(start <= end && end <= base.len(), "fewer elements than rows");
            // SAFETY: inside the slice (just checked), and ranges of different parts are disjoint.
            let rows = unsafe { std::slice::from_raw_parts_mut(base.at(start), end - start) };
            part(range, rows);
        });
    }

    /// Calls `work` on this thread, and on each worker that comes before this thread is done.
    fn broadcast<F: Fn(usize) + Sync>(&self, work: &F) {
        unsafe fn call<F: Fn(usize)>(data: *const (), thread: usize) {
            // SAFETY: `data` was made from `&F` in `broadcast`, which waits for this call.
            let work = unsafe { &*data.cast::<F>() };
            work(thread);
        }
        let _running = lock(&self.running);
        let sleeping = {
            let mut state = lock(&self.shared.state);
            state.job = Some(Job { data: std::ptr::from_ref(work).cast(), call: call::<F> });
            state.number = state.number.wrapping_add(1);
            self.shared.posted.store(state.number, Ordering::Release);
            state.sleeping
        };
        if sleeping > 0 {
            self.shared.wake.notify_all(); // a call of the system even where nobody sleeps
        }
        // Waits even when `work(0)` unwinds: workers must be done with the borrow first.
        let wait = WaitForWorkers(&self.shared);
        work(0);
        drop(wait);
        assert!(
            !self.shared.panicked.swap(false, Ordering::Relaxed),
            "a worker of the pool panicked"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.shared.state);
            state.stop = true;
            state.number = state.number.wrapping_add(1);
            self.shared.posted.store(state.number, Ordering::Release);
        }
        self.shared.wake.notify_all();
        self.shared.more.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of jobs, so joining cannot fail for a reason worth reporting from `drop`.
            drop(worker.join());
        }
    }
}

fn work(shared: &Shared, index: usize) {
    shared.started.fetch_add(1, Ordering::Release);
    let mut seen = 0;
    loop {
        if index >= shared.limit.load(Ordering::Acquire) {
            let mut state = lock(&shared.state);
            while index >= shared.limit.load(Ordering::Acquire) && !state.stop {
                state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // What was posted meanwhile is done by others.
            seen = state.number;
            if state.stop {
                return;
            }
        }
        for _ in 0..LOOKS {
            if shared.posted.load(Ordering::Acquire) != seen {
                break;
            }
            std::hint::spin_loop();
        }
        let job = {
            let mut state = lock(&shared.state);
            while state.number == seen {
                state.sleeping += 1;
                state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.sleeping -= 1;
            }
            if state.stop {
                return;
            }
            seen = state.number;
            if state.job.is_some() {
                shared.busy.fetch_add(1, Ordering::Relaxed);
            }
            state.job
        };
        let Some(job) = job else { continue };
        let call = std::panic::AssertUnwindSafe(|| {
            // SAFETY: the closure lives until `busy` is back at 0, which this worker brings about after the call.
            unsafe { (job.call)(job.data, index) }
        });
        if std::panic::catch_unwind(call).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

struct WaitForWorkers<'a>(&'a Shared);

impl Drop for WaitForWorkers<'_> {
    fn drop(&mut self) {
        // Who has not come by now (it takes long to wake) finds nothing, and is not waited for.
        lock(&self.0.state).job = None;
        let mut looks = 0;
        while self.0.busy.load(Ordering::Acquire) != 0 {
            looks += 1;
            if looks < LOOKS * 4 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now(); // another program has our worker's core: let it finish
            }
        }
    }
}

/// A pointer that may cross threads; every user takes a part of its own.
struct Shares<T>(*mut T, usize);

// SAFETY: only `split_rows` makes one, and it hands disjoint parts to the threads.
unsafe impl<T: Send> Sync for Shares<T> {}

impl<T> Shares<T> {
    fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }

    fn len(&self) -> usize {
        self.1
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // nothing is left half-done under our locks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_exactly_once_and_before_run_returns() {
        for threads in [1, 2, 3, 5] {
            let pool = Pool::new(threads);
            for parts in [0, 1, 2, 7, 64] {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, |_, i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {parts} parts"
                );
            }
        }
    }

    #[test]
    fn a_limit_changes_who_works_and_not_what_is_done() {
        let pool = Pool::new(4);
        for round in 0..400 {
            let limit = [4, 1, 2, 3, 9][round % 5];
            pool.limit(limit);
            // A worker on its way may still take one job of before.
            pool.run(8, |_, _| {});
            let done: Vec<AtomicUsize> = (0..16).map(|_| AtomicUsize::new(0)).collect();
            pool.run(done.len(), |thread, i| {
                assert!(thread == 0 || limit > 1, "thread {thread} works beside the only one");
                done[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{limit}");
        }
    }

    #[test]
    fn workers_that_come_late_do_not_touch_a_job_that_is_over() {
        let pool = Pool::new(3);
        for round in 0..3000 {
            // Borrowed from a stack frame that is gone in the next round; now and then the workers fall
            // asleep between jobs.
            let parts: Vec<AtomicUsize> = (0..round % 5).map(|_| AtomicUsize::new(round)).collect();
            pool.run(parts.len(), |_, i| {
                assert_eq!(parts[i].swap(usize::MAX, Ordering::Relaxed), round);
            });
            assert!(parts.iter().all(|part| part.load(Ordering::Relaxed) == usize::MAX));
            if round % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn rows_are_split_without_gaps_or_overlap() {
        let pool = Pool::new(3);
        let mut y = vec![0u8; 999 * 1000 + 7];
        pool.split_rows(&mut y, 1000, 999, |rows, part| {
            part.fill(1);
            assert!(part.len() >= (rows.len() - 1) * 999);
        });
        assert!(y.iter().all(|b| *b == 1));
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(2);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(2, |_, i| assert!(i == 0))
        }));
        assert!(caught.is_err());
        let done = AtomicUsize::new(0);
        pool.run(4, |_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 4);
    }
}
