//! Both ends of the journal: the agent appends, the daemon reads what is new.

use crate::Moment;
use crate::ring::{Entry, Event, JournalError, SLOTS, empty, entries, offset, seal};
use protocol::Exposure;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const NAME: &str = "exposures.journal";

/// The agent's end; one at a time.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    next: u64,
    /// Exposures that are in the ring, by their key.
    known: HashMap<(u16, u32, u32), (u64, Exposure)>,
    latest: Option<Exposure>,
}

/// What became of an exposure that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    New(u64),
    /// It was told before.
    Again(u64),
    /// Another one was told before under its number.
    Contradicts(u64),
}

impl Journal {
    /// Opens the journal in `folder`, or begins one.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(NAME);
        let failed = |source| JournalError::Io { file: path.display().to_string(), source };
        if !path.exists() {
            durable::write(&path, &empty()).map_err(failed)?;
        }
        let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked { file: path.display().to_string() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let entries = entries(&bytes, &path.display().to_string())?;
        let next = entries.last().map_or(1, |entry| entry.number + 1);
        let mut journal = Self { file, path, next, known: HashMap::new(), latest: None };
        entries.iter().for_each(|entry| journal.remember(entry));
        Ok(journal)
    }

    /// Notes an exposure once; after this returns, it survives a power cut.
    pub fn tell(&mut self, exposure: Exposure) -> Result<Told, JournalError> {
        match self.known.get(&exposure.key()) {
            Some((number, before)) if before.says_the_same(&exposure) => Ok(Told::Again(*number)),
            Some((number, _)) => Ok(Told::Contradicts(*number)),
            None => self.append(Event::Exposure(exposure)).map(Told::New),
        }
    }

    /// Notes an event; after this returns, it survives a power cut.
    pub fn append(&mut self, event: Event) -> Result<u64, JournalError> {
        let entry = Entry { number: self.next, when: Moment::now(), event };
        // Also if what follows fails: the daemon may have read it, so the number is never used for another.
        self.next += 1;
        let written = self.file.write_all_at(&seal(&entry), offset(entry.number));
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::Io { file: self.path.display().to_string(), source })?;
        self.remember(&entry);
        Ok(entry.number)
    }

    /// Entries written so far, those included that are gone.
    pub fn count(&self) -> u64 {
        self.next - 1
    }

    /// The exposure noted last.
    pub fn latest(&self) -> Option<Exposure> {
        self.latest
    }

    fn remember(&mut self, entry: &Entry) {
        if let Event::Exposure(exposure) = entry.event {
            self.known.insert(exposure.key(), (entry.number, exposure));
            self.latest = Some(exposure);
        }
        let gone = entry.number.saturating_sub(SLOTS);
        if self.known.len() > SLOTS as usize {
            self.known.retain(|_, (number, _)| *number > gone);
        }
    }
}

/// The daemon's end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    next: u64,
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub entries: Vec<Entry>,
    /// Numbers before and between them that are gone: too old for the ring, damaged, or refused by the disk.
    pub lost: u64,
    /// The journal is another one than before: it counts from 1 again.
    pub begun_again: bool,
}

impl Reader {
    /// From entry `next` on.
    pub fn new(folder: &Path, next: u64) -> Self {
        Self { path: folder.join(NAME), next: next.max(1) }
    }

    /// The number it goes on with.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Everything new. Nothing, if no agent has begun a journal yet.
    pub fn read(&mut self) -> Result<Read, JournalError> {
        let file = || self.path.display().to_string();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::default()),
            Err(source) => return Err(JournalError::Io { file: file(), source }),
        };
        let mut entries = entries(&bytes, &file())?;
        let newest = entries.last().map_or(0, |entry| entry.number);
        // An entry that was read is in the ring until newer ones push it out.
        let begun_again = newest + 1 < self.next;
        if begun_again {
            self.next = 1;
        }
        entries.retain(|entry| entry.number >= self.next);
        let lost = match entries.last() {
            Some(last) => last.number + 1 - self.next - entries.len() as u64,
            None => 0,
        };
        if newest >= self.next {
            self.next = newest + 1;
        }
        Ok(Read { entries, lost, begun_again })
    }
}
