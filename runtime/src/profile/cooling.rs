//! Giving way to heat: what the sensors call for, looked at once a second at most.

use machine::{Board, Machine};
use protocol::{Derating, Heat};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shared by the worker, which obeys, and by those who report.
#[derive(Debug)]
pub(crate) struct Cooling {
    machine: Machine,
    board: Board,
    /// Otherwise heat is told and nothing is done.
    obeys: bool,
    last: Mutex<Option<(Instant, Heat)>>,
}

/// Sensors are no faster.
const LOOK: Duration = Duration::from_secs(1);
/// However long an image took.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Cooling {
    pub(super) fn new(machine: Machine, board: Board, obeys: bool) -> Self {
        Self { machine, board, obeys, last: Mutex::default() }
    }

    /// What is called for now. Says in the log when that changes.
    pub(crate) fn look(&self) -> Heat {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &*last {
            Some((at, heat)) if at.elapsed() < LOOK => return heat.clone(),
            Some((_, heat)) => heat.derating,
            None => Derating::None,
        };
        let mut heat = self.machine.heat(self.board, before);
        if !self.obeys {
            heat.derating = Derating::None;
        }
        if heat.derating != before {
            let said = machine::hot(&heat).unwrap_or_else(|| "no sensor answers any more".into());
            if heat.derating > before {
                log::warn!("too hot: {said}");
            } else {
                log::info!("cooler: {said}");
            }
        }
        *last = Some((Instant::now(), heat.clone()));
        heat
    }

    /// How long to leave the processor alone after an image that took so long.
    pub(crate) fn pause(&self, took: Duration) -> Option<Duration> {
        (self.look().derating == Derating::Pauses).then_some(took.min(LONGEST_PAUSE))
    }
}
