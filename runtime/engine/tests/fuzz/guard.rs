//! Seeds to go through, and what a case may use: memory by a limit on the allocator, time by a watchdog.

use crate::mutate::Dice;
use cap::Cap;
use std::alloc::System;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The allocator belongs to the process, so tests of this program take turns.
static ALONE: Mutex<()> = Mutex::new(());

/// The engine's own limit for activations is 1 GiB (`memory_plan.rs`); beside it stand the image, its copies, packed
/// weights and what reading the file takes.
const MEMORY: usize = (1 << 30) + (768 << 20);
/// On a busy machine, unoptimised: a case takes milliseconds.
const PATIENCE: u32 = 60; // seconds

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Guard {
    _alone: MutexGuard<'static, ()>,
    seed: u64,
    end: End,
    case: PathBuf,
    watchdog: Sender<bool>,
    /// Cases that were refused, and that ran.
    refused: u64,
    ran: u64,
}

enum End {
    Seed(u64),
    Time(Instant),
}

impl Guard {
    /// Goes through `cases` seeds; with `FUZZ_SECONDS`, as many as fit.
    pub(crate) fn new(name: &str, cases: u64) -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("FUZZ_SEED").unwrap_or(0);
        let end = match number("FUZZ_SECONDS") {
            Some(seconds) => End::Time(Instant::now() + Duration::from_secs(seconds)),
            None => End::Seed(seed + cases),
        };
        let case = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz-case").join(name);
        fs::create_dir_all(case.parent().unwrap()).unwrap();
        let watchdog = watchdog(case.clone());
        Self { _alone: alone(), seed, end, case, watchdog, refused: 0, ran: 0 }
    }

    /// The next seed's dice, until it is enough.
    pub(crate) fn next_seed(&mut self) -> Option<Dice> {
        let more = match self.end {
            End::Seed(end) => self.seed < end,
            End::Time(end) => Instant::now() < end,
        };
        self.seed += 1;
        more.then(|| Dice::new(self.seed - 1))
    }

    /// Tries one case, which tells whether it came as far as running. Too much memory or time ends the
    /// process: there is nothing to unwind from.
    pub(crate) fn watch(&mut self, bytes: &[u8], case: impl FnOnce() -> bool) {
        fs::write(&self.case, bytes).unwrap();
        self.watchdog.send(true).unwrap();
        ALLOCATOR.set_limit(ALLOCATOR.allocated() + MEMORY).unwrap();
        let ran = case();
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        self.watchdog.send(false).unwrap();
        *(if ran { &mut self.ran } else { &mut self.refused }) += 1;
    }

    /// Mutations that all fail at the first byte, or that change nothing, would prove nothing.
    #[expect(clippy::print_stdout, reason = "how much was tried")]
    pub(crate) fn finish(self) {
        let Self { refused, ran, seed, case, .. } = &self;
        println!("{}: {refused} refused, {ran} ran, seeds up to {seed}", case.display());
        assert!(*refused > 0 && *ran > 0, "{refused} refused, {ran} ran");
    }
}

/// Ends the process if a case that began does not end. Seconds are counted one by one: a machine that
/// stops everybody for a minute costs one of them.
#[expect(clippy::print_stderr, reason = "the last words of a process that hangs")]
fn watchdog(case: PathBuf) -> Sender<bool> {
    let (sender, began) = channel::<bool>();
    thread::spawn(move || {
        let mut running: Option<u32> = None;
        loop {
            match began.recv_timeout(Duration::from_secs(1)) {
                Ok(now) => running = now.then_some(0),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => running = running.map(|seconds| seconds + 1),
            }
            if running > Some(PATIENCE) {
                eprintln!("{} takes more than {PATIENCE} s", case.display());
                std::process::abort();
            }
        }
    });
    sender
}
