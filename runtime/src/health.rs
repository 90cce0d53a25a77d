//! Whether the daemon does its work, as one value computed from facts. `/health`, the metrics and systemd's
//! watchdog all look at it, so they never contradict each other.
//!
//! [`Watched::facts`] looks around, [`judge`] decides; only the first touches anything.

mod gauges;

pub(crate) use gauges::{gauges, labelled};

use crate::{
    audit::Audit,
    current::Current,
    drift::{self, Drift},
    exposures::{Exposed, Exposures},
    heartbeat::Heartbeat,
    metrics::Metrics,
    model::{Model, Status as ModelStatus},
    outbox::{Backlog, Outbox},
    profile::{self, Compute},
    shadow::{self, Shadow},
    spool::{Ages, Counts, Disk, Spool},
    tls::expiry::{Configured, Expiry, Watch},
    trouble::Trouble,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What is known at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) model: ModelStatus,
    /// What keeps images from being answered, as the worker sees it.
    pub(crate) trouble: Option<String>,
    /// How much later than announced the worker is.
    pub(crate) worker_late: Duration,
    pub(crate) worker_limit: Duration,
    pub(crate) queue: Counts,
    pub(crate) ages: Ages,
    /// Since an image was answered, or since the start.
    pub(crate) since_progress: Duration,
    /// Or why it cannot be measured.
    pub(crate) disk: Result<Disk, String>,
    pub(crate) descriptors: Option<Descriptors>,
    /// If results are sent anywhere.
    pub(crate) delivery: Option<Delivery>,
    /// Why the audit log cannot be written.
    pub(crate) audit: Option<String>,
    /// Why the outbox cannot be read.
    pub(crate) outbox: Option<String>,
    /// If an X-ray room is watched.
    pub(crate) exposures: Option<Exposed>,
    /// If a second bundle looks on.
    pub(crate) shadow: Option<shadow::Status>,
    /// Whether images look as they should.
    pub(crate) drift: drift::Status,
    /// Every certificate that is configured.
    pub(crate) certificates: Vec<Expiry>,
    /// What images are analysed with.
    pub(crate) compute: profile::Status,
}

/// File descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Descriptors {
    pub(crate) open: u64,
    pub(crate) limit: u64,
}

/// What became of results that are to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Delivery {
    pub(crate) undelivered: usize,
    /// Age of the oldest of them, seconds.
    pub(crate) oldest_seconds: u64,
    /// Given up, until a person decides.
    pub(crate) dead: usize,
}

/// In the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    Ok,
    /// Images are not answered, or not accepted.
    Failing,
    /// No bundle answers.
    NotReady,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) word: Word,
    /// Why the word is not "ok".
    pub(crate) reasons: Vec<String>,
    /// What somebody should look at soon.
    pub(crate) warnings: Vec<String>,
    /// Whether a restart is called for: the worker does not move.
    pub(crate) stuck: bool,
}

/// An image that waits for longer while nothing is answered is too old.
const WAITING_LIMIT: Duration = Duration::from_secs(600);
/// A result that is on its way for longer is worth a look.
const DELIVERY_LIMIT: u64 = 3600;

/// What the facts mean.
pub(crate) fn judge(facts: &Facts) -> Health {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    let stuck = facts.worker_late > facts.worker_limit;
    if stuck {
        reasons.push(format!("the worker has not moved for {} s", facts.worker_late.as_secs()));
    }
    reasons.extend(facts.trouble.clone());
    if let Some(age) = facts.ages.waiting.filter(|age| *age > WAITING_LIMIT) {
        let text = format!("an image has been waiting for {} s", age.as_secs());
        // With answers going out, it is a backlog, or one image that the disk cannot read.
        if facts.model.bundle.is_some() && facts.since_progress > WAITING_LIMIT {
            reasons.push(format!(
                "{text}, and none was answered for {} s",
                facts.since_progress.as_secs()
            ));
        } else {
            warnings.push(text);
        }
    }
    match &facts.disk {
        Ok(disk) if disk.free < disk.floor => {
            let Disk { free, floor, .. } = disk;
            reasons.push(format!(
                "{free} bytes are free on the spool's disk and {floor} are to stay free: senders hear A700"
            ));
        }
        Ok(_) => {}
        Err(error) => reasons.push(format!("the spool's disk cannot be measured: {error}")),
    }
    if let Some(Descriptors { open, limit }) = facts.descriptors {
        let text = format!("{open} of {limit} file descriptors are open");
        match open {
            _ if open.saturating_mul(100) >= limit.saturating_mul(98) => reasons.push(text),
            _ if open.saturating_mul(100) >= limit.saturating_mul(80) => warnings.push(text),
            _ => {}
        }
    }
    if facts.ages.deadly > 0 {
        let deadly = facts.ages.deadly;
        warnings
            .push(format!("the daemon ended three times or more while at each of {deadly} images"));
    }
    warnings.extend(facts.audit.clone());
    warnings.extend(facts.outbox.clone());
    warnings.extend(facts.compute.warnings());
    warnings.extend(facts.exposures.iter().flat_map(Exposed::warnings));
    let shadow = facts.shadow.as_ref().and_then(|shadow| shadow.reason.as_ref());
    warnings.extend(facts.certificates.iter().filter_map(Expiry::warning).map(|(what, _)| what));
    warnings.extend(facts.drift.warnings());
    warnings.extend(shadow.map(|why| format!("no bundle looks on: {why}")));
    if let Some(delivery) = facts.delivery {
        if delivery.oldest_seconds > DELIVERY_LIMIT {
            warnings.push(format!("a result is on its way for {} s", delivery.oldest_seconds));
        }
        if delivery.dead > 0 {
            warnings.push(format!("{} results could not be delivered", delivery.dead));
        }
    }
    let word = match (&facts.model.bundle, reasons.is_empty()) {
        (None, _) => Word::NotReady,
        (Some(_), false) => Word::Failing,
        (Some(_), true) => Word::Ok,
    };
    match &facts.model.reason {
        Some(reason) if word == Word::NotReady => reasons.insert(0, reason.clone()),
        Some(reason) => warnings.push(reason.clone()),
        None => {}
    }
    Health { word, reasons, warnings, stuck }
}

/// The facts for `/health`. Field names are a contract: append only.
pub(crate) fn body(facts: &Facts) -> Value {
    let health = judge(facts);
    json!({
        "status": health.word,
        // The first one, or what goes on without harm: what people look at.
        "reason": health.reasons.first().or(facts.model.reason.as_ref()),
        "reasons": health.reasons,
        "warnings": health.warnings,
        "bundle": facts.model.bundle,
        "queue": facts.queue,
        "oldest_waiting_seconds": facts.ages.waiting.map(|age| age.as_secs()),
        "worker_late_seconds": facts.worker_late.as_secs(),
        "disk": facts.disk.as_ref().ok(),
        "descriptors": facts.descriptors,
        "delivery": facts.delivery,
        "exposures": facts.exposures,
        "shadow": facts.shadow,
        "drift": facts.drift,
        "certificates": facts.certificates,
        "compute": facts.compute,
    })
}

/// Where the facts come from.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) model: Arc<Model>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) exposures: Option<Arc<Exposures>>,
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) drift: Arc<Drift>,
    pub(crate) certificates: Arc<Current<Vec<Configured>>>,
    pub(crate) expiry: Watch,
    pub(crate) compute: Arc<Compute>,
    pub(crate) worker_limit: Duration,
    pub(crate) progress: Mutex<Progress>,
}

/// The number of answers, and since when it has been that.
#[derive(Debug)]
pub(crate) struct Progress {
    answers: u64,
    since: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { answers: 0, since: Instant::now() }
    }
}

impl Watched {
    /// Looks around. Touches the disk.
    pub(crate) fn facts(&self) -> Facts {
        let now = Instant::now();
        let since = {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let answers = self.metrics.latency.count();
            if progress.answers != answers {
                *progress = Progress { answers, since: now };
            }
            progress.since
        };
        let (delivery, outbox) = match self.outbox.backlog() {
            Ok(backlog) => (backlog, None),
            Err(error) => (None, Some(format!("the outbox cannot be read: {error}"))),
        };
        let delivery = delivery.map(|Backlog { open, oldest_seconds, dead }| Delivery {
            undelivered: open,
            oldest_seconds,
            dead,
        });
        Facts {
            model: self.model.status(),
            trouble: self.trouble.now(),
            worker_late: self.heartbeat.late(now),
            worker_limit: self.worker_limit,
            queue: self.spool.counts(),
            ages: self.spool.ages(now),
            since_progress: now - since,
            disk: self.spool.disk().map_err(|error| error.to_string()),
            descriptors: descriptors().ok().flatten(),
            delivery,
            audit: self.audit.trouble(),
            outbox,
            exposures: self.exposures.as_ref().map(|exposures| exposures.facts()),
            shadow: self.shadow.as_ref().map(|shadow| shadow.status()),
            drift: self.drift.status(),
            certificates: self.expiry.look(&self.certificates.get()),
            compute: self.compute.status(),
        }
    }
}

/// `None` where `/proc` does not tell.
fn descriptors() -> io::Result<Option<Descriptors>> {
    let open = fs::read_dir("/proc/self/fd")?.count() as u64;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(soft.map(|limit| Descriptors { open, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::About;
    use protocol::{Derating, Heat};

    fn well() -> Facts {
        let about = About {
            id: "chest".into(),
            version: "1.0.0".into(),
            digest: "00".into(),
            ..About::default()
        };
        Facts {
            model: ModelStatus { bundle: Some(about), reason: None },
            trouble: None,
            worker_late: Duration::ZERO,
            worker_limit: Duration::from_secs(120),
            queue: Counts::default(),
            ages: Ages::default(),
            since_progress: Duration::from_secs(100_000),
            disk: Ok(Disk { bytes: 1000, free: 500, floor: 100 }),
            descriptors: Some(Descriptors { open: 20, limit: 1024 }),
            delivery: None,
            audit: None,
            outbox: None,
            exposures: None,
            shadow: None,
            drift: drift::Status::default(),
            certificates: Vec::new(),
            compute: cool(),
        }
    }

    fn cool() -> profile::Status {
        profile::Status {
            profile: "generic".into(),
            threads: 4,
            working: 4,
            cores: Vec::new(),
            power: Vec::new(),
            heat: Heat::default(),
        }
    }

    #[test]
    fn one_fact_at_a_time_changes_the_word() {
        let seconds = Duration::from_secs;
        let waiting = |age, since| Facts {
            ages: Ages { waiting: Some(seconds(age)), ..Ages::default() },
            since_progress: seconds(since),
            ..well()
        };
        let disk = |free| Facts { disk: Ok(Disk { bytes: 1000, free, floor: 100 }), ..well() };
        let descriptors = |open| Descriptors { open, limit: 1000 };
        let delivery = |oldest_seconds, dead| Facts {
            delivery: Some(Delivery { undelivered: 1, oldest_seconds, dead }),
            ..well()
        };
        let exposures = |missing, unexplained, detector: Option<&str>| Facts {
            exposures: Some(Exposed {
                missing,
                unexplained,
                detector: detector.map(str::to_owned),
                ..Exposed::default()
            }),
            ..well()
        };
        let text = "stands higher".into();
        let alarm = ::drift::Alarm { since: 0, feature: "pixels/noise".into(), text };
        let mut drifted = well();
        drifted.drift.alarms.push(drift::SourceAlarm { source: "ROOM 1".into(), alarm });
        let model = |bundle: bool, reason: &str| Facts {
            model: ModelStatus {
                bundle: well().model.bundle.filter(|_| bundle),
                reason: Some(reason.into()),
            },
            ..well()
        };
        let heat = Heat {
            derating: Derating::Threads,
            sensor: Some("cpu".into()),
            celsius: Some(91.0),
            limit: Some(90.0),
        };
        let hot = Facts { compute: profile::Status { working: 2, heat, ..cool() }, ..well() };
        let table = [
            (well(), Word::Ok, ""),
            (model(false, "nothing was activated"), Word::NotReady, "nothing was activated"),
            (model(true, "the record is torn"), Word::Ok, "! the record is torn"),
            (Facts { trouble: Some("no space".into()), ..well() }, Word::Failing, "no space"),
            (Facts { worker_late: seconds(120), ..well() }, Word::Ok, ""),
            (Facts { worker_late: seconds(121), ..well() }, Word::Failing, "not moved for 121 s"),
            (waiting(600, 700), Word::Ok, ""),
            (waiting(700, 700), Word::Failing, "waiting for 700 s, and none was answered"),
            (waiting(90_000, 2), Word::Ok, "! an image has been waiting for 90000 s"),
            (disk(100), Word::Ok, ""),
            (disk(99), Word::Failing, "99 bytes are free"),
            (Facts { disk: Err("stale".into()), ..well() }, Word::Failing, "stale"),
            (Facts { descriptors: Some(descriptors(799)), ..well() }, Word::Ok, ""),
            (Facts { descriptors: Some(descriptors(800)), ..well() }, Word::Ok, "! 800 of 1000"),
            (Facts { descriptors: Some(descriptors(980)), ..well() }, Word::Failing, "980 of 1000"),
            (Facts { descriptors: None, ..well() }, Word::Ok, ""),
            (
                Facts { ages: Ages { deadly: 2, ..Ages::default() }, ..well() },
                Word::Ok,
                "! the daemon ended",
            ),
            (Facts { audit: Some("read only".into()), ..well() }, Word::Ok, "! read only"),
            (exposures(0, 0, None), Word::Ok, ""),
            (exposures(2, 0, None), Word::Ok, "! the images of 2 exposures never arrived"),
            (exposures(0, 3, None), Word::Ok, "! no exposure explains 3 images"),
            (exposures(0, 0, Some("too warm")), Word::Ok, "! the detector is not ready: too warm"),
            (
                hot,
                Word::Ok,
                "! the machine is too hot: cpu 91.0 °C, limit 90.0 °C: half the threads",
            ),
            (drifted, Word::Ok, "! drift, ROOM 1: pixels/noise stands higher"),
            (delivery(3600, 0), Word::Ok, ""),
            (delivery(3601, 0), Word::Ok, "! a result is on its way for 3601 s"),
            (delivery(0, 4), Word::Ok, "! 4 results could not be delivered"),
        ];
        for (facts, word, said) in table {
            let health = judge(&facts);
            assert_eq!(health.word, word, "{facts:?}");
            let all = [
                health.reasons.clone(),
                health.warnings.iter().map(|w| format!("! {w}")).collect(),
            ];
            let all = all.concat();
            match said {
                "" => assert!(all.is_empty(), "{all:?}"),
                _ => assert!(all.len() == 1 && all[0].contains(said), "{all:?} {said}"),
            }
            assert_eq!(health.reasons.is_empty(), word == Word::Ok);
            assert_eq!(health.stuck, facts.worker_late > facts.worker_limit);
        }
    }

    #[test]
    fn without_a_bundle_the_first_reason_is_why() {
        let facts = Facts {
            model: ModelStatus { bundle: None, reason: Some("no slot is whole".into()) },
            trouble: Some("no space".into()),
            ..well()
        };
        let health = judge(&facts);
        assert_eq!((health.word, health.reasons[0].as_str()), (Word::NotReady, "no slot is whole"));
        assert_eq!(health.reasons[1], "no space");
    }

    #[test]
    fn this_process_has_descriptors() {
        let Descriptors { open, limit } = descriptors().unwrap().unwrap();
        assert!((3..limit).contains(&open));
    }
}
