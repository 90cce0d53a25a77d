//! Ends a trial that nobody confirms in time, or during which the health check keeps failing.

use super::{Agent, Folder, Slots, command, config, now};
use protocol::{Cause, Digest, SlotId};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The trial under way, as first seen.
#[derive(Debug)]
struct Watched {
    slot: SlotId,
    sha256: Option<Digest>,
    since: Instant,
    next_check: Instant,
    /// Health checks that failed in a row.
    failures: u8,
    why_unhealthy: String,
    /// How often in a row the trial could not be ended, and when to try again.
    refusals: u32,
    retry_at: Instant,
}

/// What is to be done about a trial.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Wait(Duration),
    /// The health check, for at most this long.
    Check(Duration),
    End(Cause, String),
}

pub(super) fn watch(agent: &Agent) {
    let mut watched = None;
    loop {
        let generation = agent.slots().record().generation;
        watched = seen(agent, watched);
        let limits = &agent.config.trial;
        let due = match &watched {
            Some(trial) => trial.due(limits, Instant::now()),
            None => Due::Wait(Duration::from_secs(3600)),
        };
        match (due, &mut watched) {
            (Due::Check(most), Some(trial)) => {
                let outcome = command::run(&limits.health, None, most);
                trial.checked(outcome, limits, Instant::now());
            }
            (Due::End(cause, detail), Some(trial)) => {
                if !end(agent, trial, cause, &detail) {
                    trial.refused(Instant::now());
                }
            }
            (Due::Wait(time), _) => wait(agent, generation, time),
            (Due::Check(_) | Due::End(..), None) => {}
        }
    }
}

impl Watched {
    fn new(slot: SlotId, sha256: Option<Digest>, limits: &config::Trial, now: Instant) -> Self {
        Self {
            slot,
            sha256,
            since: now,
            next_check: now + limits.health_every,
            failures: 0,
            why_unhealthy: String::new(),
            refusals: 0,
            retry_at: now,
        }
    }

    fn due(&self, limits: &config::Trial, now: Instant) -> Due {
        let left = limits.timeout.saturating_sub(now.saturating_duration_since(self.since));
        let checks = !limits.health.is_empty();
        let end = if left.is_zero() {
            let limit = humantime::format_duration(limits.timeout);
            let detail = format!("no confirm within {limit} of the activation or start");
            Some((Cause::NotConfirmed, detail))
        } else if checks && self.failures >= limits.health_failures {
            Some((Cause::Health, self.why_unhealthy.clone()))
        } else {
            None
        };
        if let Some((cause, detail)) = end {
            let until_retry = self.retry_at.saturating_duration_since(now);
            return if until_retry.is_zero() {
                Due::End(cause, detail)
            } else {
                Due::Wait(until_retry)
            };
        }
        let until_check = self.next_check.saturating_duration_since(now);
        match (checks, until_check.is_zero()) {
            (false, _) => Due::Wait(left),
            (true, false) => Due::Wait(left.min(until_check)),
            (true, true) => Due::Check(limits.health_every.min(left)),
        }
    }

    fn checked(&mut self, outcome: Result<(), String>, limits: &config::Trial, now: Instant) {
        self.next_check = now + limits.health_every;
        match outcome {
            Ok(()) => self.failures = 0,
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                log::warn!("health check {} of {}: {why}", self.failures, limits.health_failures);
                self.why_unhealthy = why;
            }
        }
    }

    /// The disk did not take the end of the trial: again after 1, 2, 4 … 64 seconds.
    fn refused(&mut self, now: Instant) {
        self.retry_at = now + Duration::from_secs(1 << self.refusals.min(6));
        self.refusals = self.refusals.saturating_add(1);
    }
}

/// The trial of the boot record; the clock goes on if it is the one seen before.
fn seen(agent: &Agent, before: Option<Watched>) -> Option<Watched> {
    let (slot, sha256) = {
        let slots = agent.slots();
        let (slot, _) = slots.record().trial()?;
        (slot, slots.record().slot(slot).sha256)
    };
    let same = before.filter(|watched| (watched.slot, watched.sha256) == (slot, sha256));
    same.or_else(|| Some(Watched::new(slot, sha256, &agent.config.trial, Instant::now())))
}

/// Sleeps until the boot record is another one than `generation`, or for `time`.
fn wait(agent: &Agent, generation: u64, time: Duration) {
    let slots = agent.slots();
    // Who changes the record needs this lock, and rings afterwards: no change can slip in between.
    let unchanged = |slots: &mut Slots<Folder>| slots.record().generation == generation;
    let _ = agent
        .changed
        .wait_timeout_while(slots, time, unchanged)
        .unwrap_or_else(PoisonError::into_inner);
}

/// Ends the trial, unless it was confirmed or rolled back in the meantime; `false` if the disk refuses.
fn end(agent: &Agent, trial: &Watched, cause: Cause, detail: &str) -> bool {
    let before = {
        let mut slots = agent.slots();
        let record = slots.record();
        let before = record.active;
        if record.trial().map(|(slot, _)| (slot, record.slot(slot).sha256))
            != Some((trial.slot, trial.sha256))
        {
            return true;
        }
        log::error!("the trial of slot {} ends, {cause}: {detail}", trial.slot);
        if let Err(refusal) = slots.fail(trial.slot, cause, detail, now()) {
            log::error!("cannot end the trial: {refusal}");
            return false;
        }
        before
    };
    agent.announce(before);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::agent;

    fn limits(health: &[&str]) -> config::Trial {
        config::Trial {
            timeout: Duration::from_secs(600),
            attempts: 3,
            health: health.iter().map(|word| (*word).to_owned()).collect(),
            health_every: Duration::from_secs(10),
            health_failures: 3,
        }
    }

    /// A full disk at the time-out once made a loop that wrote, failed and logged without a pause.
    #[test]
    fn a_trial_that_cannot_be_ended_is_ended_later_with_growing_pauses() {
        let limits = limits(&[]);
        let start = Instant::now();
        let mut trial = Watched::new(SlotId::A, None, &limits, start);
        assert_eq!(trial.due(&limits, start), Due::Wait(limits.timeout));
        let mut now = start + limits.timeout;
        for seconds in [1, 2, 4, 8, 16, 32, 64, 64] {
            assert!(matches!(trial.due(&limits, now), Due::End(Cause::NotConfirmed, _)));
            trial.refused(now);
            let pause = Duration::from_secs(seconds);
            assert_eq!(trial.due(&limits, now), Due::Wait(pause));
            now += pause;
        }
    }

    #[test]
    fn an_unhealthy_trial_ends_and_counts_no_further_than_a_counter_can() {
        let limits = limits(&["check"]);
        let mut now = Instant::now();
        let mut trial = Watched::new(SlotId::B, None, &limits, now);
        for _ in 0..3 {
            assert_eq!(trial.due(&limits, now), Due::Wait(limits.health_every));
            now += limits.health_every;
            assert_eq!(trial.due(&limits, now), Due::Check(limits.health_every));
            trial.checked(Err("no answer".into()), &limits, now);
        }
        assert_eq!(trial.due(&limits, now), Due::End(Cause::Health, "no answer".into()));
        (0..300).for_each(|_| trial.checked(Err("still none".into()), &limits, now));
        assert_eq!(trial.failures, u8::MAX);
        trial.refused(now);
        assert_eq!(trial.due(&limits, now), Due::Wait(Duration::from_secs(1)));
        trial.checked(Ok(()), &limits, now);
        assert_eq!(trial.due(&limits, now), Due::Wait(limits.health_every));
    }
    /// A change between looking and sleeping once went unheard, so that the watch looked each second.
    #[test]
    fn a_change_before_the_sleep_is_not_slept_through() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path());
        let looked_at = agent.slots().record().generation;
        agent.slots().begin(Digest([1; 32]), 10).unwrap();
        wait(&agent, looked_at, Duration::from_secs(3600)); // returns at once, or the test never ends
        assert_ne!(agent.slots().record().generation, looked_at);
    }
}
