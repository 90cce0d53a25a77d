//! Whether the thread that matters still moves: the daemon's worker, the agent's watch.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A thread says when it will be heard of again; whoever watches sees by how much it is late.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    /// Milliseconds since `started`.
    due: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeat {
    pub fn new() -> Self {
        Self { started: Instant::now(), due: AtomicU64::new(0) }
    }

    /// Alive, and about to wait for `pause`, or to work.
    pub fn beat(&self, pause: Duration) {
        let due = self.started.elapsed().saturating_add(pause).as_millis();
        self.due.store(u64::try_from(due).unwrap_or(u64::MAX), Relaxed);
    }

    /// How late it is.
    pub fn late(&self, now: Instant) -> Duration {
        let due = Duration::from_millis(self.due.load(Relaxed));
        now.saturating_duration_since(self.started).saturating_sub(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_waits_as_it_said_is_not_late() {
        let heartbeat = Heartbeat::new();
        let now = Instant::now();
        let seconds = Duration::from_secs;
        heartbeat.beat(seconds(64));
        assert_eq!(heartbeat.late(now + seconds(60)), Duration::ZERO);
        assert_eq!(heartbeat.late(now + seconds(100)).as_secs().abs_diff(36), 0);
        heartbeat.beat(Duration::ZERO);
        assert!(heartbeat.late(now + seconds(60)) > seconds(59));
        heartbeat.beat(Duration::MAX);
        assert_eq!(heartbeat.late(now + seconds(1_000_000)), Duration::ZERO);
    }
}
