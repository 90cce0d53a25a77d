//! The two files: what is told is read once, also after cuts, damage and restarts.

#![expect(clippy::unwrap_used, reason = "tests")]

use exposures::{Event, Journal, JournalError, LampFile, Read, Reader, SLOTS, Shown, Told, shown};
use proptest::prelude::*;
use protocol::exposure::{Exposure, Interlock, InterlockState, Lamp, Outcome, Technique};
use std::fs;
use std::path::Path;

const JOURNAL: &str = "exposures.journal";

fn exposure(sequence: u32) -> Exposure {
    Exposure {
        controller: 0,
        epoch: 9,
        sequence,
        outcome: Outcome::Complete,
        age: Some(20),
        clock: None,
        technique: Technique::default(),
        subject: None,
        repeats: None,
    }
}

fn tell(journal: &mut Journal, sequences: impl IntoIterator<Item = u32>) {
    for sequence in sequences {
        assert!(matches!(journal.tell(exposure(sequence)), Ok(Told::New(_))));
    }
}

fn sequences(read: &Read) -> Vec<u32> {
    let told = read.entries.iter().map(|entry| match entry.event {
        Event::Exposure(exposure) => exposure.sequence,
        other => panic!("{other:?}"),
    });
    told.collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_told_is_read_once_and_survives_restarts_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(folder.path(), 1);
    assert_eq!(reader.read().unwrap(), Read::default());
    tell(&mut Journal::open(folder.path()).unwrap(), 1..=3);
    assert_eq!(sequences(&reader.read().unwrap()), [1, 2, 3]);
    tell(&mut Journal::open(folder.path()).unwrap(), 4..=4);
    let mut restarted = Reader::new(folder.path(), reader.next());
    assert_eq!(sequences(&restarted.read().unwrap()), [4]);
    assert_eq!(restarted.read().unwrap(), Read::default());
}

#[test]
fn an_exposure_told_twice_is_noted_once_and_a_contradiction_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.tell(exposure(7)).unwrap(), Told::New(1));
    let later = Exposure { age: Some(9_000), ..exposure(7) };
    assert_eq!(journal.tell(later).unwrap(), Told::Again(1));
    drop(journal);
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.tell(later).unwrap(), Told::Again(1));
    let other = Exposure { outcome: Outcome::Aborted, ..exposure(7) };
    assert_eq!(journal.tell(other).unwrap(), Told::Contradicts(1));
    assert_eq!(journal.count(), 1);
}

#[test]
fn a_reader_that_comes_late_hears_how_much_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let more = SLOTS as u32 + 10;
    tell(&mut journal, 1..=more);
    let read = Reader::new(folder.path(), 1).read().unwrap();
    assert_eq!((read.lost, read.entries.len() as u64), (10, SLOTS));
    assert_eq!(sequences(&read).last(), Some(&more));
}

#[test]
fn a_torn_entry_costs_itself_and_its_number_is_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    tell(&mut journal, 1..=3);
    drop(journal);
    flip(&folder.path().join(JOURNAL), 512 * 3 + 20);
    let read = Reader::new(folder.path(), 1).read().unwrap();
    assert_eq!((sequences(&read), read.lost), (vec![1, 3], 1));
    tell(&mut Journal::open(folder.path()).unwrap(), [2]);
    let read = Reader::new(folder.path(), 4).read().unwrap();
    assert_eq!(sequences(&read), [2]);
}

#[test]
fn a_journal_that_begins_again_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    tell(&mut Journal::open(folder.path()).unwrap(), 1..=5);
    let mut reader = Reader::new(folder.path(), 1);
    reader.read().unwrap();
    fs::remove_file(folder.path().join(JOURNAL)).unwrap();
    tell(&mut Journal::open(folder.path()).unwrap(), 1..=2);
    let read = reader.read().unwrap();
    assert_eq!((sequences(&read), read.begun_again, read.lost), (vec![1, 2], true, 0));
}

#[test]
fn what_is_no_journal_or_a_newer_one_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(JOURNAL);
    drop(Journal::open(folder.path()).unwrap());
    let good = fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[4..6].copy_from_slice(&2u16.to_le_bytes());
    let crc = crc32fast::hash(&newer[..10]).to_le_bytes();
    newer[10..14].copy_from_slice(&crc);
    for bytes in [&newer[..], b"notes of a person", &good[..good.len() - 1], b""] {
        fs::write(&path, bytes).unwrap();
        let refused = Journal::open(folder.path()).unwrap_err();
        let expected = if bytes == newer { "format 2 is newer than 1" } else { "no journal" };
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(Reader::new(folder.path(), 1).read().is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn two_agents_never_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Journal::open(folder.path()).unwrap();
    assert!(matches!(Journal::open(folder.path()), Err(JournalError::Locked { .. })));
}

#[test]
fn a_lamp_without_a_living_daemon_shows_trouble() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(shown(folder.path()).unwrap(), Shown::NO_DAEMON);
    let mut lamp = LampFile::open(folder.path()).unwrap();
    assert_eq!(shown(folder.path()).unwrap().lamp, Lamp::Trouble);
    let ready = Shown { lamp: Lamp::Ready, missing: 300, unexplained: 2 };
    lamp.show(ready).unwrap();
    assert_eq!(shown(folder.path()).unwrap(), ready);
    assert!(LampFile::open(folder.path()).is_err());
    drop(lamp);
    assert_eq!(shown(folder.path()).unwrap(), Shown::NO_DAEMON);
    let _lamp = LampFile::open(folder.path()).unwrap();
    flip(&folder.path().join("lamp"), 2);
    assert!(shown(folder.path()).is_err());
}

/// Each waits for the disk.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(64, |cases| cases.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn damage_anywhere_never_panics_nor_makes_an_entry_up(at in 0_usize..5 * 512, bits in 1_u8..) {
        let folder = tempfile::tempdir().unwrap();
        tell(&mut Journal::open(folder.path()).unwrap(), 1..=3);
        let whole = Reader::new(folder.path(), 1).read().unwrap().entries;
        let path = folder.path().join(JOURNAL);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= bits;
        fs::write(&path, bytes).unwrap();
        if let Ok(read) = Reader::new(folder.path(), 1).read() {
            prop_assert!(read.entries.iter().all(|entry| whole.contains(entry)));
        }
    }
}

#[test]
fn other_events_are_noted_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let open = Event::Interlock(Interlock { controller: 0, state: InterlockState::DoorOpen });
    journal.append(open).unwrap();
    tell(&mut journal, [1]);
    let read = Reader::new(folder.path(), 1).read().unwrap();
    assert_eq!(read.entries[0].event, open);
    assert_eq!(journal.latest(), Some(exposure(1)));
}
