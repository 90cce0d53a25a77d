//! Takes images off the queue and answers them, one at a time, whatever they contain.

use crate::{
    analysis::Loaded,
    config::WorkerConfig,
    dicom::Uid,
    http::rfc3339,
    metrics::Metrics,
    model::Model,
    overlay,
    report::{BundleId, Report, Status},
    shutdown::Shutdown,
    spool::{Entry, Spool},
};
use anyhow::{Context, Result, anyhow};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::runtime::Handle;

/// What the worker needs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: WorkerConfig,
    pub(crate) poll: Duration,
    pub(crate) spool: Arc<Spool>,
    pub(crate) model: Arc<Model>,
    pub(crate) metrics: Arc<Metrics>,
}

/// An answer: the report, and the overlay if there is one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) report: Report,
    pub(crate) overlay: Option<Vec<u8>>,
}

/// Pause after the disk refused an answer.
const DISK_PAUSE: Duration = Duration::from_secs(5);

impl Worker {
    /// Works until shutdown; call it on a thread that may block.
    pub(crate) fn run(&self, runtime: &Handle, shutdown: &Shutdown) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.model.refresh() {
                log::error!("{error:#}");
            }
            let taken = self.model.current().and_then(|loaded| Some((loaded, self.spool.take()?)));
            let pause = match taken {
                None => self.poll,
                Some((loaded, entry)) => {
                    match self.work(&entry, |job| analyse(&loaded, job, &self.config)) {
                        Ok(()) => continue,
                        Err(error) => {
                            log::error!("{}: {error:#}; trying again", entry.key);
                            self.spool.put_back(&entry.key);
                            DISK_PAUSE
                        }
                    }
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = self.spool.arrived.notified(), if pause == self.poll => {}
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }

    /// Answers one image with `analyse`. An error means that not even a refusal could be written down.
    fn work(&self, entry: &Entry, analyse: impl Fn(&Job) -> Result<Answer>) -> Result<()> {
        let began = Instant::now();
        let key = &entry.key;
        let job = Job::new(&self.spool, entry);
        let answer = loop {
            let attempt = self.spool.begin_attempt(key).context("cannot count the attempt")?;
            if attempt > self.config.max_attempts {
                // It was begun that often and never answered: whatever it does, it kills the daemon.
                break self.parked(&job, attempt - 1, "the daemon died each time");
            }
            let error = match catch_unwind(AssertUnwindSafe(|| analyse(&job))) {
                Ok(Ok(answer)) => break answer,
                Ok(Err(error)) => error,
                Err(panic) => {
                    self.model.distrust();
                    anyhow!("panicked: {}", message(&*panic))
                }
            };
            log::error!("{key}: attempt {attempt}: {error:#}");
            if attempt >= self.config.max_attempts {
                break self.parked(&job, attempt, &format!("{error:#}"));
            }
        };
        let mut report = answer.report;
        report.sop_instance_uid = Some(job.uid.to_string());
        report.received = Some(rfc3339(job.received));
        let json = serde_json::to_vec(&report).context("cannot encode the report")?;
        self.spool
            .answer(key, &json, answer.overlay.as_deref())
            .context("cannot write the answer")?;
        self.metrics.latency.observe(began.elapsed());
        match report.status {
            Status::Analysed => {
                self.metrics.analysed.add(1);
                log::info!("{key}: analysed in {:.1} ms", report.milliseconds.total);
            }
            Status::NotAnalysed => {
                self.metrics.not_analysed.add(1);
                log::info!("{key}: not analysed: {}", report.reason.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    fn parked(&self, job: &Job, attempts: u32, why: &str) -> Answer {
        self.metrics.parked.add(1);
        let reason = format!("parked after {attempts} attempts: {why}");
        log::error!("{}: {reason}", job.uid);
        let bundle = match self.model.status().bundle {
            Some(about) => BundleId { id: about.id, digest: about.digest },
            None => BundleId { id: String::new(), digest: String::new() },
        };
        Answer { report: Report::not_analysed(job.file.clone(), bundle, reason), overlay: None }
    }
}

/// One image to answer.
#[derive(Debug)]
pub(crate) struct Job {
    uid: Uid,
    received: SystemTime,
    path: PathBuf,
    /// Its name in the report.
    file: String,
}

impl Job {
    fn new(spool: &Spool, entry: &Entry) -> Self {
        let Entry { key, received, .. } = entry;
        Self {
            uid: key.uid.clone(),
            received: *received,
            path: spool.image_path(key),
            file: format!("{key}.dcm"),
        }
    }
}

/// Report and overlay of one image.
fn analyse(loaded: &Loaded, job: &Job, config: &WorkerConfig) -> Result<Answer> {
    let bytes = fs::read(&job.path).context("cannot read the image")?;
    let analysis = loaded.analyse(&job.file, &bytes)?;
    let overlay = match &analysis.picture {
        Some(picture) if analysis.report.status == Status::Analysed => Some(
            overlay::png(picture, &analysis.masks, &analysis.report, config.overlay_pixels)
                .context("cannot draw the overlay")?,
        ),
        _ => None,
    };
    Ok(Answer { report: analysis.report, overlay })
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
mod tests {
    use super::*;
    use crate::config::{BundleConfig, SpoolConfig};
    use std::cell::Cell;

    fn worker(folder: &std::path::Path) -> Worker {
        let spool =
            SpoolConfig { path: folder.join("spool"), keep_answered: 9, max_bytes: 1 << 20 };
        let bundle = BundleConfig {
            path: None,
            slots: Some(folder.to_owned()),
            trusted_keys: Vec::new(),
            allow_unsigned: false,
            poll_seconds: Duration::from_secs(1),
        };
        Worker {
            config: WorkerConfig { max_attempts: 3, ..WorkerConfig::default() },
            poll: bundle.poll_seconds,
            spool: Arc::new(Spool::open(&spool).unwrap()),
            model: Arc::new(Model::new(bundle, 1).unwrap()),
            metrics: Arc::default(),
        }
    }

    fn received(worker: &Worker, uid: &str) -> Entry {
        let mut incoming = worker.spool.begin().unwrap();
        incoming.write(uid.as_bytes()).unwrap();
        incoming.commit(Uid::parse(uid).unwrap()).unwrap();
        worker.spool.take().unwrap()
    }

    fn answer(status: Status) -> Answer {
        let id = BundleId { id: "test".into(), digest: "00".into() };
        let report =
            Report { status, ..Report::not_analysed("x.dcm".into(), id, "because".into()) };
        Answer { report, overlay: None }
    }

    fn result(worker: &Worker, entry: &Entry) -> Report {
        serde_json::from_slice(&worker.spool.result(&entry.key).unwrap()).unwrap()
    }

    #[test]
    fn a_panic_is_tried_again_and_then_parked() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(folder.path());
        let entry = received(&worker, "1.1");
        let tries = Cell::new(0);
        worker
            .work(&entry, |_| {
                tries.set(tries.get() + 1);
                panic!("a decoder's index was out of range")
            })
            .unwrap();
        assert_eq!(tries.get(), 3);
        let report = result(&worker, &entry);
        assert_eq!(report.status, Status::NotAnalysed);
        assert_eq!(
            report.reason.unwrap(),
            "parked after 3 attempts: panicked: a decoder's index was out of range"
        );
        let next = received(&worker, "1.2");
        worker.work(&next, |_| Ok(answer(Status::Analysed))).unwrap();
        assert_eq!(result(&worker, &next).status, Status::Analysed);
    }

    #[test]
    fn a_failure_that_passes_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(folder.path());
        let entry = received(&worker, "1.1");
        let tries = Cell::new(0);
        worker
            .work(&entry, |_| {
                tries.set(tries.get() + 1);
                if tries.get() == 1 {
                    Err(anyhow!("out of memory"))
                } else {
                    Ok(answer(Status::Analysed))
                }
            })
            .unwrap();
        let report = result(&worker, &entry);
        assert_eq!(
            (report.status, report.sop_instance_uid.as_deref()),
            (Status::Analysed, Some("1.1"))
        );
        assert_eq!(worker.metrics.parked.get(), 0);
    }

    #[test]
    fn an_answer_that_cannot_be_written_leaves_the_image_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(folder.path());
        let entry = received(&worker, "1.1");
        let results = folder.path().join("spool/results");
        fs::remove_dir(&results).unwrap();
        worker.work(&entry, |_| Ok(answer(Status::Analysed))).unwrap_err();
        worker.spool.put_back(&entry.key);
        fs::create_dir(&results).unwrap();
        let again = worker.spool.take().unwrap();
        assert_eq!(again.key, entry.key);
        worker.work(&again, |_| Ok(answer(Status::Analysed))).unwrap();
        assert_eq!(result(&worker, &entry).status, Status::Analysed);
    }
}
