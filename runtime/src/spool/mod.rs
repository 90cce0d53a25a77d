//! Received images and their answers on disk. The folder is the queue; there is no other truth.
//!
//! ```text
//! incoming/NAME.part   being received                         removed at start-up
//! images/KEY.dcm       accepted; the rename that brings it here is the commit point of C-STORE
//! attempts/KEY         how often a worker has begun with it   so that a killer image is parked
//! overlays/KEY.png     picture with findings                  written before the answer
//! results/KEY.json     the answer; its rename is the commit point of the analysis
//! ```
//!
//! `KEY` is `SEQUENCE_SOPINSTANCEUID_DIGEST` ([`Key`]): order of arrival, identity, contents. Waiting
//! means: image without result. So a crash at any point loses nothing that was acknowledged and
//! repeats at most one analysis.
//!
//! The same object sent again (same UID, same bytes) is acknowledged and not queued again. Another
//! object under the same UID is kept beside the first: both are answered, the newest is shown. We
//! neither overwrite an answer somebody may have acted on nor refuse a corrected image.

mod incoming;
mod key;

pub(crate) use incoming::Incoming;
pub(crate) use key::Key;

use crate::{config::SpoolConfig, dicom::Uid, durable};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::Notify;

/// The spool folder and what is in it. Shared by receivers, worker and HTTP.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    keep_answered: usize,
    max_bytes: u64,
    index: Mutex<Index>,
    /// Rung when an image has been accepted.
    pub(crate) arrived: Notify,
}

#[derive(Debug, Default)]
struct Index {
    /// By sequence number.
    entries: BTreeMap<u64, Entry>,
    waiting: BTreeSet<u64>,
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
    /// Same UID as an earlier one, other contents.
    Revision(Key),
}

/// Images by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) answered: usize,
    pub(crate) bytes: u64,
}

const FOLDERS: [&str; 5] = ["incoming", "images", "attempts", "overlays", "results"];

impl Spool {
    /// Opens or creates the folder: sweeps what was being received, queues what has no answer.
    pub(crate) fn open(config: &SpoolConfig) -> Result<Self> {
        let folder = config.path.clone();
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

    /// The oldest waiting image, now marked as running.
    pub(crate) fn take(&self) -> Option<Entry> {
        let mut index = self.lock();
        let sequence = index.waiting.pop_first()?;
        let entry = index.entries.get_mut(&sequence)?;
        entry.state = State::Running;
        Some(entry.clone())
    }

    /// Gives an image back to the queue, behind nobody.
    pub(crate) fn put_back(&self, key: &Key) {
        let mut index = self.lock();
        if let Some(entry) = index.entries.get_mut(&key.sequence) {
            entry.state = State::Waiting;
            index.waiting.insert(key.sequence);
        }
    }

    /// Counts an attempt, durably, before it is made; returns how many there have been, this one included.
    pub(crate) fn begin_attempt(&self, key: &Key) -> io::Result<u32> {
        let path = self.path("attempts", key, "");
        let before = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let attempts = before + 1;
        durable::write(&path, format!("{attempts}\n").as_bytes())?;
        Ok(attempts)
    }

    /// Publishes the answer. After this returns, it survives a power cut.
    pub(crate) fn answer(
        &self,
        key: &Key,
        result: &[u8],
        overlay: Option<&[u8]>,
    ) -> io::Result<()> {
        if let Some(png) = overlay {
            durable::write(&self.path("overlays", key, "png"), png)?;
        }
        durable::write(&self.path("results", key, "json"), result)?;
        let _ = fs::remove_file(self.path("attempts", key, ""));
        {
            let mut index = self.lock();
            index.waiting.remove(&key.sequence);
            if let Some(entry) = index.entries.get_mut(&key.sequence) {
                entry.state = State::Answered;
            }
        }
        self.purge();
        Ok(())
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

    /// Moves a complete, fsynced file in; one at a time, so that equal objects meet here.
    fn accept(&self, part: &Path, uid: Uid, digest: u64, bytes: u64) -> io::Result<Accepted> {
        let mut index = self.lock();
        let same_uid = index.entries.values().filter(|entry| entry.key.uid == uid);
        let mut revision = false;
        for entry in same_uid {
            if entry.key.digest == digest {
                return Ok(Accepted::Duplicate(entry.key.clone()));
            }
            revision = true;
        }
        let key = Key { sequence: index.next, uid, digest };
        let path = self.image_path(&key);
        fs::rename(part, &path)?;
        if let Err(error) = durable::sync_parent(&path) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        index.next += 1;
        index.bytes += bytes;
        index.waiting.insert(key.sequence);
        let entry =
            Entry { key: key.clone(), bytes, received: SystemTime::now(), state: State::Waiting };
        index.entries.insert(key.sequence, entry);
        drop(index);
        self.arrived.notify_one();
        Ok(if revision { Accepted::Revision(key) } else { Accepted::New(key) })
    }

    /// Keeps the configured number of answered images.
    fn purge(&self) {
        while self.counts().answered > self.keep_answered && self.remove_oldest_answered() {}
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
            let entry = Entry { bytes: about.len(), received, state: State::Waiting, key };
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
