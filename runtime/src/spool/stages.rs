//! When what happened to an image on its way from the first byte to the archive. The last images only: for the log,
//! and for `runtime bench --end-to-end`.
//!
//! ```text
//! Opened ── Received ─┬─ Synced ── Accepted ── Acknowledged
//!                     └─ Begun ─── Analysed ─┴─ Committed ── Made (each object), delivered
//! ```

use results::Kind;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The object is announced.
    Opened,
    /// Its last byte is here.
    Received,
    /// Its file is on disk.
    Synced,
    /// So is its name: it is queued.
    Accepted,
    /// The sender was told.
    Acknowledged,
    /// The worker begins to look at it.
    Begun,
    Analysed,
    /// The result is on disk.
    Committed,
    /// An object for the archive is made.
    Made(Kind),
}

/// One image's stages so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way(Vec<(Stage, Instant)>);

impl Way {
    pub(super) fn begin() -> Self {
        Self(vec![(Stage::Opened, Instant::now())])
    }

    pub(super) fn mark(&mut self, stage: Stage) {
        self.0.push((stage, Instant::now()));
    }

    /// When it last was so far.
    pub(crate) fn at(&self, stage: Stage) -> Option<Instant> {
        self.0.iter().rev().find(|(done, _)| *done == stage).map(|(_, at)| *at)
    }

    /// The time from one stage to another; none if the other was earlier.
    pub(crate) fn between(&self, from: Stage, to: Stage) -> Option<Duration> {
        self.at(to)?.checked_duration_since(self.at(from)?)
    }
}

/// The ways of the last images.
#[derive(Debug, Default)]
pub(crate) struct Stages(Mutex<VecDeque<(u64, Way)>>);

const REMEMBERED: usize = 64;

impl Stages {
    /// Goes on with an image that has a number now.
    pub(super) fn begin(&self, sequence: u64, way: Way) {
        let mut ways = self.lock();
        ways.push_back((sequence, way));
        if ways.len() > REMEMBERED {
            ways.pop_front();
        }
    }

    /// Nothing happens if the image is not remembered.
    pub(crate) fn mark(&self, sequence: u64, stage: Stage, at: Instant) {
        if let Some((_, way)) = self.lock().iter_mut().find(|(number, _)| *number == sequence) {
            way.0.push((stage, at));
        }
    }

    pub(crate) fn of(&self, sequence: u64) -> Option<Way> {
        self.lock().iter().find(|(number, _)| *number == sequence).map(|(_, way)| way.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Way)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_images_are_remembered_with_their_times() {
        let stages = Stages::default();
        for sequence in 0..100 {
            stages.begin(sequence, Way::begin());
        }
        assert!(stages.of(35).is_none() && stages.of(36).is_some());
        let opened = stages.of(99).unwrap().at(Stage::Opened).unwrap();
        stages.mark(99, Stage::Committed, opened + Duration::from_millis(7));
        stages.mark(3, Stage::Committed, opened);
        let way = stages.of(99).unwrap();
        let took = way.between(Stage::Opened, Stage::Committed);
        assert_eq!(took, Some(Duration::from_millis(7)));
        assert_eq!(way.between(Stage::Committed, Stage::Opened), None);
        assert_eq!(way.between(Stage::Opened, Stage::Synced), None);
    }
}
