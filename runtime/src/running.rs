//! Says what the daemon runs, in `running.json` beside the boot record. The agent confirms a bundle on nothing else.
//!
//! Written durably when a bundle is to be loaded, was loaded or failed, and every few seconds during a trial; rarely
//! otherwise, because the disk may be flash. A worker that is stuck says nothing: the word grows old, and the agent
//! draws its conclusion. The last word of a process that was told to stop says so; the next process reads it, and counts
//! those that died.

use crate::{
    heartbeat::Heartbeat,
    model::{Model, Obeyed},
    shutdown::Shutdown,
};
use anyhow::{Context, Result};
use machine::Machine;
use protocol::{BootId, Moment, RUNNING_FILE, Running};
use std::{
    fs,
    path::PathBuf,
    process,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::spawn_blocking;

/// Between two words during a trial, and otherwise.
const ON_TRIAL: u64 = 5;
const CONFIRMED: u64 = 600;
/// Between two looks whether a word is due.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Reporter {
    folder: PathBuf,
    machine: Machine,
    model: Arc<Model>,
    heartbeat: Arc<Heartbeat>,
    /// A worker that is later than this is stuck.
    worker_limit: Duration,
    started_seconds: u64,
    /// The last word of the process before this one, if it can be read.
    before: Option<Running>,
    last: Mutex<Option<Running>>,
}

impl Reporter {
    pub(crate) fn new(
        folder: PathBuf,
        model: Arc<Model>,
        heartbeat: Arc<Heartbeat>,
        worker_limit: Duration,
    ) -> Self {
        let machine = Machine::new("/".as_ref());
        let started_seconds = machine.moment().uptime.as_secs();
        let before = fs::read(folder.join(RUNNING_FILE)).ok();
        let before = before.and_then(|text| serde_json::from_slice(&text).ok());
        let last = Mutex::default();
        Self { folder, machine, model, heartbeat, worker_limit, started_seconds, before, last }
    }

    /// Until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut trouble = None;
        while !shutdown.is_cancelled() {
            let reporter = self.clone();
            let told = spawn_blocking(move || {
                let is_stuck = reporter.heartbeat.late(Instant::now()) > reporter.worker_limit;
                if is_stuck { Ok(()) } else { reporter.say(false) }
            });
            let told = told.await;
            let told = told.context("it panicked").flatten().err().map(|e| format!("{e:#}"));
            if let Some(why) = told.as_ref().filter(|why| trouble.as_ref() != Some(*why)) {
                log::error!("cannot say what runs, so that no trial is confirmed: {why}");
            }
            trouble = told;
            tokio::select! {
                () = self.model.news.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// The last word: the process ends because it was told to. Blocks.
    pub(crate) fn stopped(&self) {
        if let Err(error) = self.say(true) {
            log::warn!("cannot say that this stop is none of the bundle's doing: {error:#}");
        }
    }

    fn say(&self, stopped: bool) -> Result<()> {
        let Some(obeyed) = self.model.obeyed() else { return Ok(()) };
        let now = self.machine.moment();
        anyhow::ensure!(now.boot != BootId::UNKNOWN, "the kernel tells no boot id");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let word = Running { stopped, ..self.word(&obeyed, &now) };
        let has_stopped = last.as_ref().is_some_and(|last| last.stopped);
        if has_stopped || !is_due(last.as_ref(), &word, obeyed.on_trial) {
            return Ok(());
        }
        let path = self.folder.join(RUNNING_FILE);
        let json = serde_json::to_vec(&word).context("cannot encode it")?;
        durable::write(&path, &json).with_context(|| format!("cannot write {}", path.display()))?;
        *last = Some(word);
        Ok(())
    }

    fn word(&self, Obeyed { candidate, tally, .. }: &Obeyed, now: &Moment) -> Running {
        let hottest = self.machine.temperatures().into_iter().map(|sensor| sensor.celsius);
        Running {
            digest: candidate.digest,
            slot: candidate.slot,
            boot_id: now.boot,
            golden_vectors: tally.golden_vectors,
            answered: tally.answered,
            failures: tally.failures,
            generation: candidate.generation,
            process: process::id(),
            started_seconds: self.started_seconds,
            loaded_seconds: tally.loaded_seconds,
            written_seconds: now.uptime.as_secs(),
            celsius: hottest.max_by(f32::total_cmp),
            free: machine::space(&self.folder).ok().map(|(free, _)| free),
            failure: tally.failure.clone(),
            stopped: false,
            deaths: self.before.as_ref().map_or(0, |before| before.deaths_before(*candidate, now)),
        }
    }
}

fn is_due(last: Option<&Running>, word: &Running, on_trial: bool) -> bool {
    let Some(last) = last else { return true };
    let news = |word: &Running| {
        let failures = if on_trial { word.failures } else { word.failures.min(1) };
        let loaded = (word.golden_vectors, word.loaded_seconds);
        (word.digest, word.slot, word.generation, loaded, failures, word.stopped)
    };
    let age = word.written_seconds.saturating_sub(last.written_seconds);
    news(last) != news(word) || age >= if on_trial { ON_TRIAL } else { CONFIRMED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Digest, SlotId};

    fn word(seconds: u64) -> Running {
        Running {
            digest: Digest([1; 32]),
            slot: SlotId::A,
            boot_id: BootId([1; 16]),
            golden_vectors: 3,
            answered: seconds,
            failures: 0,
            generation: 4,
            process: 5,
            started_seconds: 0,
            loaded_seconds: 1,
            written_seconds: seconds,
            celsius: Some(40.0 + seconds as f32),
            free: Some(seconds),
            failure: None,
            stopped: false,
            deaths: 0,
        }
    }

    #[test]
    fn news_is_told_at_once_and_the_rest_as_rarely_as_flash_likes_it() {
        assert!(is_due(None, &word(0), false));
        for (seconds, on_trial, confirmed) in
            [(4, false, false), (5, true, false), (599, true, false), (600, true, true)]
        {
            assert_eq!(is_due(Some(&word(0)), &word(seconds), true), on_trial, "{seconds}");
            assert_eq!(is_due(Some(&word(0)), &word(seconds), false), confirmed, "{seconds}");
        }
        let failed = |failures| Running { failures, ..word(1) };
        for on_trial in [true, false] {
            assert!(is_due(Some(&word(0)), &failed(1), on_trial), "the first failure");
            assert!(is_due(Some(&word(0)), &Running { generation: 5, ..word(0) }, on_trial));
            assert!(is_due(Some(&word(0)), &Running { golden_vectors: 0, ..word(0) }, on_trial));
            assert!(is_due(Some(&word(0)), &Running { stopped: true, ..word(0) }, on_trial));
        }
        assert!(is_due(Some(&failed(1)), &failed(2), true));
        assert!(!is_due(Some(&failed(1)), &failed(2), false), "tried again each half minute");
    }
}
