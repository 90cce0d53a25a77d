//! The power is cut at every single write to the disk, while slots live through a full cycle and while they
//! recover; whatever survives must be enough to go on.

#![expect(clippy::unwrap_used, reason = "tests")]

mod memory;
mod support;

use firmware_host::agent::{Disk, PackChange, Policy, Slots, compose};
use memory::{Cuttable, OUTCOMES, Survives};
use protocol::{BootId, Cause, Digest, Moment, Refusal, SlotId, SlotState};
use sha2::{Digest as _, Sha256};
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{bundle, key, prove, sealed, speaking};

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
        slots.write(sha256, offset as u64, &file[offset..end], Duration::ZERO)?;
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

/// What an agent does with a pack, the files as they are on this disk.
fn change_packs(
    slots: &mut Slots<Cuttable>,
    disk: &Cuttable,
    change: PackChange,
) -> Result<Vec<u8>, Refusal> {
    let (running, _) = slots.record().running().unwrap();
    let file = disk.clone().read(running.file_name()).unwrap().unwrap();
    let mut composed = compose(Cursor::new(file), change)?;
    let mut file = Vec::new();
    composed.reader.read_to_end(&mut file).unwrap();
    assert_eq!((digest(&file), file.len() as u64), (composed.sha256, composed.total));
    push(slots, &file)?;
    Ok(file)
}

/// A bundle is confirmed, a pack comes and is rolled back, comes again and is confirmed, and goes.
fn life_with_packs(
    slots: &mut Slots<Cuttable>,
    disk: &Cuttable,
    reached: &mut usize,
) -> Result<(), Refusal> {
    let bundle = speaking("1.0.0", 1_000);
    push(slots, &bundle)?;
    slots.activate(digest(&bundle), 1, &now())?;
    confirm(slots)?;
    *reached = 1;
    let heart = || PackChange::Add(Box::new(sealed("heart", "1.0.0")));
    let first = change_packs(slots, disk, heart())?;
    slots.activate(digest(&first), 1, &now())?;
    slots.rollback("wrong", &now())?;
    let second = change_packs(slots, disk, heart())?;
    assert_eq!(first, second);
    slots.activate(digest(&second), 1, &now())?;
    confirm(slots)?;
    *reached = 2;
    let without = change_packs(slots, disk, PackChange::Remove("heart".into()))?;
    assert_eq!(without, bundle);
    Ok(())
}

#[test]
fn wherever_the_power_is_cut_while_packs_come_and_go_the_box_boots_and_takes_them() {
    let whole = Cuttable::default();
    life_with_packs(&mut open(&whole).unwrap(), &whole, &mut 0).unwrap();
    let changes = whole.with(|disk| disk.changes);
    assert!(changes > 40, "only {changes} changes");
    for cut in 0..changes {
        let disk = Cuttable::default();
        disk.with(|disk| disk.cut_after = Some(cut));
        let mut confirmed = 0;
        if let Ok(mut slots) = open(&disk) {
            assert!(life_with_packs(&mut slots, &disk, &mut confirmed).is_err());
        }
        for survives in OUTCOMES {
            let when = format!("cut at change {cut} of {changes}, {survives:?}");
            let left = disk.with(|disk| disk.power_back(survives));
            let disk = Cuttable(Arc::new(Mutex::new(left)));
            let mut slots = open(&disk).unwrap();
            assert_bootable(&slots, &disk, confirmed, &when);
            if slots.record().trial().is_some() {
                confirm(&mut slots).unwrap();
            }
            if confirmed == 0 {
                install(&mut slots, &speaking("1.0.0", 1_000));
            }
            let lungs = PackChange::Add(Box::new(sealed("lungs", "1.0.0")));
            let file = change_packs(&mut slots, &disk, lungs).unwrap();
            slots.activate(digest(&file), 1, &now()).unwrap();
            confirm(&mut slots).unwrap();
            assert_bootable(&slots, &disk, 1, &when);
            let bundle = bundle::Bundle::read(file).unwrap();
            assert!(bundle.packs().iter().any(|pack| pack.name() == "lungs"), "{when}");
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

/// What is left of a push after a power cut, if 60 of its chunks of 64 KiB came, one each `pause`.
fn left_of_a_push(pause: Duration) -> (u64, usize) {
    let file = bundle("1.0.0", 20 << 20, Some(&key()));
    let sha256 = digest(&file);
    let disk = Cuttable::default();
    let mut slots = open(&disk).unwrap();
    slots.begin(sha256, file.len() as u64).unwrap();
    let before = slots.record().generation;
    for (n, chunk) in (0..).zip(file.chunks(64 << 10).take(300)) {
        slots.write(sha256, u64::from(n) * (64 << 10), chunk, pause * n).unwrap();
    }
    let writes = slots.record().generation - before;
    let disk = Cuttable(Arc::new(Mutex::new(disk.with(|disk| disk.power_back(Survives::Synced)))));
    let mut slots = open(&disk).unwrap();
    let (_, received) = slots.begin(sha256, file.len() as u64).unwrap();
    push(&mut slots, &file).unwrap();
    (received, writes as usize)
}

#[test]
fn a_push_writes_the_record_once_in_16_mebibytes_or_in_a_second_that_brings_one() {
    // 300 chunks are 18.75 MiB.
    assert_eq!(left_of_a_push(Duration::ZERO), (16 << 20, 1));
    // 11 kB/s, a serial line: a record each MiB.
    assert_eq!(left_of_a_push(Duration::from_secs(6)), (18 << 20, 18));
    // 3.2 MB/s: a record each second, when 50 chunks have come.
    assert_eq!(left_of_a_push(Duration::from_millis(20)), (251 << 16, 5));
}

#[test]
fn chunks_may_come_twice_but_not_with_a_gap_nor_from_another_file() {
    let (file, other) = (bundle("1.0.0", 9000, Some(&key())), bundle("1.1.0", 9000, Some(&key())));
    let mut slots = open(&Cuttable::default()).unwrap();
    slots.begin(digest(&file), file.len() as u64).unwrap();
    assert_eq!(slots.write(digest(&file), 0, &file[..1000], Duration::ZERO), Ok(1000));
    assert_eq!(slots.write(digest(&file), 0, &file[..1000], Duration::ZERO), Ok(1000));
    assert_eq!(slots.write(digest(&file), 500, &file[500..1500], Duration::ZERO), Ok(1500));
    let gap = slots.write(digest(&file), 2000, &file[2000..3000], Duration::ZERO);
    assert_eq!(gap, Err(Refusal::Offset { expected: 1500 }));
    assert!(slots.write(digest(&other), 1500, &other[1500..], Duration::ZERO).is_err());
    let long = slots.write(digest(&file), 1500, &[&file[1500..], b"x"].concat(), Duration::ZERO);
    assert!(matches!(long, Err(Refusal::TooLarge { .. })));
    assert_eq!(slots.finish(digest(&file), &now()), Err(Refusal::Offset { expected: 1500 }));
    slots.write(digest(&file), 1500, &file[1500..], Duration::ZERO).unwrap();
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
