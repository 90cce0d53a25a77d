//! How many threads work on one image, and on which cores.
//!
//! A thread begins on the cores of the thread that started it. So the threads of a bundle are bound by binding who
//! loads it, for as long as loading takes; the worker, which is one of them, is bound for good.

use crate::config::WorkerConfig;
use protocol::Profile;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{io, num::NonZero, path::Path, thread};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Threads {
    /// At least 1.
    pub(crate) count: usize,
    /// Empty: the system decides.
    pub(crate) cores: Vec<u16>,
}

impl Threads {
    /// Wherever the system likes.
    pub(crate) fn unbound(count: usize) -> Self {
        Self { count, cores: Vec::new() }
    }

    /// As the machine is, unless the configuration says otherwise. Cores that we may not use are not counted on.
    pub(super) fn choose(profile: &Profile, config: &WorkerConfig) -> Self {
        let allowed = Allowed::on(&config.sysroot);
        Self::among(profile, config, &allowed)
    }

    pub(super) fn among(profile: &Profile, config: &WorkerConfig, allowed: &Allowed) -> Self {
        let is_ours = |core: &u16| allowed.cores.as_ref().is_none_or(|cores| cores.contains(core));
        let chosen: Vec<u16> = profile.chosen.iter().copied().filter(is_ours).collect();
        let most = allowed.at_a_time.unwrap_or(usize::MAX);
        let count = config.threads.unwrap_or_else(|| chosen.len().min(most)).max(1);
        // More threads than cores would wait for each other on them.
        let pinned = config.pin.unwrap_or(profile.pinned) && count <= chosen.len();
        Self { count, cores: if pinned { chosen } else { Vec::new() } }
    }

    /// Runs `work` with this thread on our cores; threads that it starts stay there.
    pub(crate) fn bound<T>(&self, work: impl FnOnce() -> T) -> T {
        let _bound = self.bind();
        work()
    }

    /// Until the guard is dropped. A system that refuses is one where threads go anywhere: slower, not wrong.
    pub(crate) fn bind(&self) -> Option<Bound> {
        if self.cores.is_empty() {
            return None;
        }
        Bound::to(&self.cores)
            .inspect_err(|error| log::warn!("threads cannot be bound to {:?}: {error}", self.cores))
            .ok()
    }
}

/// What this process may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// By its affinity; `None`: unknown.
    pub(super) cores: Option<Vec<u16>>,
    /// By its affinity and the share of time that its control group gets.
    pub(super) at_a_time: Option<usize>,
}

impl Allowed {
    /// Of a made tree we know nothing but what it says.
    fn on(sysroot: &Path) -> Self {
        if sysroot != Path::new("/") {
            return Self::default();
        }
        let set = sched_getaffinity(None).ok();
        let numbers = |set: CpuSet| {
            (0..CpuSet::MAX_CPU)
                .filter(|&at| set.is_set(at))
                .filter_map(|at| u16::try_from(at).ok())
                .collect()
        };
        let at_a_time = thread::available_parallelism().ok().map(NonZero::get);
        Self { cores: set.map(numbers), at_a_time }
    }
}

/// This thread is on some cores; back where it was when dropped.
#[derive(Debug)]
pub(crate) struct Bound(CpuSet);

impl Bound {
    fn to(cores: &[u16]) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut set = CpuSet::new();
        for core in cores.iter().copied().map(usize::from).filter(|core| *core < CpuSet::MAX_CPU) {
            set.set(core);
        }
        sched_setaffinity(None, &set)?;
        Ok(Self(before))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(None, &self.0) {
            log::warn!("a thread stays on the cores that it was bound to: {error}");
        }
    }
}
