//! The clock and the ears of a trial: ends one that nobody confirms in time, of which the daemon does not speak or
//! speaks ill, or during which the health check keeps failing; confirms one that is proven, if it may.
//!
//! All times are since the machine started: the wall clock has no say.

use super::{Agent, Folder, Slots, command, config, config::Confirm, proof};
use machine::heartbeat::Heartbeat;
use protocol::{Candidate, Cause, Moment, Proven, Refusal, Running};
use std::sync::PoisonError;
use std::time::Duration;

/// Between two looks at the daemon's word.
const LOOK: Duration = Duration::from_secs(1);

/// Without a trial there is nothing to do but to be alive.
const IDLE: Duration = Duration::from_secs(60);

/// The trial under way.
#[derive(Debug)]
struct Watched {
    trial: Candidate,
    /// When it began.
    since: Duration,
    /// When the daemon last spoke of it; at first, when the agent first looked.
    heard: Duration,
    /// For so long it may be silent.
    patience: Duration,
    /// What was lacking at the last look.
    lacks: String,
    /// The process that spoke last, and when that started.
    daemon: Option<(u32, u64)>,
    /// Deaths of the daemon that took an attempt.
    deaths: u64,
    next_check: Duration,
    /// Health checks that failed in a row.
    failures: u8,
    why_unhealthy: String,
    /// How often in a row the trial could not be ended, and when to try again.
    refusals: u32,
    retry_at: Duration,
}

/// What is to be done about a trial.
#[derive(Debug, PartialEq)]
enum Due {
    Wait(Duration),
    /// The health check, for at most this long.
    Check(Duration),
    /// So many processes of the daemon died, more than had taken an attempt.
    Deaths(u64),
    Confirm(Proven),
    End(Cause, String),
}

/// `heartbeat`: tells whether this thread still moves.
pub(super) fn watch(agent: &Agent, heartbeat: &Heartbeat) {
    let mut watched = None;
    loop {
        heartbeat.beat(Duration::ZERO);
        let generation = agent.slots().record().generation;
        watched = seen(agent, watched);
        let limits = &agent.config.trial;
        let Some(trial) = &mut watched else {
            heartbeat.beat(IDLE);
            wait(agent, generation, IDLE);
            continue;
        };
        let word = proof::running(&agent.config.slots);
        let due = trial.due(word, limits, &agent.now());
        let done = match due {
            Due::Wait(time) => {
                heartbeat.beat(time);
                wait(agent, generation, time);
                continue;
            }
            Due::Check(most) => {
                heartbeat.beat(most);
                let outcome = command::run(&limits.health, None, most);
                trial.checked(outcome, limits, agent.now().uptime);
                continue;
            }
            Due::Deaths(deaths) => {
                let slot = trial.trial.slot;
                let done = change(agent, trial, |slots, now| {
                    log::warn!(
                        "the daemon died during the trial of slot {slot}, {deaths} times now"
                    );
                    slots.died(deaths, now)
                });
                if done {
                    trial.deaths = deaths;
                }
                done
            }
            Due::Confirm(proven) => change(agent, trial, |slots, _| {
                log::info!("slot {} is proven, and confirmed", trial.trial.slot);
                slots.confirm(proven)
            }),
            Due::End(cause, detail) => change(agent, trial, |slots, now| {
                log::error!("the trial of slot {} ends, {cause}: {detail}", trial.trial.slot);
                slots.fail(trial.trial.slot, cause, &detail, now)
            }),
        };
        if !done {
            trial.refused(agent.now().uptime);
        }
    }
}

impl Watched {
    /// `since`: when the trial began. An agent that was away heard nothing meanwhile.
    fn new(trial: Candidate, since: Duration, patience: Duration, now: Duration) -> Self {
        Self {
            trial,
            since,
            heard: now,
            patience,
            lacks: String::new(),
            daemon: None,
            deaths: 0,
            next_check: now,
            failures: 0,
            why_unhealthy: String::new(),
            refusals: 0,
            retry_at: now,
        }
    }

    fn due(&mut self, word: Result<Running, String>, limits: &config::Trial, now: &Moment) -> Due {
        let until_retry = self.retry_at.saturating_sub(now.uptime);
        if !until_retry.is_zero() {
            return Due::Wait(until_retry);
        }
        if let Some(due) = self.hear(word, limits, now) {
            return due;
        }
        let now = now.uptime;
        let left = limits.timeout.saturating_sub(now.saturating_sub(self.since));
        if left.is_zero() {
            let limit = humantime::format_duration(limits.timeout);
            let detail =
                format!("no confirm within {limit} of the activation or start{}", self.lacking());
            return Due::End(Cause::NotConfirmed, detail);
        }
        if now.saturating_sub(self.heard) > self.patience {
            let limit = humantime::format_duration(self.patience);
            let detail = format!("no word of the daemon for {limit}{}", self.lacking());
            return Due::End(Cause::Health, detail);
        }
        if limits.health.is_empty() {
            return Due::Wait(left.min(LOOK));
        }
        if self.failures >= limits.health_failures {
            return Due::End(Cause::Health, self.why_unhealthy.clone());
        }
        match self.next_check.saturating_sub(now) {
            Duration::ZERO => Due::Check(limits.health_every.min(left)),
            until_check => Due::Wait(left.min(LOOK).min(until_check)),
        }
    }

    /// What the daemon's word demands at once.
    fn hear(
        &mut self,
        word: Result<Running, String>,
        limits: &config::Trial,
        now: &Moment,
    ) -> Option<Due> {
        let running = word.map_err(|why| self.lacks = why).ok()?;
        let proven = running.prove(self.trial, &limits.terms(), now);
        self.lacks = proven.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if proven.as_ref().is_err_and(|unproven| !unproven.is_heard()) {
            return None;
        }
        self.heard = now.uptime;
        let daemon = (running.process, running.started_seconds);
        if self.daemon.replace(daemon) != Some(daemon) {
            log::info!("the daemon, process {}, runs slot {}", running.process, running.slot);
        }
        if running.deaths > self.deaths {
            return Some(Due::Deaths(running.deaths));
        }
        match proven {
            Err(unproven) => {
                unproven.failed().map(|lack| Due::End(Cause::Health, lack.to_string()))
            }
            Ok(proven) if limits.confirm == Confirm::Automatic => Some(Due::Confirm(proven)),
            Ok(_) => None,
        }
    }

    fn lacking(&self) -> String {
        if self.lacks.is_empty() { String::new() } else { format!("; it lacked: {}", self.lacks) }
    }

    fn checked(&mut self, outcome: Result<(), String>, limits: &config::Trial, now: Duration) {
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

    /// The disk did not take the change: again after 1, 2, 4 … 64 seconds.
    fn refused(&mut self, now: Duration) {
        self.retry_at = now + Duration::from_secs(1 << self.refusals.min(6));
        self.refusals = self.refusals.saturating_add(1);
    }
}

/// The trial of the boot record; what was seen of it goes on if it is the one seen before.
fn seen(agent: &Agent, before: Option<Watched>) -> Option<Watched> {
    let record = agent.slots().record().clone();
    let trial = record.candidate_on_trial()?;
    if let Some(same) = before.filter(|watched| watched.trial == trial) {
        return Some(same);
    }
    let now = agent.now();
    let since = now.uptime.saturating_sub(record.notes.activation.age(&now));
    let limits = &agent.config.trial;
    // Loading takes the daemon as long as the self-test, at most.
    let patience = agent.config.activate.selftest_timeout + limits.silence;
    let watched = Watched::new(trial, since, patience, now.uptime);
    let next_check = now.uptime + limits.health_every;
    Some(Watched { next_check, deaths: record.notes.deaths, ..watched })
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

/// Changes the record, unless the trial ended in the meantime; `false` if the disk refuses.
fn change(
    agent: &Agent,
    watched: &Watched,
    change: impl FnOnce(&mut Slots<Folder>, &Moment) -> Result<(), Refusal>,
) -> bool {
    let now = agent.now();
    let before = {
        let mut slots = agent.slots();
        let before = slots.record().active;
        if slots.record().candidate_on_trial() != Some(watched.trial) {
            return true;
        }
        if let Err(refusal) = change(&mut slots, &now) {
            log::error!("cannot change the trial: {refusal}");
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
    use protocol::{BootId, Digest, SlotId};

    const BOOT: BootId = BootId([9; 16]);
    const TRIAL: Candidate = Candidate { slot: SlotId::B, digest: Digest([1; 32]), generation: 7 };

    fn limits(more: &str) -> config::Trial {
        toml::from_str(&format!("soak = \"60s\"\nimages = 2\n{more}")).unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment { boot: BOOT, uptime: Duration::from_secs(seconds), wall: 0 }
    }

    /// Of a daemon that started at second 90 and loaded the bundle at once.
    fn word(seconds: u64) -> Result<Running, String> {
        Ok(Running {
            digest: TRIAL.digest,
            slot: TRIAL.slot,
            boot_id: BOOT,
            golden_vectors: 3,
            answered: 2,
            failures: 0,
            generation: TRIAL.generation,
            process: 5,
            started_seconds: 90,
            loaded_seconds: 100,
            written_seconds: seconds,
            celsius: None,
            free: None,
            failure: None,
            stopped: false,
            deaths: 0,
        })
    }

    fn silent() -> Result<Running, String> {
        Err("no running.json".into())
    }

    fn watched() -> Watched {
        let seconds = Duration::from_secs;
        Watched::new(TRIAL, seconds(100), seconds(150), seconds(100))
    }

    fn ends(due: Due, cause: Cause, said: &[&str]) {
        let Due::End(found, detail) = due else { panic!("{due:?}, expected an end") };
        assert_eq!(found, cause, "{detail}");
        said.iter().for_each(|said| assert!(detail.contains(said), "{detail:?} without {said:?}"));
    }

    /// A full disk at the time-out once made a loop that wrote, failed and logged without a pause.
    #[test]
    fn a_trial_that_cannot_be_ended_is_ended_later_with_growing_pauses() {
        let limits = limits("");
        let mut trial = watched();
        assert_eq!(trial.due(silent(), &limits, &at(100)), Due::Wait(LOOK));
        let mut now = at(700);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 64] {
            let end = trial.due(silent(), &limits, &now);
            ends(end, Cause::NotConfirmed, &["10m", "no running.json"]);
            trial.refused(now.uptime);
            let pause = Duration::from_secs(seconds);
            assert_eq!(trial.due(silent(), &limits, &now), Due::Wait(pause));
            now.uptime += pause;
        }
    }

    #[test]
    fn an_unhealthy_trial_ends_and_counts_no_further_than_a_counter_can() {
        let limits = limits("health = [\"check\"]");
        let mut trial = watched();
        trial.next_check = Duration::from_secs(110);
        let mut now = at(100);
        for _ in 0..3 {
            assert_eq!(trial.due(silent(), &limits, &now), Due::Wait(LOOK));
            now.uptime += limits.health_every;
            assert_eq!(trial.due(silent(), &limits, &now), Due::Check(limits.health_every));
            trial.checked(Err("no answer".into()), &limits, now.uptime);
        }
        ends(trial.due(silent(), &limits, &now), Cause::Health, &["no answer"]);
        (0..300).for_each(|_| trial.checked(Err("still none".into()), &limits, now.uptime));
        assert_eq!(trial.failures, u8::MAX);
        trial.refused(now.uptime);
        assert_eq!(trial.due(silent(), &limits, &now), Due::Wait(Duration::from_secs(1)));
    }

    #[test]
    fn a_daemon_that_falls_silent_or_never_speaks_of_the_bundle_ends_the_trial() {
        let limits = limits("");
        let mut trial = watched();
        for seconds in [110, 180, 210] {
            assert_eq!(trial.due(word(seconds), &limits, &at(seconds)), Due::Wait(LOOK));
        }
        // Its last word was of second 210, and counted until second 240.
        assert_eq!(trial.due(word(210), &limits, &at(240)), Due::Wait(LOOK));
        assert_eq!(trial.due(word(210), &limits, &at(390)), Due::Wait(LOOK));
        ends(trial.due(word(210), &limits, &at(391)), Cause::Health, &["no word", "181 s ago"]);
        let other = |running: Running| Ok(Running { digest: Digest([2; 32]), ..running });
        let mut trial = watched();
        for seconds in [100, 250] {
            let word = word(seconds).and_then(other);
            assert_eq!(trial.due(word, &limits, &at(seconds)), Due::Wait(LOOK));
        }
        let end = trial.due(word(251).and_then(other), &limits, &at(251));
        ends(end, Cause::Health, &["2m 30s", "the daemon runs bundle 0202"]);
    }

    #[test]
    fn a_daemon_that_speaks_ill_of_the_bundle_ends_the_trial_at_once() {
        let limits = limits("confirm = \"automatic\"");
        let ill = |running: Running| {
            let failure = Some("vector 3 differs".to_owned());
            Ok(Running { failures: 1, failure, ..running })
        };
        let end = watched().due(word(500).and_then(ill), &limits, &at(500));
        ends(end, Cause::Health, &["1 failures", "vector 3 differs"]);
        let earlier = |running: Running| Ok(Running { generation: 3, ..running });
        let of_before = word(110).and_then(ill).and_then(earlier);
        assert_eq!(watched().due(of_before, &limits, &at(110)), Due::Wait(LOOK));
    }

    #[test]
    fn a_proven_bundle_is_confirmed_by_itself_only_where_the_configuration_says_so() {
        let (manual, automatic) = (limits(""), limits("confirm = \"automatic\""));
        assert_eq!(watched().due(word(159), &automatic, &at(159)), Due::Wait(LOOK), "the soak");
        let proven = watched().due(word(160), &automatic, &at(160));
        assert!(
            matches!(proven, Due::Confirm(proven) if proven.candidate() == TRIAL),
            "{proven:?}"
        );
        assert_eq!(watched().due(word(160), &manual, &at(160)), Due::Wait(LOOK));
    }

    #[test]
    fn a_death_of_the_daemon_takes_an_attempt_once_and_a_stop_takes_none() {
        let limits = limits("");
        let mut trial = watched();
        let next = |deaths| {
            move |word: Running| Ok(Running { process: 6, started_seconds: 120, deaths, ..word })
        };
        let stopped = |word: Running| Ok(Running { stopped: true, ..word });
        assert_eq!(trial.due(word(110), &limits, &at(110)), Due::Wait(LOOK));
        assert_eq!(trial.due(word(115).and_then(stopped), &limits, &at(115)), Due::Wait(LOOK));
        assert_eq!(trial.due(word(121).and_then(next(0)), &limits, &at(121)), Due::Wait(LOOK));
        for _ in 0..2 {
            let due = trial.due(word(131).and_then(next(2)), &limits, &at(131));
            assert_eq!(due, Due::Deaths(2), "until it was written down");
        }
        trial.deaths = 2;
        assert_eq!(trial.due(word(132).and_then(next(2)), &limits, &at(132)), Due::Wait(LOOK));
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
