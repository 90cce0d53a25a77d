//! Received images and their answers on disk. The folder is the queue; there is no other truth.
//!
//! ```text
//! incoming/NAME.part   being received                         removed at start-up
//! images/KEY.dcm       accepted; the rename that brings it here is the commit point of C-STORE
//! attempts/KEY         how often a worker has begun with it and the daemon did not survive
//! results/KEY.json     the answer; its rename is the commit point of the analysis
//! overlays/KEY.png     picture with findings; written after the answer, which does without
//! lock                 held by the daemon that works here
//! ```
//!
//! `KEY` is `SEQUENCE_SOPINSTANCEUID_DIGEST` ([`Key`]): order of arrival, identity, contents. Waiting
//! means: image without result. So a crash at any point loses nothing that was acknowledged and
//! repeats at most one analysis.
//!
//! The same object sent again (same UID, same bytes) is acknowledged and not queued again, unless it
//! was parked: then it has another chance. Another
//! object under the same UID is kept beside the first: both are answered, the newest is shown. We
//! neither overwrite an answer somebody may have acted on nor refuse a corrected image.

mod attempts;
mod incoming;
mod key;

pub(crate) use incoming::Incoming;
pub(crate) use key::Key;

use crate::{config::SpoolConfig, durable, metrics::Counts, report::Report, uid::Uid};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};
use tokio::sync::Notify;

/// The spool folder and what is in it. Shared by receivers, worker and HTTP.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    keep_answered: usize,
    max_bytes: u64,
    /// Never held while a disk works: HTTP handlers take it on threads that must not block.
    index: Mutex<Index>,
    /// Held while an object is moved in: one at a time, so that equal objects meet.
    accepting: Mutex<()>,
    /// Holds the lock.
    _lock: File,
    /// Rung when an image has been accepted.
    pub(crate) arrived: Notify,
}

#[derive(Debug, Default)]
struct Index {
    /// By sequence number.
    entries: BTreeMap<u64, Entry>,
    waiting: BTreeSet<u64>,
    /// Whose file in `attempts` counts a start of this process that it has survived.
    survived: BTreeSet<u64>,
    next: u64,
    /// Of accepted images.
    bytes: u64,
    /// Of images being received.
    reserved: u64,
    next_part: u64,
}

/// One accepted image.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) bytes: u64,
    pub(crate) received: SystemTime,
    pub(crate) state: State,
    /// Tries that failed for a reason of its own, since the daemon started.
    pub(crate) failures: u32,
    /// Tries that the disk refused, since the daemon started.
    pub(crate) refusals: u32,
    /// Left alone until then.
    ready_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Running,
    Answered,
}

/// What became of a received object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    New(Key),
    /// Same UID and contents as this one.
    Duplicate(Key),
    /// Same UID and contents as this one, which was parked and waits again.
    Again(Key),
    /// Same UID as an earlier one, other contents.
    Revision(Key),
}

const FOLDERS: [&str; 5] = ["incoming", "images", "attempts", "overlays", "results"];

impl Spool {
    /// Opens or creates the folder: sweeps what was being received, queues what has no answer.
    ///
    /// Fails, before it touches anything, if another daemon works there.
    pub(crate) fn open(config: &SpoolConfig) -> Result<Self> {
        let folder = config.path.clone();
        let lock = lock(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
        for name in FOLDERS {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let index =
            Index::load(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(Self {
            folder,
            keep_answered: config.keep_answered,
            max_bytes: config.max_bytes,
            index: Mutex::new(index),
            accepting: Mutex::default(),
            _lock: lock,
            arrived: Notify::new(),
        })
    }

    /// A place for an object that is about to arrive.
    pub(crate) fn begin(&self) -> io::Result<Incoming<'_>> {
        let part = {
            let mut index = self.lock();
            index.next_part += 1;
            index.next_part
        };
        Incoming::create(self, self.folder.join("incoming").join(format!("{part}.part")))
    }

    /// The oldest image that waits and is not left alone at `now`, marked as running.
    pub(crate) fn take(&self, now: Instant) -> Option<Entry> {
        let mut index = self.lock();
        let is_ready = |sequence: &&u64| {
            let ready_at = index.entries.get(sequence).and_then(|entry| entry.ready_at);
            ready_at.is_none_or(|at| at <= now)
        };
        let sequence = *index.waiting.iter().find(is_ready)?;
        index.waiting.remove(&sequence);
        let entry = index.entries.get_mut(&sequence)?;
        entry.state = State::Running;
        Some(entry.clone())
    }

    /// Gives an image back to the queue with its counts, to be left alone until `ready_at`.
    pub(crate) fn put_back(&self, entry: Entry, ready_at: Instant) {
        let mut index = self.lock();
        let sequence = entry.key.sequence;
        let entry = Entry { state: State::Waiting, ready_at: Some(ready_at), ..entry };
        index.entries.insert(sequence, entry);
        index.waiting.insert(sequence);
    }

    /// Gives every image back that a worker took and will not answer.
    pub(crate) fn put_back_running(&self) {
        let mut index = self.lock();
        let running = index.entries.values().filter(|entry| entry.state == State::Running);
        let running: Vec<Entry> = running.cloned().collect();
        for entry in running {
            index.waiting.insert(entry.key.sequence);
            index.entries.insert(entry.key.sequence, Entry { state: State::Waiting, ..entry });
        }
    }

    /// Writes the answer. After this returns, it survives a power cut.
    pub(crate) fn answer(&self, key: &Key, result: &[u8]) -> io::Result<()> {
        durable::write(&self.path("results", key, "json"), result)?;
        let _ = fs::remove_file(self.path("attempts", key, ""));
        self.lock().survived.remove(&key.sequence);
        Ok(())
    }

    /// Writes the overlay of an answered image.
    pub(crate) fn keep_overlay(&self, key: &Key, png: &[u8]) -> io::Result<()> {
        durable::write(&self.path("overlays", key, "png"), png)
    }

    /// Shows the answer, and makes room.
    pub(crate) fn publish(&self, key: &Key) {
        {
            let mut index = self.lock();
            index.waiting.remove(&key.sequence);
            if let Some(entry) = index.entries.get_mut(&key.sequence) {
                entry.state = State::Answered;
            }
        }
        while self.counts().answered > self.keep_answered && self.remove_oldest_answered() {}
    }

    pub(crate) fn image_path(&self, key: &Key) -> PathBuf {
        self.path("images", key, "dcm")
    }

    /// The answer, once there is one.
    pub(crate) fn result(&self, key: &Key) -> io::Result<Vec<u8>> {
        fs::read(self.path("results", key, "json"))
    }

    pub(crate) fn overlay(&self, key: &Key) -> io::Result<Vec<u8>> {
        fs::read(self.path("overlays", key, "png"))
    }

    /// The newest `limit` entries, newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<Entry> {
        self.lock().entries.values().rev().take(limit).cloned().collect()
    }

    /// Everything received under this UID, newest first.
    pub(crate) fn revisions(&self, uid: &Uid) -> Vec<Entry> {
        self.lock().entries.values().rev().filter(|entry| entry.key.uid == *uid).cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        let index = self.lock();
        let state = |state| index.entries.values().filter(|entry| entry.state == state).count();
        Counts {
            waiting: index.waiting.len(),
            running: state(State::Running),
            answered: state(State::Answered),
            bytes: index.bytes,
        }
    }

    /// Sets `more` bytes aside for an object being received; an error if the spool would be too large.
    fn reserve(&self, more: u64) -> io::Result<()> {
        let fits = |index: &Index| index.bytes + index.reserved + more <= self.max_bytes;
        let mut index = self.lock();
        if !fits(&index) {
            drop(index);
            while self.remove_oldest_answered() && !fits(&self.lock()) {}
            index = self.lock();
            if !fits(&index) {
                let message = format!("the spool holds its {} bytes", self.max_bytes);
                return Err(io::Error::new(io::ErrorKind::StorageFull, message));
            }
        }
        index.reserved += more;
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.lock().reserved -= bytes;
    }

    /// Moves a complete, fsynced file in.
    fn accept(&self, part: &Path, uid: Uid, digest: u64, bytes: u64) -> io::Result<Accepted> {
        let _one_at_a_time = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = self.revisions(&uid);
        if let Some(same) = earlier.iter().find(|entry| entry.key.digest == digest) {
            return self.again(same);
        }
        let sequence = {
            let mut index = self.lock();
            index.next += 1; // also if what follows fails: numbers are never used twice
            index.next - 1
        };
        let key = Key { sequence, uid, digest };
        let path = self.image_path(&key);
        fs::rename(part, &path)?;
        if let Err(error) = durable::sync_parent(&path) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.queue(Entry::new(key.clone(), bytes, SystemTime::now()));
        Ok(if earlier.is_empty() { Accepted::New(key) } else { Accepted::Revision(key) })
    }

    /// What becomes of an object that we have. One that was parked is analysed again.
    fn again(&self, same: &Entry) -> io::Result<Accepted> {
        let key = same.key.clone();
        let parked = || self.result(&key).is_ok_and(|json| Report::is_parked(&json));
        if same.state != State::Answered || !parked() {
            return Ok(Accepted::Duplicate(key));
        }
        self.reopen(&key)?;
        let path = self.path("results", &key, "json");
        if let Err(error) = fs::remove_file(&path).and_then(|()| durable::sync_parent(&path)) {
            self.publish(&key);
            return Err(error);
        }
        self.queue(Entry::new(key.clone(), same.bytes, same.received));
        Ok(Accepted::Again(key))
    }

    /// Keeps an answered image from being removed.
    fn reopen(&self, key: &Key) -> io::Result<()> {
        match self.lock().entries.get_mut(&key.sequence) {
            Some(entry) if entry.state == State::Answered => {
                entry.state = State::Waiting;
                Ok(())
            }
            _ => Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is just being removed")),
        }
    }

    fn queue(&self, entry: Entry) {
        {
            let mut index = self.lock();
            let before = index.entries.get(&entry.key.sequence).map_or(0, |before| before.bytes);
            index.bytes += entry.bytes - before;
            index.waiting.insert(entry.key.sequence);
            index.entries.insert(entry.key.sequence, entry);
        }
        self.arrived.notify_one();
    }

    /// Image first: what is left of an answer without its image is swept at the next start.
    fn remove_oldest_answered(&self) -> bool {
        let mut index = self.lock();
        let oldest = index.entries.values().find(|entry| entry.state == State::Answered);
        let Some(entry) = oldest.cloned() else { return false };
        index.entries.remove(&entry.key.sequence);
        index.bytes -= entry.bytes;
        drop(index);
        for path in [
            self.image_path(&entry.key),
            self.path("results", &entry.key, "json"),
            self.path("overlays", &entry.key, "png"),
        ] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::warn!("cannot remove {}: {error}", path.display());
            }
        }
        true
    }

    fn path(&self, folder: &str, key: &Key, extension: &str) -> PathBuf {
        self.folder.join(folder).join(key.to_string()).with_added_extension(extension)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // No code that holds this lock leaves the index half changed, so a panic elsewhere is harmless.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(key: Key, bytes: u64, received: SystemTime) -> Self {
        let (state, ready_at) = (State::Waiting, None);
        Self { key, bytes, received, state, failures: 0, refusals: 0, ready_at }
    }
}

/// Keeps other daemons out of the folder as long as the file is open.
fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another daemon works in it"),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock it"),
    }
}

impl Index {
    fn load(folder: &Path) -> io::Result<Self> {
        for leftover in fs::read_dir(folder.join("incoming"))? {
            fs::remove_file(leftover?.path())?;
        }
        let mut index = Self::default();
        for file in fs::read_dir(folder.join("images"))? {
            let file = file?;
            let Some(key) = Key::of_file(&file.path()) else {
                log::warn!("{} is none of ours: left alone", file.path().display());
                continue;
            };
            let about = file.metadata()?;
            let received = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            index.bytes += about.len();
            index.next = index.next.max(key.sequence + 1);
            let entry = Entry::new(key, about.len(), received);
            index.entries.insert(entry.key.sequence, entry);
        }
        for name in ["attempts", "overlays", "results"] {
            for file in fs::read_dir(folder.join(name))? {
                let path = file?.path();
                let key = Key::of_file(&path);
                index.next = index.next.max(key.as_ref().map_or(0, |key| key.sequence + 1));
                match key.and_then(|key| index.entries.get_mut(&key.sequence)) {
                    Some(entry) if name == "results" => entry.state = State::Answered,
                    Some(_) => {}
                    // An answer whose image was purged, or half a file.
                    None => fs::remove_file(&path)?,
                }
            }
        }
        index.waiting = index
            .entries
            .values()
            .filter(|e| e.state == State::Waiting)
            .map(|e| e.key.sequence)
            .collect();
        Ok(index)
    }
}

#[cfg(test)]
mod tests;
