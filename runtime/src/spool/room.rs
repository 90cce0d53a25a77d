//! Room on the disk: what may be used, what is removed when, and what is never removed.
//!
//! ```text
//! limit of bytes     max_bytes, or max_disk_share of the file system, whichever is less
//! floor              min_free_bytes stay free for whoever else lives on the disk
//! goes first         overlays: they can be drawn again
//! goes then          answered images, oldest first, if the ledger lets them go
//! never goes         an image without an answer, or one that somebody still waits for
//! ```
//!
//! If nothing may go, senders hear A700. A purge is ordered: the image goes, its folder is fsynced, then its
//! answer goes. After a power cut there is an image with its answer, or an answer without image, which is swept
//! at start-up; never an image without the answer it had.

use super::{Entry, Key, Spool, State, index::Index};
use crate::config::SpoolConfig;
use std::{
    fmt, fs, io,
    path::Path,
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

/// What others know of an image that the spool does not.
pub(crate) trait Ledger: fmt::Debug + Send + Sync {
    /// Whether nobody needs the image and its answer any more.
    fn may_purge(&self, key: &Key) -> bool;
}

/// Nobody else cares.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct NoLedger;

#[cfg(test)]
impl Ledger for NoLedger {
    fn may_purge(&self, _: &Key) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    keep_answered: usize,
    keep: Option<Duration>,
    max_bytes: u64,
    disk_share: f64,
    min_free: u64,
    pub(super) picture_bytes: u64,
}

impl Limits {
    pub(super) fn new(config: &SpoolConfig) -> Self {
        Self {
            keep_answered: config.keep_answered,
            keep: config.keep_days,
            max_bytes: config.max_bytes,
            disk_share: config.max_disk_share,
            min_free: config.min_free_bytes,
            picture_bytes: config.max_picture_bytes,
        }
    }
}

/// The file system that holds the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Disk {
    pub(crate) bytes: u64,
    /// What a daemon without privileges can still write.
    pub(crate) free: u64,
    /// What is to stay free.
    pub(crate) floor: u64,
}

/// Why there is no room, and how much is missing.
struct Shortage {
    bytes: u64,
    why: String,
}

/// Images removed at a time: each lot costs one fsync.
const LOT: usize = 64;
/// After a search for something to remove has found nothing, the next one waits that long, and so many times as long
/// as it took.
const FRUITLESS: (Duration, u32) = (Duration::from_secs(1), 20);

impl Spool {
    pub(crate) fn disk(&self) -> io::Result<Disk> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        Ok(Disk {
            bytes: disk.f_blocks * disk.f_frsize,
            free: disk.f_bavail * disk.f_frsize,
            floor: self.limits.min_free,
        })
    }

    /// Sets `more` bytes aside for an object being received; an error if there is no room for them.
    pub(super) fn reserve(&self, more: u64) -> io::Result<()> {
        loop {
            let disk = self.disk()?;
            let Shortage { bytes, why } = {
                let mut index = self.lock();
                let Some(shortage) = self.shortage(&index, disk, more) else {
                    index.reserved += more;
                    return Ok(());
                };
                shortage
            };
            if self.drop_pictures(bytes) == 0 && self.purge_bytes(bytes)? == 0 {
                return Err(io::Error::new(io::ErrorKind::StorageFull, why));
            }
        }
    }

    pub(super) fn release(&self, bytes: u64) {
        self.lock().reserved -= bytes;
    }

    /// Removes what has been kept long enough, and gets ahead of the next objects' need for room. Returns the
    /// sequence numbers of the images that are gone since the last time, whoever removed them. `wall` and `at` are now.
    pub(crate) fn tidy(&self, wall: SystemTime, at: Instant) -> Vec<u64> {
        let now = {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.now(wall, at)
        };
        let others = self.measure_others();
        self.lock().others = others;
        let tidied = self.disk().and_then(|disk| {
            // A sixty-fourth more than nothing: senders should not have to wait for a purge.
            let ahead = self.limit(disk) / 64;
            let shortage = self.shortage(&self.lock(), disk, ahead);
            if let Some(Shortage { bytes, .. }) = shortage {
                let gained = self.drop_pictures(bytes);
                self.purge_bytes(bytes.saturating_sub(gained))?;
            }
            while self.purge_overdue(now)? {}
            Ok(())
        });
        if let Err(error) = tidied {
            log::error!("cannot tidy the spool: {error}");
        }
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn limit(&self, disk: Disk) -> u64 {
        self.limits.max_bytes.min((disk.bytes as f64 * self.limits.disk_share) as u64)
    }

    fn shortage(&self, index: &Index, disk: Disk, more: u64) -> Option<Shortage> {
        let (used, limit) = (index.all_bytes() + more, self.limit(disk));
        if used > limit {
            let why = format!("the spool may hold {limit} bytes and would need {used}");
            return Some(Shortage { bytes: used - limit, why });
        }
        let needed = disk.floor.saturating_add(more);
        (disk.free < needed).then(|| Shortage {
            bytes: needed - disk.free,
            why: format!("{} bytes are free, {} are to stay free", disk.free, disk.floor),
        })
    }

    /// Removes the oldest answered images that may go until `wanted` bytes are gained; returns how many are.
    fn purge_bytes(&self, wanted: u64) -> io::Result<u64> {
        let mut gained = 0;
        while gained < wanted {
            let gone = self.purge(&self.choose(wanted - gained, |_, _| true))?;
            if gone.is_empty() {
                break;
            }
            gained += gone.iter().map(|entry| entry.bytes + entry.answer_bytes).sum::<u64>();
        }
        Ok(gained)
    }

    /// Removes a lot of the images that are too many or too old; whether there were any.
    fn purge_overdue(&self, now: SystemTime) -> io::Result<bool> {
        let answered = self.counts().answered;
        let lot = self.choose(u64::MAX, |received, place| {
            let age = now.duration_since(received).unwrap_or_default();
            place + self.limits.keep_answered < answered
                || self.limits.keep.is_some_and(|keep| age > keep)
        });
        Ok(!self.purge(&lot)?.is_empty())
    }

    /// The oldest answered images that the ledger lets go, as long as `is_due(received, place)` holds: at most a lot,
    /// and no more than are needed for `enough` bytes.
    fn choose(&self, enough: u64, is_due: impl Fn(SystemTime, usize) -> bool) -> Vec<Key> {
        let fruitless = || self.fruitless.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if fruitless().is_some_and(|until| began < until) {
            return Vec::new();
        }
        let (mut lot, mut gained, mut asked, mut after) = (Vec::new(), 0, 0, None);
        loop {
            // A stretch at a time: the ledger may have to look something up, and the index must not wait for it.
            let stretch: Vec<_> = {
                let index = self.lock();
                let entries = index.answered(after).take(LOT);
                entries.map(|e| (e.key.clone(), e.bytes + e.answer_bytes, e.received)).collect()
            };
            let Some((last, ..)) = stretch.last() else { break };
            after = Some(last.sequence);
            for (key, bytes, received) in stretch {
                if lot.len() == LOT || gained >= enough || !is_due(received, asked) {
                    return lot;
                }
                asked += 1;
                if self.ledger.may_purge(&key) {
                    gained += bytes;
                    lot.push(key);
                }
            }
        }
        if asked > 0 && lot.is_empty() {
            let (pause, times) = FRUITLESS;
            *fruitless() = Some(Instant::now() + pause.max(began.elapsed() * times));
        }
        lot
    }

    /// Removes answered images and their answers for good; returns what is gone.
    fn purge(&self, keys: &[Key]) -> io::Result<Vec<Entry>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let next = self.lock().next;
        durable::write(&self.folder.join("next"), format!("{next}\n").as_bytes())?;
        let mut going = Vec::new();
        {
            let mut index = self.lock();
            for sequence in keys.iter().map(|key| key.sequence) {
                // But for those that were sent again and wait again.
                if index.get(sequence).is_some_and(|entry| entry.state == State::Answered) {
                    index.pictures.remove(sequence);
                    going.extend(index.remove(sequence));
                }
            }
        }
        going.retain(|entry| {
            let is_gone = self.unlink("images", &entry.key, "dcm");
            if !is_gone {
                self.lock().insert(entry.clone());
            }
            is_gone
        });
        durable::sync_folder(&self.folder.join("images"))?;
        for entry in &going {
            self.unlink("results", &entry.key, "json");
            self.unlink("overlays", &entry.key, "png");
        }
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.extend(going.iter().map(|entry| entry.key.sequence));
        Ok(going)
    }

    /// Removes a file that may be gone already; whether it is.
    pub(super) fn unlink(&self, folder: &str, key: &Key, extension: &str) -> bool {
        match fs::remove_file(self.path(folder, key, extension)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{}: cannot remove its file in {folder}/: {error}", key.label());
                false
            }
            _ => true,
        }
    }

    /// Bytes of the files at the top of the folder: ours, databases, logs.
    pub(super) fn measure_others(&self) -> u64 {
        let size =
            |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files.filter_map(|file| size(&file.path())).sum()
    }
}
