//! Looking ahead: the worker, when it has nothing else to do, analyses an object whose last byte is here while its file
//! is still being fsynced. What it finds is kept in memory and becomes an answer only if the object is accepted.
//!
//! `attempts/early_SOPINSTANCEUID_DIGEST` exists meanwhile, since the object has no number yet. If it is there at
//! start-up, the process ended with this object in its hands: it may be the reason. If the object was accepted, that
//! counts as one of its `attempts`. If it was not, its sender will send it again, and then nobody looks ahead: an object
//! that ends the daemon must become durable and be put behind the others, as it would without this.

use super::{Contents, Entry, Key, Spool, State, attempts};
use crate::uid::Uid;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Instant, SystemTime},
};

/// Objects that wait for their fsync, oldest first.
pub(super) type Offered = Mutex<VecDeque<Weak<Contents>>>;

/// Objects that are remembered because the daemon ended in them: each costs somebody an end of the daemon.
const MOST_DEADLY: usize = 64;
const PREFIX: &str = "early_";

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
        let path = self.folder.join("attempts").join(name(&contents.uid, contents.digest));
        attempts::write(&path, 1).ok().map(|()| (contents, Note(path)))
    }

    /// How often the daemon ended in this object before it was accepted. From now on its number counts it.
    pub(super) fn died_early(&self, key: &Key) -> u32 {
        if !self.lock().deadly.remove(&(key.uid.clone(), key.digest)) {
            return 0;
        }
        let note = self.folder.join("attempts").join(name(&key.uid, key.digest));
        if let Err(error) = hand_on(&note, &self.path("attempts", key, ""), 1) {
            log::warn!("{}: cannot note in what the daemon ended: {error}", key.label());
        }
        1
    }

    fn offered(&self) -> MutexGuard<'_, VecDeque<Weak<Contents>>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file in `attempts/` is a note of this kind.
pub(super) fn is_note(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

/// What the notes of an earlier process say: objects that were not accepted are returned, attempts at others counted.
pub(super) fn sort_out(
    notes: Vec<PathBuf>,
    entries: &mut BTreeMap<u64, Entry>,
    now: Instant,
) -> io::Result<HashSet<(Uid, u64)>> {
    let mut deadly: Vec<(SystemTime, PathBuf, (Uid, u64))> = Vec::new();
    for path in notes {
        let Some((uid, digest)) = about(&path) else {
            fs::remove_file(&path)?;
            continue;
        };
        let is_it = |entry: &&mut Entry| entry.key.uid == uid && entry.key.digest == digest;
        match entries.values_mut().rev().find(is_it) {
            Some(entry) if entry.state == State::Waiting => {
                entry.deaths = entry.deaths.max(1);
                entry.ready_at = attempts::pause(entry.deaths).map(|pause| now + pause);
                hand_on(&path, &path.with_file_name(entry.key.name()), entry.deaths)?;
            }
            Some(_) => fs::remove_file(&path)?,
            None => deadly.push((fs::metadata(&path)?.modified()?, path, (uid, digest))),
        }
    }
    deadly.sort_by_key(|(written, ..)| *written);
    for (_, path, _) in deadly.drain(..deadly.len().saturating_sub(MOST_DEADLY)) {
        fs::remove_file(path)?;
    }
    Ok(deadly.into_iter().map(|(.., object)| object).collect())
}

/// Counts in `attempt` what a note says.
fn hand_on(note: &Path, attempt: &Path, deaths: u32) -> io::Result<()> {
    attempts::write(attempt, deaths)?;
    fs::remove_file(note)
}

fn name(uid: &Uid, digest: u64) -> String {
    format!("{PREFIX}{uid}_{digest:016x}")
}

/// The object that a note is about; `None` if the note is none of ours.
fn about(note: &Path) -> Option<(Uid, u64)> {
    let (uid, digest) = note.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('_')?;
    Some((Uid::parse(uid).ok()?, u64::from_str_radix(digest, 16).ok()?))
}
