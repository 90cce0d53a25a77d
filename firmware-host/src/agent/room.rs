//! The X-ray room: what its controllers tell goes into the journal, what the daemon shows goes to them.

use super::held;
use exposures::{Event, Journal, JournalError, Told, shown};
use protocol::exposure::OutOfRange;
use protocol::{Detector, Exposure, Interlock, Refusal, Response};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Controllers of one room; whoever comes after them is refused.
const CONTROLLERS: usize = 16;

#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    /// By controller; the last one told is shown.
    detectors: BTreeMap<u16, Detector>,
    interlocks: BTreeMap<u16, Interlock>,
    detector: Option<Detector>,
    interlock: Option<Interlock>,
}

impl Room {
    pub(super) fn open(folder: &Path) -> Result<Self, JournalError> {
        let state = State {
            journal: Journal::open(folder)?,
            detectors: BTreeMap::new(),
            interlocks: BTreeMap::new(),
            detector: None,
            interlock: None,
        };
        Ok(Self { folder: folder.to_owned(), state: Mutex::new(state) })
    }

    pub(super) fn expose(&self, exposure: Exposure) -> Result<Response, Refusal> {
        exposure.check().map_err(value)?;
        let sequence = exposure.sequence;
        match held(&self.state).journal.tell(exposure).map_err(disk)? {
            Told::New(number) => log::info!("exposure {sequence} is entry {number}"),
            Told::Again(_) => log::debug!("exposure {sequence} was told before"),
            Told::Contradicts(number) => {
                let detail = format!(
                    "exposure {sequence} was told before, otherwise (entry {number}); a counter that begins again needs another epoch"
                );
                return Err(Refusal::Value { detail });
            }
        }
        self.lamp()
    }

    /// Only what changes goes into the journal: controllers say it again and again.
    pub(super) fn detector(&self, detector: Detector) -> Result<Response, Refusal> {
        detector.check().map_err(value)?;
        let mut state = held(&self.state);
        let before = state.detectors.get(&detector.controller);
        if before.is_none_or(|before| before.readiness != detector.readiness) {
            known_or_few(detector.controller, before.is_some(), state.detectors.len())?;
            state.journal.append(Event::Detector(detector)).map_err(disk)?;
        }
        state.detectors.insert(detector.controller, detector);
        state.detector = Some(detector);
        drop(state);
        self.lamp()
    }

    pub(super) fn interlock(&self, interlock: Interlock) -> Result<Response, Refusal> {
        let mut state = held(&self.state);
        let before = state.interlocks.get(&interlock.controller);
        if before.is_none_or(|before| before.state != interlock.state) {
            known_or_few(interlock.controller, before.is_some(), state.interlocks.len())?;
            state.journal.append(Event::Interlock(interlock)).map_err(disk)?;
        }
        state.interlocks.insert(interlock.controller, interlock);
        state.interlock = Some(interlock);
        drop(state);
        self.lamp()
    }

    pub(super) fn lamp(&self) -> Result<Response, Refusal> {
        let shown = shown(&self.folder).map_err(unreadable)?;
        Ok(Response::Lamp { lamp: shown.lamp, missing: shown.missing })
    }

    pub(super) fn about(&self) -> Result<Response, Refusal> {
        let shown = shown(&self.folder).map_err(unreadable)?;
        let state = held(&self.state);
        Ok(Response::Room(protocol::Room {
            lamp: shown.lamp,
            missing: shown.missing,
            unexplained: shown.unexplained,
            entries: state.journal.count(),
            latest: state.journal.latest(),
            detector: state.detector,
            interlock: state.interlock,
        }))
    }
}

fn known_or_few(controller: u16, known: bool, count: usize) -> Result<(), Refusal> {
    if known || count < CONTROLLERS {
        return Ok(());
    }
    let detail = format!("controller {controller} is one more than {CONTROLLERS}");
    Err(Refusal::Value { detail })
}

fn value(error: OutOfRange) -> Refusal {
    Refusal::Value { detail: error.to_string() }
}

fn disk(error: JournalError) -> Refusal {
    let source = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
    Refusal::Disk { detail: format!("{error}{source}") }
}

fn unreadable(error: std::io::Error) -> Refusal {
    Refusal::Disk { detail: format!("the lamp cannot be read: {error}") }
}
