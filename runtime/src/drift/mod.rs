//! Notices that images have changed since the network was calibrated. It tells and does nothing.
//!
//! ```text
//! worker ─ offer(image), after the answer ─▶ [a few wait] ─▶ thread: crate `drift` ─┬─▶ kept: drift.log, durable
//!                                                                                   ├─▶ health, metrics, page
//!                                                                                   └─▶ audit log
//! ```
//!
//! Nothing here can hold up or change an answer: what goes wrong is counted and told, and the image is left out.
//! Start at [`Drift::offer`]; the statistics are in the crate.

mod kept;
mod report;

pub(crate) use report::DriftVerb;

use crate::{
    audit::{Audit, Event},
    looks::{Known, Offer},
    metrics::{Gauge, Labelled},
};
use ::drift::{Alarm, Monitor, Notice, Summary, What};
use anyhow::{Context, Result};
use kept::Kept;
use serde::Serialize;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, SystemTime},
};

/// Where answered images are offered, and what came of it.
#[derive(Debug)]
pub(crate) struct Drift {
    offered: SyncSender<Offer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    status: Status,
    now: Option<Now>,
}

/// A reference at work.
#[derive(Debug)]
struct Now {
    known: Arc<Known>,
    monitor: Monitor,
}

/// How it is. Field names are a contract: append only.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Status {
    /// SHA-256 of the reference.
    pub(crate) reference: Option<String>,
    /// Why there is none, or what went wrong last.
    pub(crate) reason: Option<String>,
    /// Images looked at since the start.
    pub(crate) observed: u64,
    /// Images left out since the start: too many at a time, or something went wrong.
    pub(crate) left_out: u64,
    pub(crate) alarms: Vec<SourceAlarm>,
    /// How close each source is to its limit, in percent.
    pub(crate) of_limit: Vec<(String, u32)>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SourceAlarm {
    pub(crate) source: String,
    #[serde(flatten)]
    pub(crate) alarm: Alarm,
}

/// Images that wait, a few hundred kilobytes each.
const WAITING: usize = 16;
/// How often it is looked up which bundle answers.
const LOOK: Duration = Duration::from_secs(1);

/// What the bundle that answers is compared with, or why there is nothing; `None` if no bundle answers.
pub(crate) type Current = Box<dyn Fn() -> Option<Result<Arc<Known>, String>> + Send>;

impl Drift {
    /// Starts the thread; what was seen before is read behind the daemon's start.
    pub(crate) fn start(folder: PathBuf, audit: Arc<Audit>, current: Current) -> Result<Self> {
        let (offered, offers) = mpsc::sync_channel(WAITING);
        let state = Arc::<Mutex<State>>::default();
        let thread = Thread { folder, audit, current, kept: None, state: state.clone() };
        thread::Builder::new()
            .name("drift".into())
            .spawn(move || thread.run(&offers))
            .context("cannot start the thread that notices drift")?;
        Ok(Self { offered, state })
    }

    /// An image was answered. Returns at once.
    pub(crate) fn offer(&self, offer: Offer) {
        if self.offered.try_send(offer).is_err() {
            lock(&self.state).status.left_out += 1;
        }
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.state).status.clone()
    }

    /// Everything there is to say; none without a reference.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let state = lock(&self.state);
        let now = state.now.as_ref()?;
        Some(now.monitor.summary(&now.known.reference))
    }
}

impl Status {
    /// What somebody should look at.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.alarms.iter().map(|SourceAlarm { source, alarm }| {
            format!("drift, {source}: {} {}", alarm.feature, alarm.text)
        })
    }

    /// For `/metrics`.
    pub(crate) fn gauges(&self) -> [Gauge; 3] {
        [
            ("cxr_drift_observed", "Images compared with the calibration", self.observed),
            ("cxr_drift_left_out", "Answered images not compared", self.left_out),
            ("cxr_drift_alarms", "Alarms that stand", self.alarms.len() as u64),
        ]
    }

    /// The same by source.
    pub(crate) fn labelled(&self) -> Labelled {
        let row = |(source, percent): &(String, u32)| {
            (vec![("source", source.clone())], i64::from(*percent))
        };
        Labelled {
            name: "cxr_drift_of_limit_percent",
            help: "How close the images of a source are to an alarm, which is 100",
            rows: self.of_limit.iter().map(row).collect(),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic leaves the state an image short at worst.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread {
    folder: PathBuf,
    audit: Arc<Audit>,
    current: Current,
    /// The log of the reference in `state`; written without holding anybody up.
    kept: Option<Kept>,
    state: Arc<Mutex<State>>,
}

impl Thread {
    fn run(mut self, offers: &Receiver<Offer>) {
        self.guarded(None);
        loop {
            match offers.recv_timeout(LOOK) {
                Ok(offer) => self.guarded(Some(offer)),
                Err(RecvTimeoutError::Timeout) => self.guarded(None),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One round, whatever happens in it.
    fn guarded(&mut self, offer: Option<Offer>) {
        let is_image = offer.is_some();
        let round = || self.round(offer);
        let failed = match catch_unwind(AssertUnwindSafe(round)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "comparing panicked".to_owned(),
        };
        let mut state = lock(&self.state);
        state.status.left_out += u64::from(is_image);
        if state.status.reason.as_ref() != Some(&failed) {
            log::warn!("drift is not noticed: {failed}");
        }
        state.status.reason = Some(failed);
    }

    fn round(&mut self, offer: Option<Offer>) -> Result<()> {
        // Without anything to compare with, `reason` says why.
        let Some(known) = self.refresh()? else { return Ok(()) };
        let Some(Offer { source, seen }) = offer else { return Ok(()) };
        let looks = known.reference.looks(seen)?;
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // On disk first: what is counted is there after a restart.
        let kept = self.kept.as_mut().context("drift.log is closed")?;
        let added = kept.add(at.as_secs(), &source, &looks);
        let notices = {
            let mut state = lock(&self.state);
            let State { status, now } = &mut *state;
            let now = now.as_mut().context("the reference is gone")?;
            let notices = now.monitor.observe(&known.reference, at.as_secs(), &source, &looks)?;
            status.observed += 1;
            status.reason = None;
            say(status, now);
            notices
        };
        for notice in notices {
            self.audit.write(event(notice));
        }
        added.context("an image counts until the next start only: drift.log cannot be written")
    }

    /// Has the reference of the bundle that answers, if there is one.
    fn refresh(&mut self) -> Result<Option<Arc<Known>>> {
        let before = lock(&self.state).now.as_ref().map(|now| now.known.clone());
        let known = match (self.current)() {
            Some(Ok(known)) => known,
            Some(Err(why)) => {
                self.without(why);
                return Ok(None);
            }
            None => return Ok(before),
        };
        if before.is_some_and(|before| before.digest == known.digest) {
            return Ok(Some(known));
        }
        let (kept, monitor) = Kept::open(&self.folder, &known)?;
        self.kept = Some(kept);
        let mut state = lock(&self.state);
        let now = Now { known: known.clone(), monitor };
        state.status.reference = Some(now.known.digest.clone());
        state.status.reason = None;
        say(&mut state.status, &now);
        state.now = Some(now);
        Ok(Some(known))
    }

    fn without(&mut self, why: String) {
        self.kept = None;
        let mut state = lock(&self.state);
        state.now = None;
        let Status { observed, left_out, .. } = state.status;
        let reason = state.status.reason.take();
        if reason.as_ref() != Some(&why) {
            log::info!("drift is not noticed: {why}");
        }
        state.status = Status { observed, left_out, reason: Some(why), ..Status::default() };
    }
}

/// What the monitor says, for who asks often.
fn say(status: &mut Status, now: &Now) {
    let reference = &now.known.reference;
    let alarm = |(source, alarm)| SourceAlarm { source, alarm };
    status.alarms = now.monitor.alarms(reference).into_iter().map(alarm).collect();
    let closest = now.monitor.closest(reference).into_iter();
    status.of_limit = closest.map(|(source, most)| (source, (100.0 * most) as u32)).collect();
}

fn event(notice: Notice) -> Event {
    let outcome = if notice.began { "alarm" } else { "ended" };
    let (feature, kind) = match notice.what {
        What::Chart { feature, .. } => (feature, "images"),
        What::Window { span: ::drift::Span::Week, feature, .. } => (feature, "week"),
        What::Window { span: ::drift::Span::Month, feature, .. } => (feature, "month"),
    };
    log::warn!("drift, {}: {feature}, {kind}: {outcome}", notice.source);
    Event::Drift { source: notice.source, feature, over: kind, outcome }
}

#[cfg(test)]
mod tests;
