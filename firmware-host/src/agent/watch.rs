//! Ends a trial that nobody confirms in time, or during which the health check keeps failing.

use super::{Agent, command, now};
use protocol::{Cause, Digest, SlotId};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The trial under way, as first seen.
struct Watched {
    slot: SlotId,
    sha256: Option<Digest>,
    since: Instant,
    next_check: Instant,
    failures: u8,
}

pub(super) fn watch(agent: &Agent) {
    let mut watched = None;
    loop {
        watched = seen(agent, watched);
        let Some(trial) = &mut watched else {
            wait(agent, Duration::from_secs(3600));
            continue;
        };
        let limits = &agent.config.trial;
        let left = limits.timeout.saturating_sub(trial.since.elapsed());
        if left.is_zero() {
            let detail = format!(
                "no confirm within {} of the activation or start",
                humantime::format_duration(limits.timeout)
            );
            end(agent, trial, Cause::NotConfirmed, &detail);
            continue;
        }
        if limits.health.is_empty() {
            wait(agent, left);
            continue;
        }
        let until_check = trial.next_check.saturating_duration_since(Instant::now());
        if !until_check.is_zero() {
            wait(agent, left.min(until_check));
            continue;
        }
        match command::run(&limits.health, None, limits.health_every.min(left)) {
            Ok(()) => trial.failures = 0,
            Err(why) => {
                trial.failures += 1;
                log::warn!("health check {} of {}: {why}", trial.failures, limits.health_failures);
                if trial.failures >= limits.health_failures {
                    end(agent, trial, Cause::Health, &why);
                }
            }
        }
        trial.next_check = Instant::now() + limits.health_every;
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
    same.or_else(|| {
        let since = Instant::now();
        let next_check = since + agent.config.trial.health_every;
        Some(Watched { slot, sha256, since, next_check, failures: 0 })
    })
}

/// Sleeps until the boot record changes, or for `time`.
fn wait(agent: &Agent, time: Duration) {
    let slots = agent.slots();
    // A change between `seen` and here rings before anybody listens: hence not the whole of a long time.
    let _ = agent
        .changed
        .wait_timeout(slots, time.min(Duration::from_secs(1)))
        .unwrap_or_else(PoisonError::into_inner);
}

fn end(agent: &Agent, trial: &Watched, cause: Cause, detail: &str) {
    let before = {
        let mut slots = agent.slots();
        let record = slots.record();
        let before = record.active;
        // Confirmed or rolled back in the meantime?
        if record.trial().map(|(slot, _)| (slot, record.slot(slot).sha256))
            != Some((trial.slot, trial.sha256))
        {
            return;
        }
        log::error!("the trial of slot {} ends, {cause}: {detail}", trial.slot);
        if let Err(refusal) = slots.fail(trial.slot, cause, detail, now()) {
            log::error!("cannot end the trial: {refusal}");
            return;
        }
        before
    };
    agent.announce(before);
}
