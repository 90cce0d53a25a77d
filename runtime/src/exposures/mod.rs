//! Exposures that an X-ray controller told, against images that arrived: an image that never comes is a study that
//! nobody reads.
//!
//! ```text
//! firmware-host agent ─▶ journal ─┐
//!                                 ├─▶ [`matching`] ─▶ health, metrics, audit log
//! spool ─▶ headers of new images ─┘        └────────▶ lamp file ─▶ agent ─▶ controller
//! ```
//!
//! One look a second ([`Exposures::look`]). What is known survives a restart in `exposures.json` in the spool, so that a
//! look that was cut off is repeated with the same outcome.

mod header;
mod lamp;
mod matching;

pub(crate) use matching::Counts;

use crate::{
    audit::{Audit, Event},
    config::ExposuresConfig,
    metrics::Gauge,
    shutdown::Shutdown,
    spool::{Spool, State},
};
use anyhow::{Context, Result};
use exposures::{Entry, LampFile, Moment, Reader, Shown};
use lamp::Seen;
use matching::{Answer, Header, Limits, Matching, News};
use protocol::exposure::{InterlockState, Readiness};
use results::{Record, Status};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::spawn_blocking;

const EVERY: Duration = Duration::from_secs(1);
/// Headers read in one look.
const AT_ONCE: usize = 20;
/// Missing images that are listed one by one.
const LISTED: usize = 20;
/// Longest that anything is remembered.
const KEEP: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(crate) struct Exposures {
    config: ExposuresConfig,
    spool: Arc<Spool>,
    audit: Arc<Audit>,
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    saved: Saved,
    /// What is saved is older than what is known.
    unsaved: bool,
    lamp: LampFile,
    shown: Shown,
    /// Why the last look could not be finished.
    trouble: Option<String>,
    /// What was lost at the start.
    damage: Option<String>,
}

/// What survives a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    matching: Matching,
    next_entry: u64,
    next_image: u64,
    detectors: BTreeMap<u16, Readiness>,
    interlocks: BTreeMap<u16, InterlockState>,
}

/// For health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Exposed {
    pub(crate) lamp: String,
    /// Exposures whose image should have arrived and did not.
    pub(crate) missing: usize,
    /// The latest of them first, no more than [`LISTED`].
    pub(crate) missing_exposures: Vec<MissingExposure>,
    /// Age of the oldest of them, seconds.
    pub(crate) oldest_missing_seconds: Option<u64>,
    /// Images that no exposure explains.
    pub(crate) unexplained: usize,
    pub(crate) counts: Counts,
    pub(crate) detector: Option<String>,
    pub(crate) interlock: Option<String>,
    /// Why exposures are not watched as they should be.
    pub(crate) trouble: Option<String>,
}

/// An exposure whose image should have arrived and did not; as far as its controller told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MissingExposure {
    /// In the journal.
    pub(crate) entry: u64,
    pub(crate) controller: u16,
    pub(crate) sequence: u32,
    /// Since it ended.
    pub(crate) seconds: u64,
    pub(crate) kilovolts: Option<f64>,
    pub(crate) milliampere_seconds: Option<f64>,
}

impl Exposures {
    /// Goes on where the last daemon stopped; the first one begins with what comes from now on.
    pub(crate) fn open(
        config: ExposuresConfig,
        spool: Arc<Spool>,
        audit: Arc<Audit>,
        path: PathBuf,
    ) -> Result<Self> {
        let folder = &config.folder;
        let lamp = LampFile::open(folder)
            .with_context(|| format!("cannot use {} for exposures", folder.display()))?;
        let begin = || -> Result<Saved> {
            let mut reader = Reader::new(folder, 1);
            reader.read()?;
            Ok(Saved {
                matching: Matching::default(),
                next_entry: reader.next(),
                next_image: spool.next_sequence(),
                detectors: BTreeMap::new(),
                interlocks: BTreeMap::new(),
            })
        };
        let (saved, damage) = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => (begin()?, None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(saved) => (saved, None),
                Err(error) => {
                    let damage = format!("exposures before this start are forgotten: {error}");
                    log::error!("{}: {damage}", path.display());
                    (begin()?, Some(damage))
                }
            },
        };
        let known =
            Known { saved, unsaved: false, lamp, shown: Shown::NO_DAEMON, trouble: None, damage };
        let exposures = Self { config, spool, audit, path, known: Mutex::new(known) };
        exposures.save(&exposures.known().saved)?;
        Ok(exposures)
    }

    /// Looks once a second until shutdown.
    pub(crate) async fn run(
        self: Arc<Self>,
        is_healthy: impl Fn() -> bool + Clone + Send + 'static,
        shutdown: Shutdown,
    ) {
        while !shutdown.is_cancelled() {
            let (exposures, is_healthy) = (self.clone(), is_healthy.clone());
            let look = move || exposures.look(Moment::now(), is_healthy());
            if let Err(error) = spawn_blocking(look).await {
                log::error!("looking at exposures panicked: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Takes in what is new, matches, tells, and sets the lamp.
    fn look(&self, now: Moment, healthy: bool) {
        let mut known = self.known();
        let looked = self.take_in(&mut known, now);
        if let Err(error) = &looked {
            let trouble = format!("exposures cannot be watched: {error:#}");
            if known.trouble.as_ref() != Some(&trouble) {
                log::error!("{trouble}");
            }
        }
        known.trouble = looked.err().map(|error| format!("exposures cannot be watched: {error:#}"));
        let shown = self.shown(&mut known, now, healthy);
        known.shown = shown;
        if let Err(error) = known.lamp.show(shown) {
            known.trouble = Some(format!("the lamp file cannot be written: {error}"));
        }
    }

    fn take_in(&self, known: &mut Known, now: Moment) -> Result<()> {
        let mut saved = known.saved.clone();
        let mut reader = Reader::new(&self.config.folder, saved.next_entry);
        let read = reader.read()?;
        if read.begun_again {
            log::warn!("the journal of exposures was begun again");
        }
        if read.lost > 0 {
            log::error!("{} journal entries are gone: exposures may be among them", read.lost);
        }
        let next = (reader.next(), read.lost);
        let mut changed = next != (saved.next_entry, 0);
        saved.next_entry = reader.next();
        read.entries.into_iter().for_each(|entry| saved.take(entry));
        changed |= self.new_images(&mut saved)? | self.new_answers(&mut saved)?;
        let news = saved.matching.settle(now, &self.limits());
        changed |= known.unsaved || !news.is_empty();
        known.saved = saved;
        known.unsaved = changed;
        // Told before it counts as told: an end in between tells it twice, never not at all.
        if !news.is_empty() {
            news.into_iter().for_each(|news| self.tell(news));
            self.audit.flush();
        }
        if changed {
            self.save(&known.saved)?;
            known.unsaved = false;
        }
        Ok(())
    }

    fn new_images(&self, saved: &mut Saved) -> Result<bool> {
        let mut changed = false;
        for entry in self.spool.from(saved.next_image, AT_ONCE) {
            let sequence = entry.key.sequence;
            let header = match fs::read(self.spool.image_path(&entry.key)) {
                Ok(bytes) => header::read(&bytes).unwrap_or_default(),
                // It was purged meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => Header::default(),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read image {sequence}"));
                }
            };
            let stations = &self.config.stations;
            if stations.is_empty() || stations.contains(&header.station) {
                let arrived = match entry.arrived {
                    Some(arrived) => Moment::now().earlier(Instant::now() - arrived),
                    None => Moment::of_wall(entry.received),
                };
                saved.matching.picture(sequence, arrived, header);
            }
            saved.next_image = sequence + 1;
            changed = true;
        }
        Ok(changed)
    }

    fn new_answers(&self, saved: &mut Saved) -> Result<bool> {
        let mut changed = false;
        for image in saved.matching.unanswered() {
            // One that is gone was answered: no other is purged.
            let Some(entry) = self.spool.entry(image.sequence) else {
                image.answer = Some(Answer::Ready);
                changed = true;
                continue;
            };
            if entry.state == State::Answered {
                let json = self.spool.result(&entry.key)?;
                let record: Record = serde_json::from_slice(&json)?;
                image.answer = Some(answer(&record));
                changed = true;
            }
        }
        Ok(changed)
    }

    fn shown(&self, known: &mut Known, now: Moment, healthy: bool) -> Shown {
        let matching = &mut known.saved.matching;
        let at_work = matching.unanswered().next().is_some() || matching.awaits();
        let latest = matching.latest_answer(now, self.config.lamp_seconds);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Shown {
            lamp: lamp::lamp(&Seen {
                healthy: healthy && known.trouble.is_none(),
                at_work,
                latest,
            }),
            missing: count(matching.missing().count()),
            unexplained: count(matching.unexplained().count()),
        }
    }

    fn tell(&self, news: News) {
        let (event, text) = match news {
            News::Missing(entry) => {
                (Event::Exposure { entry, outcome: "image-missing" }, "its image never arrived")
            }
            News::Found(entry) => {
                (Event::Exposure { entry, outcome: "image-found" }, "its image arrived after all")
            }
            News::Unexplained(image) => {
                (Event::Unexplained { image, outcome: "no-exposure" }, "no exposure explains it")
            }
            News::Explained(image) => (
                Event::Unexplained { image, outcome: "exposure-found" },
                "an exposure explains it after all",
            ),
        };
        match news {
            News::Missing(entry) => log::warn!("exposure {entry}: {text}"),
            News::Found(entry) => log::info!("exposure {entry}: {text}"),
            News::Unexplained(image) => log::warn!("image {image}: {text}"),
            News::Explained(image) => log::info!("image {image}: {text}"),
        }
        self.audit.write(event);
    }

    pub(crate) fn facts(&self) -> Exposed {
        let known = self.known();
        let (matching, now) = (&known.saved.matching, Moment::now());
        let missing = matching.missing().rev().map(|(entry, ended, exposure)| MissingExposure {
            entry,
            controller: exposure.controller,
            sequence: exposure.sequence,
            seconds: now.since(&ended).max(0).unsigned_abs() / 1000,
            kilovolts: exposure.technique.kilovolts.map(|tenths| f64::from(tenths) / 10.0),
            milliampere_seconds: exposure.technique.charge.map(|charge| f64::from(charge) / 1e3),
        });
        let mut missing_exposures: Vec<_> = missing.collect();
        let bad = |readiness: &&Readiness| **readiness != Readiness::Ready;
        let open = |state: &&InterlockState| **state != InterlockState::Closed;
        Exposed {
            lamp: known.shown.lamp.to_string(),
            missing: missing_exposures.len(),
            oldest_missing_seconds: missing_exposures.iter().map(|missing| missing.seconds).max(),
            missing_exposures: {
                missing_exposures.truncate(LISTED);
                missing_exposures
            },
            unexplained: matching.unexplained().count(),
            counts: matching.counts,
            detector: known.saved.detectors.values().find(bad).map(ToString::to_string),
            interlock: known.saved.interlocks.values().find(open).map(ToString::to_string),
            trouble: known.trouble.clone().or_else(|| known.damage.clone()),
        }
    }

    fn limits(&self) -> Limits {
        let ExposuresConfig { image_seconds, exposure_seconds, .. } = self.config;
        Limits { image: image_seconds, exposure: exposure_seconds, keep: KEEP }
    }

    fn save(&self, saved: &Saved) -> Result<()> {
        let json = serde_json::to_vec(saved)?;
        durable::write(&self.path, &json)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is known is replaced, never edited in place: a panic leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exposed {
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.missing > 0 {
            warnings.push(format!("the images of {} exposures never arrived", self.missing));
        }
        if self.unexplained > 0 {
            warnings.push(format!("no exposure explains {} images", self.unexplained));
        }
        let detector = self.detector.iter().map(|why| format!("the detector is not ready: {why}"));
        warnings.extend(detector.chain(self.trouble.clone()));
        warnings
    }

    pub(crate) fn gauges(&self) -> Vec<Gauge> {
        let Counts { exposures, aborted, matched, missing, unexplained } = self.counts;
        let now = (self.missing as u64, self.unexplained as u64);
        vec![
            ("cxr_exposures", "Exposures told, since the first start", exposures),
            ("cxr_exposures_aborted", "Of them aborted", aborted),
            ("cxr_exposures_matched", "Of them with an image", matched),
            ("cxr_images_ever_missing", "Images that did not arrive in time", missing),
            ("cxr_images_ever_unexplained", "Images without an exposure in time", unexplained),
            ("cxr_images_missing", "Images that did not arrive until now", now.0),
            ("cxr_images_unexplained", "Images without an exposure until now", now.1),
        ]
    }
}

impl Saved {
    fn take(&mut self, entry: Entry) {
        match entry.event {
            exposures::Event::Exposure(exposure) => {
                self.matching.expose(entry.number, entry.when, exposure);
            }
            exposures::Event::Detector(detector) => {
                self.detectors.insert(detector.controller, detector.readiness);
            }
            exposures::Event::Interlock(interlock) => {
                self.interlocks.insert(interlock.controller, interlock.state);
            }
        }
    }
}

fn answer(record: &Record) -> Answer {
    match record.status {
        Status::NotAnalysed => Answer::NotAnalysed,
        Status::Analysed if record.findings.iter().any(|finding| finding.positive) => {
            Answer::Urgent
        }
        Status::Analysed => Answer::Ready,
    }
}

#[cfg(test)]
mod tests;
