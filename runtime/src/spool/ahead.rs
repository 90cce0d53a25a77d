//! Looking ahead: the worker, when it has nothing else to do, analyses an object whose last byte is here while its file
//! is still being fsynced. What it finds is kept in memory and becomes an answer only if the object is accepted.
//!
//! `attempts/early_SOPINSTANCEUID_DIGEST` exists meanwhile, since the object has no number yet. If it is there at
//! start-up, the process ended with this object in its hands: it may be the reason. If the object was accepted, that
//! counts as one of its `attempts`. If it was not, its sender will send it again, and then nobody looks ahead: an object
//! that ends the daemon must become durable and be put behind the others, as it would without this.

use super::{Contents, Key, Spool, attempts, notes};
use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Objects that wait for their fsync, oldest first.
pub(super) type Offered = Mutex<VecDeque<Weak<Contents>>>;

/// Exists while the worker looks ahead; its file goes with it.
#[derive(Debug)]
pub(crate) struct Note(PathBuf);

impl Drop for Note {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("cannot note a survived look ahead: {error}");
        }
    }
}

impl Spool {
    /// Shows the worker an object whose last byte is here.
    pub(super) fn offer(&self, contents: &Arc<Contents>) {
        if self.lock().deadly.contains(&(contents.uid.clone(), contents.digest)) {
            return;
        }
        let mut offered = self.offered();
        offered.retain(|other| other.strong_count() > 0);
        offered.push_back(Arc::downgrade(contents));
        drop(offered);
        self.arrived.notify_one();
    }

    /// The first object that was offered and that nobody has looked at. `None` also if the disk refuses the note: that
    /// is told when the object's turn comes.
    pub(crate) fn look_ahead(&self) -> Option<(Arc<Contents>, Note)> {
        let contents = loop {
            // Its thread at the disk holds it, then its place in the queue; unless it was refused.
            if let Some(contents) = self.offered().pop_front()?.upgrade() {
                break contents;
            }
        };
        let path = self.folder.join("attempts").join(notes::name(&contents.uid, contents.digest));
        attempts::write(&path, 1).ok().map(|()| (contents, Note(path)))
    }

    /// How often the daemon ended in this object before it was accepted. From now on its number counts it.
    pub(super) fn died_early(&self, key: &Key) -> u32 {
        if !self.lock().deadly.remove(&(key.uid.clone(), key.digest)) {
            return 0;
        }
        let note = self.folder.join("attempts").join(notes::name(&key.uid, key.digest));
        if let Err(error) = notes::hand_on(&note, &self.path("attempts", key, ""), 1) {
            log::warn!("{}: cannot note in what the daemon ended: {error}", key.label());
        }
        1
    }

    fn offered(&self) -> MutexGuard<'_, VecDeque<Weak<Contents>>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
