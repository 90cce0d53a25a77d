//! Moving complete objects in, so that those that arrive together share one fsync of their folder.
//!
//! ```text
//! A ─ rename ─▶ fsync of the folder (for A) ──────────▶ queued ─▶ "success"
//! B ─── rename ─▶ waits ┐
//! C ───── rename ─▶ waits ┴▶ one fsync (for B and C) ──▶ queued ─▶ "success"
//! ```
//!
//! Whoever finds nobody at the disk works for all that are renamed by then. They are queued in the order of their
//! numbers: who reads the index from a number on misses none. If the fsync fails, it fails for all of them.

use super::Entry;
use crate::uid::Uid;
use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Objects on their way in.
#[derive(Debug, Default)]
pub(super) struct Moving {
    door: Mutex<Door>,
    changed: Condvar,
}

/// Held while an object gets its number and its name.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// In the order of their numbers; their folder is to be fsynced.
    renamed: Vec<Entry>,
    /// Of those and of the ones being fsynced.
    uids: HashSet<Uid>,
    /// Somebody works for those that were renamed before.
    at_disk: bool,
    /// How it went for those whose threads have not looked yet, by number.
    done: HashMap<u64, Result<(), Failed>>,
}

/// An error that several threads get.
#[derive(Clone, Debug)]
struct Failed(io::ErrorKind, String);

impl Moving {
    /// The door, once no other object of this UID is on its way in: equal objects must meet.
    pub(super) fn wait_for(&self, uid: &Uid) -> MutexGuard<'_, Door> {
        let is_busy = |door: &mut Door| door.uids.contains(uid);
        self.changed.wait_while(self.door(), is_busy).unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `finish` make a renamed object last and queue it, alone or with others.
    pub(super) fn settle<'a>(
        &'a self,
        mut door: MutexGuard<'a, Door>,
        entry: Entry,
        finish: impl Fn(&[Entry]) -> io::Result<()>,
    ) -> io::Result<()> {
        let number = entry.key.sequence;
        door.uids.insert(entry.key.uid.clone());
        door.renamed.push(entry);
        loop {
            if let Some(done) = door.done.remove(&number) {
                return done.map_err(|Failed(kind, why)| io::Error::new(kind, why));
            }
            door = match door.at_disk {
                true => self.changed.wait(door).unwrap_or_else(PoisonError::into_inner),
                false => self.work(door, &finish),
            };
        }
    }

    /// Works for all that are renamed.
    fn work<'a>(
        &'a self,
        mut door: MutexGuard<'a, Door>,
        finish: impl Fn(&[Entry]) -> io::Result<()>,
    ) -> MutexGuard<'a, Door> {
        let renamed = std::mem::take(&mut door.renamed);
        door.at_disk = true;
        drop(door);
        let done = finish(&renamed).map_err(|error| Failed(error.kind(), error.to_string()));
        let mut door = self.door();
        for Entry { key, .. } in renamed {
            door.uids.remove(&key.uid);
            door.done.insert(key.sequence, done.clone());
        }
        door.at_disk = false;
        self.changed.notify_all();
        door
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Key;
    use std::{
        sync::{atomic::AtomicBool, atomic::Ordering::Relaxed, mpsc},
        thread,
        time::SystemTime,
    };

    fn entry(sequence: u64) -> Entry {
        let uid = Uid::parse(&format!("1.2.{sequence}")).unwrap();
        Entry::new(Key { sequence, uid, digest: 0 }, 1, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn who_arrives_while_the_disk_works_shares_the_next_fsync_and_its_failure() {
        let (moving, fails) = (Moving::default(), AtomicBool::new(false));
        let (lots, seen) = mpsc::channel();
        let settle = |number: u64| {
            let (moving, fails, lots) = (&moving, &fails, lots.clone());
            move || {
                let entry = entry(number);
                let door = moving.wait_for(&entry.key.uid);
                moving.settle(door, entry, |lot| {
                    lots.send(lot.iter().map(|entry| entry.key.sequence).collect()).unwrap();
                    while lot.len() == 1 && moving.door().renamed.len() < 3 {
                        thread::yield_now();
                    }
                    match fails.load(Relaxed) && lot.len() > 1 {
                        true => Err(io::Error::from(io::ErrorKind::StorageFull)),
                        false => Ok(()),
                    }
                })
            }
        };
        for (round, is_broken) in [(0, false), (10, true)] {
            fails.store(is_broken, Relaxed);
            thread::scope(|scope| {
                let first = scope.spawn(settle(round));
                assert_eq!(seen.recv().unwrap(), [round]);
                let others: Vec<_> = (1..4).map(|n| scope.spawn(settle(round + n))).collect();
                assert!(first.join().unwrap().is_ok());
                for other in others {
                    let kind = other.join().unwrap().err().map(|error| error.kind());
                    assert_eq!(kind, is_broken.then_some(io::ErrorKind::StorageFull));
                }
            });
            let mut lot: Vec<u64> = seen.try_recv().unwrap();
            lot.sort_unstable();
            assert_eq!(lot, [round + 1, round + 2, round + 3], "one fsync for three");
        }
        assert!(seen.try_recv().is_err() && moving.door().uids.is_empty());
        assert!(moving.door().done.is_empty());
    }
}
