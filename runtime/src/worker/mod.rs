//! Takes images off the queue and answers them, one at a time, whatever they contain. Pictures are for
//! [`crate::pictures`], when somebody looks.
//!
//! An image is *parked* (answered with the reason, and analysed again if it is sent again) after
//! `max_attempts` failures of its own. What the disk refuses does not count: such an image waits until the
//! disk can do its part. Nor does the end of the daemon, see [`crate::spool`]'s `attempts`.
//!
//! With nothing on the queue, the worker looks at an object that is still being made durable (`ahead`). Its answer is
//! written when the object has its place on the queue, never before.

mod ahead;

use crate::{
    analysis::{Analysis, Loaded},
    audit::{Audit, Event},
    config::WorkerConfig,
    device,
    drift::Drift,
    heartbeat::Heartbeat,
    http::rfc3339,
    metrics::Metrics,
    model::{About, Model},
    outbox::Outbox,
    profile::Compute,
    shadow::Shadow,
    shutdown::Shutdown,
    spool::{Contents, Entry, Key, Spool, Stage},
    trouble::Trouble,
};
use ahead::Found;
pub(crate) use ahead::Seen;
use anyhow::{Context, Result, anyhow};
use results::{BundleId, Record, Status};
use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// What the worker needs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: WorkerConfig,
    pub(crate) poll: Duration,
    pub(crate) spool: Arc<Spool>,
    pub(crate) compute: Arc<Compute>,
    pub(crate) model: Arc<Model>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) seen: Seen,
    pub(crate) drift: Arc<Drift>,
}

/// Pause after so many failures in a row: 1, 2, 4 … 64 seconds.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6))
}

impl Worker {
    /// Works until shutdown; call it on a thread that may block.
    pub(crate) fn run(&self, runtime: &Handle, shutdown: &Shutdown) {
        let mut failures = 0;
        let _bound = self.compute.threads.bind();
        while !shutdown.is_cancelled() {
            self.heartbeat.beat(Duration::ZERO);
            let began = Instant::now();
            // After a failure, nothing is done that can wait.
            let is_well = failures == 0;
            let round = || self.round(is_well, |loaded, job| job.analyse(loaded));
            let Some(pause) = self.guarded(&mut failures, round) else {
                self.cool_down(began.elapsed() + self.seen.spent(), runtime, shutdown);
                continue;
            };
            self.heartbeat.beat(pause);
            runtime.block_on(async {
                tokio::select! {
                    () = self.spool.arrived.notified(), if failures == 0 => {}
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }

    /// After an image, where the machine is so hot that it must rest. What arrives meanwhile waits.
    fn cool_down(&self, took: Duration, runtime: &Handle, shutdown: &Shutdown) {
        let Some(pause) = self.compute.cooling.pause(took) else { return };
        self.heartbeat.beat(pause);
        runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// One round, whatever happens in it; how long to wait before the next one. `failures`: in a row.
    fn guarded(
        &self,
        failures: &mut u32,
        round: impl FnOnce() -> Result<Round>,
    ) -> Option<Duration> {
        let trouble = match catch_unwind(AssertUnwindSafe(round)) {
            Ok(Ok(Round::Worked)) => {
                *failures = 0;
                self.trouble.set(None);
                return None;
            }
            // Its place on the queue rings.
            Ok(Ok(Round::Ahead)) => return Some(self.poll),
            Ok(Ok(Round::Nothing)) => {
                // While an image waits that could not be answered, nothing is better.
                if *failures > 0 && self.spool.counts().waiting == 0 {
                    *failures = 0;
                    self.trouble.set(None);
                }
                return Some(self.poll);
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => {
                self.model.distrust();
                self.spool.put_back_running();
                format!("the worker panicked: {}", message(&*panic))
            }
        };
        *failures = failures.saturating_add(1);
        log::error!("{trouble}; trying again in {:?}", pause(*failures));
        self.trouble.set(Some(trouble));
        Some(pause(*failures))
    }

    /// Looks which bundle should answer, and answers the image whose turn it is.
    fn round(
        &self,
        is_well: bool,
        analyse: impl Fn(&Loaded, &Job) -> Result<Analysis>,
    ) -> Result<Round> {
        if let Err(error) = self.model.refresh() {
            log::error!("{error:#}");
        }
        self.model.test_again();
        let Some(loaded) = self.model.current() else { return Ok(Round::Nothing) };
        if self.next(&loaded, analyse)? {
            return Ok(Round::Worked);
        }
        Ok(if is_well && self.look_ahead(&loaded) { Round::Ahead } else { Round::Nothing })
    }

    /// Answers the image whose turn it is; whether there was one.
    fn next(
        &self,
        loaded: &Arc<Loaded>,
        analyse: impl Fn(&Loaded, &Job) -> Result<Analysis>,
    ) -> Result<bool> {
        let Some(entry) = self.spool.take(Instant::now()) else { return Ok(false) };
        match self.seen.take(&entry, loaded) {
            Some(found) => self.conclude(entry, found)?,
            None => {
                self.derate(loaded);
                self.work(entry, |job| analyse(loaded, job))?;
            }
        }
        Ok(true)
    }

    /// Has as many threads work as the machine's heat allows.
    fn derate(&self, loaded: &Loaded) {
        let derating = self.compute.cooling.look().derating;
        loaded.use_threads(derating.threads(self.compute.threads.count));
    }

    /// Tries to answer one image with `analyse`; it is answered afterwards or waits again.
    ///
    /// An error means that the disk refuses even an answer: other images would fare no better.
    fn work(&self, mut entry: Entry, analyse: impl Fn(&Job) -> Result<Analysis>) -> Result<()> {
        let began = Instant::now();
        let key = entry.key.clone();
        let job = Job::new(&self.spool, &entry);
        if let Err(error) = self.spool.begin_attempt(&key, entry.deaths) {
            self.spool.put_back(entry, began);
            return Err(error).with_context(|| format!("{}: cannot note the attempt", key.label()));
        }
        let tried = catch_unwind(AssertUnwindSafe(|| analyse(&job))).unwrap_or_else(|panic| {
            self.model.distrust();
            Err(anyhow!(Panicked(message(&*panic).to_owned())))
        });
        let analysis = match tried {
            Ok(analysis) => analysis,
            Err(error) => {
                log::error!("{}: {}", key.label(), for_logs(&error));
                if is_refused_by_disk(&error) {
                    entry.refusals = entry.refusals.saturating_add(1);
                } else {
                    entry.failures += 1;
                    // A panic was counted where it was caught; a file that is gone is nobody's failure.
                    if !error.is::<Panicked>()
                        && !error.chain().any(|cause| cause.is::<io::Error>())
                    {
                        self.model.failed(&for_logs(&error));
                    }
                }
                if entry.failures < self.config.max_attempts {
                    self.spool.survive_attempt(&key, entry.deaths);
                    let tries = entry.failures.saturating_add(entry.refusals);
                    self.spool.put_back(entry, Instant::now() + pause(tries));
                    return Ok(());
                }
                self.parked(&job, entry.failures, &format!("{error:#}"))
            }
        };
        let (record, offer, ended) = (analysis.report, analysis.seen, Instant::now());
        self.conclude(entry, Found { record, offer, began, ended })
    }

    /// Writes the answer to an image that was taken.
    fn conclude(&self, entry: Entry, found: Found) -> Result<()> {
        let key = entry.key.clone();
        let is_analysed = found.record.status == Status::Analysed;
        if let Err(error) = self.answer(&entry, found.record) {
            self.spool.survive_attempt(&key, entry.deaths);
            self.spool.put_back(entry, Instant::now());
            return Err(error).with_context(|| format!("{}: cannot write the answer", key.label()));
        }
        let now = Instant::now();
        self.metrics.latency.observe(entry.age(now));
        self.metrics.work.observe(now - found.began);
        for (stage, at) in
            [(Stage::Begun, found.began), (Stage::Analysed, found.ended), (Stage::Committed, now)]
        {
            self.spool.stages.mark(key.sequence, stage, at);
        }
        self.model.answered();
        self.spool.publish(&key);
        self.outbox.answered(key.name());
        found.offer.into_iter().for_each(|offer| self.drift.offer(offer));
        if let Some(shadow) = &self.shadow
            && is_analysed
        {
            shadow.offer(&key);
        }
        Ok(())
    }

    fn answer(&self, entry: &Entry, record: Record) -> Result<()> {
        let report = Record {
            sop_instance_uid: Some(entry.key.uid.to_string()),
            received: Some(rfc3339(entry.received)),
            file: file_name(&entry.key),
            ..device::sign(record, self.config.overlay_pixels)
        };
        let report = report.accounted().context("the report cannot be accounted for")?;
        let json = serde_json::to_vec(&report).context("cannot encode the report")?;
        self.spool.answer(&entry.key, &json)?;
        let (counter, status) = match report.status {
            Status::Analysed => (&self.metrics.analysed, "analysed"),
            Status::NotAnalysed if report.parked => (&self.metrics.parked, "parked"),
            Status::NotAnalysed => (&self.metrics.not_analysed, "not-analysed"),
        };
        counter.add(1);
        let (image, bundle) = (entry.key.sequence, report.bundle.digest.clone());
        self.audit.write(Event::Answer { image, status, bundle });
        let key = entry.key.label();
        match &report.reason {
            // Reasons may quote the image.
            Some(_) => log::info!("{key}: {status}; its result says why"),
            None => log::info!("{key}: analysed in {:.1} ms", report.milliseconds.total),
        }
        Ok(())
    }

    fn parked(&self, job: &Job, attempts: u32, why: &str) -> Analysis {
        let reason = format!("parked after {attempts} attempts: {why}");
        log::error!("{}: parked after {attempts} attempts", job.key.label());
        let bundle = match self.model.status().bundle {
            Some(About { id, version, digest, packs, .. }) => {
                BundleId { id, digest, version, packs }
            }
            None => BundleId::default(),
        };
        let report = Record::not_analysed(job.file.clone(), bundle, reason);
        let report = Record { parked: true, ..report };
        Analysis { report, masks: Vec::new(), seen: None }
    }
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Worked,
    /// Something was found that is no answer yet.
    Ahead,
    /// No bundle, or no image whose turn it is.
    Nothing,
}

/// Whether an error says nothing about the image: the disk, or the machine, did not do its part.
fn is_refused_by_disk(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() != io::ErrorKind::NotFound)
}

/// A panic in an analysis. What it says may quote the image.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
struct Panicked(String);

/// An error without what it may quote.
fn for_logs(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(Panicked(_)) => "panicked".to_owned(),
        None => format!("{error:#}"),
    }
}

/// What a report calls an image.
fn file_name(key: &Key) -> String {
    format!("{}.dcm", key.name())
}

/// One image to answer.
#[derive(Debug)]
pub(crate) struct Job {
    key: Key,
    path: PathBuf,
    /// Its name in the report.
    file: String,
    contents: Option<Arc<Contents>>,
}

impl Job {
    fn new(spool: &Spool, entry: &Entry) -> Self {
        let (key, contents) = (entry.key.clone(), entry.contents.clone());
        Self { path: spool.image_path(&key), file: file_name(&key), key, contents }
    }

    fn analyse(&self, loaded: &Loaded) -> Result<Analysis> {
        if let Some(contents) = &self.contents {
            return loaded.analyse_hashed(&self.file, &contents.bytes, || contents.sha256);
        }
        let bytes = fs::read(&self.path).context("cannot read the image")?;
        loaded.analyse(&self.file, &bytes)
    }
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
