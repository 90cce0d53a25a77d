//! What the spool holds, in memory: one entry per image, and the order in which they are worked on.

use super::{Contents, Key, Pictures, attempts, notes};
use crate::uid::Uid;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// Every look-up and every count here costs the same with ten images and with a hundred thousand.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By sequence number.
    entries: BTreeMap<u64, Entry>,
    /// Sequence numbers of everything received under a UID, oldest first.
    by_uid: HashMap<Uid, Vec<u64>>,
    /// (deaths, sequence): what ended the daemon goes behind everything else.
    waiting: BTreeSet<(u32, u64)>,
    running: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    pub(super) pictures: Pictures,
    /// Objects (UID, digest) in which the daemon ended before they were accepted.
    pub(super) deadly: HashSet<(Uid, u64)>,
    /// Of accepted images and their answers.
    pub(super) bytes: u64,
    /// Of images being received.
    pub(super) reserved: u64,
    /// Of files that others keep in the folder, such as databases and logs.
    pub(super) others: u64,
    pub(super) next: u64,
    pub(super) next_part: u64,
}

/// One accepted image.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// Of the image.
    pub(crate) bytes: u64,
    /// Of the answer.
    pub(crate) answer_bytes: u64,
    pub(crate) received: SystemTime,
    /// The same by a clock that nobody sets, if this process received it.
    pub(crate) arrived: Option<Instant>,
    pub(crate) state: State,
    /// Tries that failed for a reason of its own, since the daemon started.
    pub(crate) failures: u32,
    /// Tries that the disk refused, since the daemon started.
    pub(crate) refusals: u32,
    /// Tries in which the daemon ended, this process not counted.
    pub(crate) deaths: u32,
    /// Left alone until then.
    pub(super) ready_at: Option<Instant>,
    /// The image in memory, while it waits for its first attempt.
    pub(crate) contents: Option<Arc<Contents>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Running,
    Answered,
}

/// Images in the spool by state, and bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) answered: usize,
    /// Of everything in the spool's folder.
    pub(crate) bytes: u64,
}

/// How old the oldest image of a state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) waiting: Option<Duration>,
    pub(crate) running: Option<Duration>,
    /// Images that the daemon has not survived three times or more.
    pub(crate) deadly: usize,
}

impl Entry {
    /// Time since it arrived. For an image of an earlier process that is up to a clock that people set.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        match self.arrived {
            Some(arrived) => now.saturating_duration_since(arrived),
            None => self.received.elapsed().unwrap_or_default(),
        }
    }

    pub(super) fn new(key: Key, bytes: u64, received: SystemTime) -> Self {
        Self {
            key,
            bytes,
            answer_bytes: 0,
            received,
            arrived: None,
            state: State::Waiting,
            failures: 0,
            refusals: 0,
            deaths: 0,
            ready_at: None,
            contents: None,
        }
    }
}

impl Index {
    /// Reads the folder; sweeps what was being received or purged.
    pub(super) fn load(folder: &Path) -> io::Result<Self> {
        for leftover in fs::read_dir(folder.join("incoming"))? {
            fs::remove_file(leftover?.path())?;
        }
        let mut index = Self { next: read_next(&folder.join("next"))?, ..Self::default() };
        let (mut entries, mut left, now) = (BTreeMap::new(), Vec::new(), Instant::now());
        for file in fs::read_dir(folder.join("images"))? {
            let file = file?;
            let Some(key) = Key::of_file(&file.path()) else {
                log::warn!("a file in images/ is none of ours: left alone");
                continue;
            };
            let about = file.metadata()?;
            let received = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.insert(key.sequence, Entry::new(key, about.len(), received));
        }
        for name in ["attempts", "overlays", "results"] {
            for file in fs::read_dir(folder.join(name))? {
                let file = file?;
                let path = file.path();
                let key = Key::of_file(&path);
                index.next = index.next.max(key.as_ref().map_or(0, |key| key.sequence + 1));
                let entry = key.as_ref().and_then(|key| entries.get_mut(&key.sequence));
                match entry.filter(|entry| Some(&entry.key) == key.as_ref()) {
                    Some(entry) if name == "results" => {
                        entry.state = State::Answered;
                        entry.answer_bytes = file.metadata()?.len();
                    }
                    Some(entry) if name == "attempts" => {
                        entry.deaths = attempts::read(&path)?;
                        entry.ready_at = attempts::pause(entry.deaths).map(|pause| now + pause);
                    }
                    None if name == "attempts" && notes::is_note(&path) => left.push(path),
                    Some(entry) => index.pictures.add(entry.key.sequence, file.metadata()?.len()),
                    // Of an image that was purged, or half a file.
                    None => fs::remove_file(&path)?,
                }
            }
        }
        index.deadly = sort_out(left, &mut entries, now)?;
        for entry in entries.into_values() {
            index.insert(entry);
        }
        Ok(index)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    /// Puts an entry in, in place of an earlier one of its number.
    pub(super) fn insert(&mut self, entry: Entry) {
        let sequence = entry.key.sequence;
        self.remove(sequence);
        self.next = self.next.max(sequence + 1);
        self.bytes += entry.bytes + entry.answer_bytes;
        match entry.state {
            State::Waiting => drop(self.waiting.insert((entry.deaths, sequence))),
            State::Running => drop(self.running.insert(sequence)),
            State::Answered => drop(self.answered.insert(sequence)),
        }
        let numbers = self.by_uid.entry(entry.key.uid.clone()).or_default();
        if let Err(place) = numbers.binary_search(&sequence) {
            numbers.insert(place, sequence);
        }
        self.entries.insert(sequence, entry);
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.entries.remove(&sequence)?;
        self.bytes -= entry.bytes + entry.answer_bytes;
        self.waiting.remove(&(entry.deaths, sequence));
        self.running.remove(&sequence);
        self.answered.remove(&sequence);
        if let Some(numbers) = self.by_uid.get_mut(&entry.key.uid) {
            numbers.retain(|number| *number != sequence);
            if numbers.is_empty() {
                self.by_uid.remove(&entry.key.uid);
            }
        }
        Some(entry)
    }

    /// Changes an entry; nothing happens if it is gone.
    pub(super) fn update(&mut self, sequence: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.remove(sequence) {
            change(&mut entry);
            self.insert(entry);
        }
    }

    /// The image whose turn it is: the oldest that is not left alone at `now`.
    pub(super) fn next_ready(&self, now: Instant) -> Option<&Entry> {
        self.waiting().find(|entry| entry.ready_at.is_none_or(|at| at <= now))
    }

    /// In the order in which they are worked on.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().filter_map(|(_, sequence)| self.get(*sequence))
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Entry> {
        self.running.iter().filter_map(|sequence| self.get(*sequence))
    }

    /// Oldest first, from the one behind `after` on.
    pub(super) fn answered(&self, after: Option<u64>) -> impl Iterator<Item = &Entry> {
        let first = after.map_or(0, |after| after + 1);
        self.answered.range(first..).filter_map(|sequence| self.get(*sequence))
    }

    /// Newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().rev()
    }

    /// From number `first` on, oldest first.
    pub(super) fn from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        self.entries.range(first..).map(|(_, entry)| entry)
    }

    /// Everything received under this UID, newest first.
    pub(super) fn revisions(&self, uid: &Uid) -> impl Iterator<Item = &Entry> {
        let numbers = self.by_uid.get(uid).map_or(&[][..], Vec::as_slice);
        numbers.iter().rev().filter_map(|sequence| self.get(*sequence))
    }

    /// Bytes on disk or about to be.
    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes + self.reserved + self.pictures.bytes() + self.others
    }

    pub(super) fn ages(&self, now: Instant) -> Ages {
        let (mut oldest, mut rank) = (None, 0);
        // The oldest of each number of deaths; these are few.
        while let Some((deaths, sequence)) = self.waiting.range((rank, 0)..).next() {
            oldest = oldest.max(self.get(*sequence).map(|entry| entry.age(now)));
            rank = deaths + 1;
        }
        Ages {
            waiting: oldest,
            running: self.running().map(|entry| entry.age(now)).max(),
            deadly: self.waiting.range((3, 0)..).count(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            waiting: self.waiting.len(),
            running: self.running.len(),
            answered: self.answered.len(),
            bytes: self.all_bytes() - self.reserved,
        }
    }
}

/// What the notes of an earlier process say: objects that were not accepted are returned, attempts at others counted.
fn sort_out(
    left: Vec<PathBuf>,
    entries: &mut BTreeMap<u64, Entry>,
    now: Instant,
) -> io::Result<HashSet<(Uid, u64)>> {
    let mut deadly: Vec<(SystemTime, PathBuf, (Uid, u64))> = Vec::new();
    for path in left {
        let Some((uid, digest)) = notes::about(&path) else {
            fs::remove_file(&path)?;
            continue;
        };
        let is_it = |entry: &&mut Entry| entry.key.uid == uid && entry.key.digest == digest;
        match entries.values_mut().rev().find(is_it) {
            Some(entry) if entry.state == State::Waiting => {
                entry.deaths = entry.deaths.max(1);
                entry.ready_at = attempts::pause(entry.deaths).map(|pause| now + pause);
                notes::hand_on(&path, &path.with_file_name(entry.key.name()), entry.deaths)?;
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

/// Objects that are remembered because the daemon ended in them: each costs somebody an end of the daemon.
const MOST_DEADLY: usize = 64;

/// The first sequence number that was free when something was purged last.
fn read_next(path: &Path) -> io::Result<u64> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text?,
    };
    text.trim().parse().map_err(|_| {
        let found: String = text.chars().take(20).collect();
        io::Error::new(io::ErrorKind::InvalidData, format!("next is {found:?}, expected a number"))
    })
}
