//! The power is cut at every single write to the disk, while slots live through a full cycle and while they
//! recover; whatever survives must be enough to go on.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::agent::{Disk, Policy, Slots};
use protocol::{BootId, Cause, Digest, Moment, Refusal, SlotId, SlotState};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use support::{bundle, key, prove};

/// What is on the disk after the power came back.
#[derive(Clone, Copy, Debug)]
enum Survives {
    /// All that was written: the process was killed, not the machine.
    Everything,
    /// Only what was synced, names and contents.
    Synced,
    /// New names with contents that were never synced: renames overtake data.
    NamesOnly,
    /// New contents under the names of before, the last half of what was not synced lost.
    HalfOfContents,
}

const OUTCOMES: [Survives; 4] =
    [Survives::Everything, Survives::Synced, Survives::NamesOnly, Survives::HalfOfContents];

#[derive(Clone, Debug, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
}

/// A disk in memory, with a cache that a power cut loses.
#[derive(Clone, Debug, Default)]
struct Memory {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes made so far, and after how many the power goes.
    changes: usize,
    cut_after: Option<usize>,
    /// The one change that fails without a power cut.
    fails_at: Option<usize>,
}

impl Memory {
    fn change(&mut self) -> io::Result<()> {
        if self.cut_after.is_some_and(|cut| self.changes >= cut) {
            return Err(io::Error::other("power cut"));
        }
        self.changes += 1;
        if self.fails_at == Some(self.changes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let file = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    fn power_back(&self, survives: Survives) -> Self {
        let names = match survives {
            Survives::Everything | Survives::NamesOnly => self.names.clone(),
            Survives::Synced | Survives::HalfOfContents => self.synced_names.clone(),
        };
        let content = |file: &File| match survives {
            Survives::Everything => file.live.clone(),
            Survives::Synced | Survives::NamesOnly => file.synced.clone(),
            Survives::HalfOfContents => {
                let same = file.live.iter().zip(&file.synced).take_while(|(a, b)| a == b).count();
                let kept = same + (file.live.len() - same) / 2;
                file.live[..kept].to_vec()
            }
        };
        let files = self.files.iter().map(|file| {
            let bytes = content(file);
            File { live: bytes.clone(), synced: bytes }
        });
        let (files, synced_names) = (files.collect(), names.clone());
        Self { files, names, synced_names, changes: 0, cut_after: None, fails_at: None }
    }
}

#[derive(Clone, Debug, Default)]
struct Cuttable(Arc<Mutex<Memory>>);

impl Cuttable {
    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl Disk for Cuttable {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.with(|disk| disk.file(name).ok().map(|file| file.live.clone())))
    }

    fn open(&mut self, name: &str) -> io::Result<Option<(Box<dyn io::Read>, u64)>> {
        let live = self.read(name)?;
        Ok(live.map(|live| (Box::new(io::Cursor::new(live.clone())) as _, live.len() as u64)))
    }

    fn length(&mut self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.with(|disk| disk.file(name).ok().map(|file| file.live.len() as u64)))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            let cut = disk.change();
            if !disk.names.contains_key(name) {
                disk.files.push(File::default());
                disk.names.insert(name.into(), disk.files.len() - 1);
            }
            let file = disk.file(name)?;
            let start = offset as usize;
            // The write during which the power goes is half done.
            let bytes = if cut.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
            file.live.resize(file.live.len().max(start + bytes.len()), 0);
            file.live[start..start + bytes.len()].copy_from_slice(bytes);
            cut
        })
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            disk.file(name)?.live.truncate(length as usize);
            Ok(())
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            let file = disk.file(name)?;
            file.synced = file.live.clone();
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.into(), file);
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| {
            if disk.names.contains_key(name) {
                disk.change()?;
                disk.names.remove(name);
            }
            Ok(())
        })
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            disk.synced_names = disk.names.clone();
            Ok(())
        })
    }

    fn free(&mut self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

fn policy() -> Policy {
    Policy {
        trusted: vec![key().verifying_key()],
        allow_unsigned: false,
        keep_floor: true,
        limit: 64 << 20,
    }
}

/// Always the same start of the machine.
fn now() -> Moment {
    Moment { boot: BootId([1; 16]), ..Moment::default() }
}

fn confirm(slots: &mut Slots<Cuttable>) -> Result<(), Refusal> {
    // What is confirmed stays so.
    prove(slots.record(), &now()).map_or(Ok(()), |proven| slots.confirm(proven))
}

fn open(disk: &Cuttable) -> io::Result<Slots<Cuttable>> {
    Slots::open(disk.clone(), policy(), &now())
}

fn digest(file: &[u8]) -> Digest {
    Digest(Sha256::digest(file).into())
}

fn push(slots: &mut Slots<Cuttable>, file: &[u8]) -> Result<(), Refusal> {
    let sha256 = digest(file);
    let (_, received) = slots.begin(sha256, file.len() as u64)?;
    let mut offset = received as usize;
    while offset < file.len() {
        let end = (offset + (400 << 10)).min(file.len());
        slots.write(sha256, offset as u64, &file[offset..end])?;
        offset = end;
    }
    slots.finish(sha256, &now()).map(|_| ())
}

/// The first bundle is confirmed, the second rolled back, the third confirmed in its place, the fourth pushed
/// over the first.
/// `reached` counts the confirms that were answered.
fn life(
    slots: &mut Slots<Cuttable>,
    files: &[Vec<u8>; 4],
    reached: &mut usize,
) -> Result<(), Refusal> {
    let [first, second, third, fourth] = files;
    push(slots, first)?;
    slots.activate(digest(first), 1, &now())?;
    confirm(slots)?;
    *reached = 1;
    push(slots, second)?;
    slots.activate(digest(second), 1, &now())?;
    slots.rollback("wrong", &now())?;
    push(slots, third)?;
    slots.activate(digest(third), 1, &now())?;
    confirm(slots)?;
    *reached = 2;
    push(slots, fourth)
}

/// Whatever state the box is in: confirms what is on trial, and has `file` run and confirmed.
fn install(slots: &mut Slots<Cuttable>, file: &[u8]) {
    if slots.record().trial().is_some() {
        confirm(slots).unwrap();
    }
    push(slots, file).unwrap();
    slots.activate(digest(file), 1, &now()).unwrap();
    confirm(slots).unwrap();
}

/// What must hold whenever the box is up.
fn assert_bootable(slots: &Slots<Cuttable>, disk: &Cuttable, confirmed: usize, when: &str) {
    let record = slots.record();
    assert!(record.is_sound(), "{when}: {record:?}");
    let whole = |id: SlotId| {
        let bytes = disk.clone().read(id.file_name()).unwrap();
        bytes.is_some_and(|bytes| record.slot(id).sha256 == Some(digest(&bytes)))
    };
    let damaged = SlotState::Bad { reason: Cause::Damaged };
    assert!(record.slots.iter().all(|slot| slot.state != damaged), "{when}: {record:?}");
    if let Some((id, _)) = record.running() {
        assert!(whole(id), "{when}: slot {id} runs and is damaged, {record:?}");
    }
    if confirmed > 0 {
        let safe = |id: &SlotId| record.slot(*id).state == SlotState::Confirmed && whole(*id);
        assert!(SlotId::ALL.iter().any(safe), "{when}: no whole confirmed slot, {record:?}");
        assert!(record.active.is_some(), "{when}: nothing runs, {record:?}");
    }
}

#[test]
fn wherever_the_power_is_cut_the_box_boots_and_can_go_on() {
    let files = [1_000, 1_100_000, 1_000, 1_000];
    let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];
    let files = std::array::from_fn(|n| bundle(versions[n], files[n], Some(&key())));
    let last = bundle("1.4.0", 1000, Some(&key()));
    let whole = Cuttable::default();
    let mut reached = 0;
    life(&mut open(&whole).unwrap(), &files, &mut reached).unwrap();
    let changes = whole.with(|disk| disk.changes);
    assert!(changes > 60, "only {changes} changes");

    for cut in 0..changes {
        let disk = Cuttable::default();
        disk.with(|disk| disk.cut_after = Some(cut));
        let mut confirmed = 0;
        if let Ok(mut slots) = open(&disk) {
            assert!(life(&mut slots, &files, &mut confirmed).is_err());
        }
        for survives in OUTCOMES {
            let when = format!("cut at change {cut} of {changes}, {survives:?}");
            let left = disk.with(|disk| disk.power_back(survives));
            // Again while it recovers, at each of its changes.
            for second_cut in 0.. {
                let disk = Cuttable(Arc::new(Mutex::new(left.clone())));
                disk.with(|disk| disk.cut_after = Some(second_cut));
                if open(&disk).is_ok() {
                    break;
                }
                let disk =
                    Cuttable(Arc::new(Mutex::new(disk.with(|disk| disk.power_back(survives)))));
                assert_bootable(&open(&disk).unwrap(), &disk, confirmed, &when);
            }
            let disk = Cuttable(Arc::new(Mutex::new(left)));
            let mut slots = open(&disk).unwrap();
            assert_bootable(&slots, &disk, confirmed, &when);
            install(&mut slots, &last);
            assert_bootable(&slots, &disk, 1, &when);
        }
    }
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_nothing() {
    let files = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"].map(|v| bundle(v, 9_000, Some(&key())));
    let last = bundle("1.4.0", 9_000, Some(&key()));
    for fails_at in 1.. {
        let when = format!("change {fails_at} failed");
        let disk = Cuttable::default();
        let mut slots = open(&disk).unwrap();
        disk.with(|disk| disk.fails_at = Some(disk.changes + fails_at));
        let mut confirmed = 0;
        let failed = life(&mut slots, &files, &mut confirmed);
        if failed.is_ok() {
            assert!(fails_at > 60, "only {fails_at} changes");
            break;
        }
        assert!(matches!(failed, Err(Refusal::Disk { .. })), "{when}: {failed:?}");
        assert_bootable(&slots, &disk, confirmed, &when);
        let killed = disk.with(|disk| disk.power_back(Survives::Everything));
        let killed = Cuttable(Arc::new(Mutex::new(killed)));
        assert_bootable(&open(&killed).unwrap(), &killed, confirmed, &when);
        // The agent that met the error goes on: with the push that failed, or another one.
        let begun = files.iter().rev().find(|file| slots.record().holder(digest(file)).is_some());
        for file in begun.into_iter().chain([&last]) {
            install(&mut slots, file);
            assert_bootable(&slots, &disk, 1, &when);
        }
        assert_bootable(&open(&disk).unwrap(), &disk, 1, &when);
    }
}

#[test]
fn a_power_cut_costs_at_most_a_mebibyte_of_a_push() {
    let file = bundle("1.0.0", 5 << 20, Some(&key()));
    let disk = Cuttable::default();
    let mut slots = open(&disk).unwrap();
    slots.begin(digest(&file), file.len() as u64).unwrap();
    for (n, chunk) in file.chunks(64 << 10).take(60).enumerate() {
        slots.write(digest(&file), (n * (64 << 10)) as u64, chunk).unwrap();
    }
    let disk = Cuttable(Arc::new(Mutex::new(disk.with(|disk| disk.power_back(Survives::Synced)))));
    let mut slots = open(&disk).unwrap();
    let (_, received) = slots.begin(digest(&file), file.len() as u64).unwrap();
    assert_eq!(received, 3 << 20);
    push(&mut slots, &file).unwrap();
}

#[test]
fn chunks_may_come_twice_but_not_with_a_gap_nor_from_another_file() {
    let (file, other) = (bundle("1.0.0", 9000, Some(&key())), bundle("1.1.0", 9000, Some(&key())));
    let mut slots = open(&Cuttable::default()).unwrap();
    slots.begin(digest(&file), file.len() as u64).unwrap();
    assert_eq!(slots.write(digest(&file), 0, &file[..1000]), Ok(1000));
    assert_eq!(slots.write(digest(&file), 0, &file[..1000]), Ok(1000));
    assert_eq!(slots.write(digest(&file), 500, &file[500..1500]), Ok(1500));
    let gap = slots.write(digest(&file), 2000, &file[2000..3000]);
    assert_eq!(gap, Err(Refusal::Offset { expected: 1500 }));
    assert!(slots.write(digest(&other), 1500, &other[1500..]).is_err());
    let long = slots.write(digest(&file), 1500, &[&file[1500..], b"x"].concat());
    assert!(matches!(long, Err(Refusal::TooLarge { .. })));
    assert_eq!(slots.finish(digest(&file), &now()), Err(Refusal::Offset { expected: 1500 }));
    slots.write(digest(&file), 1500, &file[1500..]).unwrap();
    assert_eq!(slots.finish(digest(&file), &now()), Ok(SlotId::A));
}

/// A box whose software went back to an older release keeps its slots for the newer one.
#[test]
fn a_record_of_a_newer_agent_is_refused_by_name_and_nothing_is_touched() {
    let disk = Cuttable::default();
    install(&mut open(&disk).unwrap(), &bundle("1.0.0", 1000, Some(&key())));
    for name in protocol::RECORD_FILES {
        let Some(mut newer) = disk.clone().read(name).unwrap() else { continue };
        newer[4..6].copy_from_slice(&7u16.to_le_bytes());
        let end = newer.len() - 4;
        let sum = crc32fast::hash(&newer[..end]).to_le_bytes();
        newer[end..].copy_from_slice(&sum);
        disk.clone().write_at(name, 0, &newer).unwrap();
    }
    let changes = disk.with(|disk| disk.changes);
    let refused = open(&disk).unwrap_err();
    assert_eq!(refused.to_string(), "format 7 is newer than 1, the newest this build reads");
    assert_eq!(disk.with(|disk| disk.changes), changes);
}
