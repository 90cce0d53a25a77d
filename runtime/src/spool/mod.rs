//! Received images and their answers on disk. The folder is the queue; there is no other truth.
//!
//! ```text
//! incoming/NAME.part   being received                         removed at start-up
//! images/KEY.dcm       accepted; the rename that brings it here is the commit point of C-STORE
//! attempts/KEY         a worker is at it, or was when the daemon ended: see `attempts`
//! attempts/early_NAME  the same of an object that is not accepted yet: see `ahead`
//! results/KEY.json     the answer; its rename is the commit point of the analysis
//! overlays/KEY.png     picture with findings: a cache, see `pictures`
//! next                 no sequence number below this one is free, though its image may be purged
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
//!
//! What may stay and what goes when is in `room`; how those that arrive together share an fsync, in `moving`. What is
//! received stays in memory until it is answered, if there is room: `contents`. When what happened: `stages`.

mod ahead;
mod attempts;
mod clock;
mod contents;
mod incoming;
mod index;
mod key;
mod moving;
mod notes;
mod pictures;
mod room;
mod stages;

pub(crate) use contents::Contents;
pub(crate) use incoming::Incoming;
pub(crate) use index::{Ages, Counts, Entry, State};
pub(crate) use key::Key;
pub(crate) use room::{Disk, Ledger};
pub(crate) use stages::{Stage, Stages, Way};

use crate::{config::SpoolConfig, uid::Uid};
use ahead::Offered;
use anyhow::{Context, Result, bail};
use clock::Clock;
use contents::Memory;
use index::Index;
use moving::Moving;
use pictures::Pictures;
use results::Record;
use room::Limits;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};
use tokio::sync::Notify;

/// The spool folder and what is in it. Shared by receivers, worker and HTTP.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    limits: Limits,
    ledger: Arc<dyn Ledger>,
    /// Never held while a disk works: HTTP handlers take it on threads that must not block.
    index: Mutex<Index>,
    moving: Moving,
    memory: Arc<Memory>,
    offered: Offered,
    /// When what happened to the last images.
    pub(crate) stages: Arc<Stages>,
    /// What images are purged by when they are old.
    clock: Mutex<Clock>,
    /// Until then nothing is searched to purge: there was nothing.
    fruitless: Mutex<Option<Instant>>,
    /// Purged, and not told yet.
    gone: Mutex<Vec<u64>>,
    /// Holds the lock.
    _lock: File,
    /// Rung when an image has been accepted, or could be looked at ahead of that.
    pub(crate) arrived: Notify,
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

impl Accepted {
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::New(key) | Self::Duplicate(key) | Self::Again(key) | Self::Revision(key) => key,
        }
    }
}

const FOLDERS: [&str; 5] = ["incoming", "images", "attempts", "overlays", "results"];

impl Spool {
    /// A spool of which nobody else needs anything.
    #[cfg(test)]
    pub(crate) fn open(config: &SpoolConfig) -> Result<Self> {
        Self::open_with(config, Arc::new(room::NoLedger))
    }

    /// Opens or creates the folder: sweeps what was being received, queues what has no answer. The ledger says what
    /// is still needed.
    ///
    /// Fails, before it touches anything, if another daemon works there.
    pub(crate) fn open_with(config: &SpoolConfig, ledger: Arc<dyn Ledger>) -> Result<Self> {
        let folder = config.path.clone();
        let lock = lock(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
        for name in FOLDERS {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let index =
            Index::load(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let clock = Clock::new(newest(&folder, &index), Instant::now());
        let spool = Self {
            folder,
            limits: Limits::new(config),
            ledger,
            index: Mutex::new(index),
            moving: Moving::default(),
            memory: Arc::default(),
            offered: Offered::default(),
            stages: Arc::default(),
            clock: Mutex::new(clock),
            fruitless: Mutex::default(),
            gone: Mutex::default(),
            _lock: lock,
            arrived: Notify::new(),
        };
        spool.disk().with_context(|| format!("cannot measure {}", spool.folder.display()))?;
        spool.lock().others = spool.measure_others();
        Ok(spool)
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

    /// The image whose turn it is at `now`, marked as running. What is in memory of it goes to whoever takes it.
    pub(crate) fn take(&self, now: Instant) -> Option<Entry> {
        let mut index = self.lock();
        let sequence = index.next_ready(now)?.key.sequence;
        let mut contents = None;
        index.update(sequence, |entry| {
            entry.state = State::Running;
            contents = entry.contents.take();
        });
        index.get(sequence).map(|entry| Entry { contents, ..entry.clone() })
    }

    /// Gives an image back to the queue with its counts, to be left alone until `ready_at`.
    pub(crate) fn put_back(&self, entry: Entry, ready_at: Instant) {
        let (state, ready_at) = (State::Waiting, Some(ready_at));
        self.lock().insert(Entry { state, ready_at, contents: None, ..entry });
    }

    /// Gives every image back that a worker took and will not answer.
    pub(crate) fn put_back_running(&self) {
        let mut index = self.lock();
        let running: Vec<u64> = index.running().map(|entry| entry.key.sequence).collect();
        for sequence in running {
            index.update(sequence, |entry| entry.state = State::Waiting);
        }
    }

    /// Writes the answer. After this returns, it survives a power cut.
    pub(crate) fn answer(&self, key: &Key, result: &[u8]) -> io::Result<()> {
        durable::write(&self.path("results", key, "json"), result)?;
        self.end_attempts(key);
        self.lock().update(key.sequence, |entry| entry.answer_bytes = result.len() as u64);
        Ok(())
    }

    /// Shows the answer. From now on the image may be purged.
    pub(crate) fn publish(&self, key: &Key) {
        self.lock().update(key.sequence, |entry| entry.state = State::Answered);
    }

    pub(crate) fn image_path(&self, key: &Key) -> PathBuf {
        self.path("images", key, "dcm")
    }

    /// The answer, once there is one.
    pub(crate) fn result(&self, key: &Key) -> io::Result<Vec<u8>> {
        fs::read(self.path("results", key, "json"))
    }

    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.lock().get(key.sequence).is_some_and(|entry| entry.key == *key)
    }

    /// When an image was moved in and when its answer was; `None` unless both are there.
    pub(crate) fn times(&self, key: &Key) -> Option<(SystemTime, SystemTime)> {
        let received = self.lock().get(key.sequence)?.received;
        let answered = fs::metadata(self.path("results", key, "json")).ok()?.modified().ok()?;
        Some((received, answered))
    }

    /// The newest `limit` entries, newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<Entry> {
        self.lock().newest().take(limit).cloned().collect()
    }

    /// The number of the next image.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.lock().next
    }

    /// At most `limit` images from number `first` on, oldest first.
    pub(crate) fn from(&self, first: u64, limit: usize) -> Vec<Entry> {
        self.lock().from(first).take(limit).cloned().collect()
    }

    pub(crate) fn entry(&self, sequence: u64) -> Option<Entry> {
        self.lock().get(sequence).cloned()
    }

    /// Everything received under this UID, newest first.
    pub(crate) fn revisions(&self, uid: &Uid) -> Vec<Entry> {
        self.lock().revisions(uid).cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Images that wait or are worked on, and since when they do.
    pub(crate) fn ages(&self, now: Instant) -> Ages {
        self.lock().ages(now)
    }

    /// Moves a complete, fsynced file in. One at a time gets its number and its name, so that equal objects meet; their
    /// folder is fsynced for several at once.
    fn accept(
        &self,
        part: &Path,
        (uid, digest): (Uid, u64),
        bytes: u64,
        contents: Option<Arc<Contents>>,
        way: Way,
    ) -> io::Result<Accepted> {
        let door = self.moving.wait_for(&uid);
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
        fs::rename(part, self.image_path(&key))?;
        let (arrived, deaths) = (way.at(Stage::Received), self.died_early(&key));
        self.stages.begin(sequence, way);
        let entry = Entry::new(key.clone(), bytes, SystemTime::now());
        let entry = Entry { arrived, deaths, contents, ..entry };
        self.moving.settle(door, entry, |renamed| self.finish(renamed))?;
        Ok(if earlier.is_empty() { Accepted::New(key) } else { Accepted::Revision(key) })
    }

    /// Makes objects last that were renamed, and queues them; on an error none of them is left.
    fn finish(&self, renamed: &[Entry]) -> io::Result<()> {
        durable::sync_folder(&self.folder.join("images")).inspect_err(|_| {
            for entry in renamed {
                let _ = fs::remove_file(self.image_path(&entry.key));
            }
        })?;
        for entry in renamed {
            self.stages.mark(entry.key.sequence, Stage::Accepted, Instant::now());
            self.queue(entry.clone());
        }
        Ok(())
    }

    /// What becomes of an object that we have. One that was parked is analysed again.
    fn again(&self, same: &Entry) -> io::Result<Accepted> {
        let key = same.key.clone();
        let parked = || self.result(&key).is_ok_and(|json| Record::is_parked(&json));
        if same.state != State::Answered || !parked() {
            return Ok(Accepted::Duplicate(key));
        }
        {
            // Not to be purged, and not to be taken before its answer is withdrawn.
            let mut index = self.lock();
            if index.get(key.sequence).is_none_or(|entry| entry.state != State::Answered) {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "it is just being removed",
                ));
            }
            index.update(key.sequence, |entry| entry.state = State::Running);
        }
        let path = self.path("results", &key, "json");
        if let Err(error) = fs::remove_file(&path).and_then(|()| durable::sync_parent(&path)) {
            self.publish(&key);
            return Err(error);
        }
        let arrived = Some(Instant::now());
        self.queue(Entry { arrived, ..Entry::new(key.clone(), same.bytes, same.received) });
        Ok(Accepted::Again(key))
    }

    fn queue(&self, entry: Entry) {
        self.lock().insert(entry);
        self.arrived.notify_one();
    }

    fn path(&self, folder: &str, key: &Key, extension: &str) -> PathBuf {
        self.folder.join(folder).join(key.name()).with_added_extension(extension)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // No code that holds this lock leaves the index half changed, so a panic elsewhere is harmless.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest time at which a daemon is known to have worked here; now, if none has or the clock went back.
fn newest(folder: &Path, index: &Index) -> SystemTime {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let written = files.filter_map(|file| file.metadata().ok()?.modified().ok()).max();
    let received = index.newest().next().map(|entry| entry.received);
    let now = SystemTime::now();
    received.max(written).map_or(now, |newest| newest.min(now))
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

#[cfg(test)]
mod tests;
