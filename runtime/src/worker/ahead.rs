//! What the worker found of objects before they were accepted.

use super::Worker;
use crate::{
    analysis::Loaded,
    looks::Offer,
    spool::{Contents, Entry},
};
use results::Record;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What came of an image, and when.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    /// For `drift`, once it is answered.
    pub(super) offer: Option<Offer>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// Findings of objects that are not accepted yet, few at a time: as many as fit into the spool's memory.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    all: Mutex<Vec<Early>>,
    /// Time that the worker looked ahead since somebody asked, microseconds.
    spent: AtomicU64,
}

/// What a bundle found in an object.
#[derive(Debug)]
struct Early {
    of: Weak<Contents>,
    by: Weak<Loaded>,
    found: Found,
}

impl Seen {
    /// What `loaded` found in this image before it was accepted.
    pub(super) fn take(&self, entry: &Entry, loaded: &Arc<Loaded>) -> Option<Found> {
        let (of, by) = (Arc::downgrade(entry.contents.as_ref()?), Arc::downgrade(loaded));
        let mut all = self.lock();
        let place = all.iter().position(|early| early.of.ptr_eq(&of))?;
        let early = all.swap_remove(place);
        early.by.ptr_eq(&by).then_some(early.found)
    }

    /// How long the worker has looked ahead since the last time somebody asked: a hot machine rests for that, too.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_micros(self.spent.swap(0, Relaxed))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Early>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Analyses an object that is still being made durable; whether there was one. If it fails nothing is lost and
    /// nothing is counted: the image is analysed again when its turn comes.
    pub(super) fn look_ahead(&self, loaded: &Arc<Loaded>) -> bool {
        let Some((contents, note)) = self.spool.look_ahead() else { return false };
        let began = Instant::now();
        self.derate(loaded);
        let analyse = || loaded.analyse_hashed("", &contents.bytes, || contents.sha256);
        let analysed = catch_unwind(AssertUnwindSafe(analyse));
        drop(note);
        self.seen.spent.fetch_add(began.elapsed().as_micros() as u64, Relaxed);
        match analysed {
            Ok(Ok(analysis)) => {
                let (record, offer, ended) = (analysis.report, analysis.seen, Instant::now());
                let found = Found { record, offer, began, ended };
                let (of, by) = (Arc::downgrade(&contents), Arc::downgrade(loaded));
                let mut all = self.seen.lock();
                // Of objects that were refused, or that another bundle answered.
                all.retain(|early| early.of.strong_count() > 0);
                all.push(Early { of, by, found });
            }
            Ok(Err(error)) => log::debug!("looking ahead failed: {error:#}"),
            Err(_) => self.model.distrust(),
        }
        true
    }
}
