//! Every record the transitions can lead to, and a power cut in every write on the way.

#![expect(clippy::unwrap_used, reason = "a test")]

use protocol::*;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

const TOTAL: u64 = 2;

fn bundle(n: u8) -> (Digest, Bundle) {
    let release = Release { major: n.into(), minor: 0, patch: 0 };
    (Digest([n; 32]), Bundle { id: format!("chest-{n}"), release, digest: Digest([n + 100; 32]) })
}

/// Second 9 of the machine's start number `boot`.
fn at(boot: u8) -> Moment {
    Moment { boot: BootId([boot; 16]), uptime: Duration::from_secs(9), wall: 77 }
}

/// A daemon that says of the bundle on trial what it takes.
fn proof(record: &BootRecord, now: &Moment) -> Option<Proven> {
    let Candidate { slot, digest, generation } = record.candidate_on_trial()?;
    let running = Running {
        digest,
        slot,
        boot_id: now.boot,
        golden_vectors: 1,
        answered: 0,
        failures: 0,
        generation,
        process: 1,
        started_seconds: 0,
        loaded_seconds: 0,
        written_seconds: now.uptime.as_secs(),
        celsius: None,
        free: None,
        failure: None,
        stopped: false,
        deaths: 0,
    };
    let terms = Terms { fresh: 1, soak: 0, images: 0, max_celsius: None, min_free: None };
    Some(running.prove(record.candidate_on_trial()?, &terms, now).unwrap())
}

fn forced() -> Forced {
    Forced { reason: "wanted".into(), lacked: "a daemon".into(), at: 5 }
}

/// What can happen to a box, in any order.
fn events(record: &BootRecord) -> Vec<(String, BootRecord)> {
    let mut next = Vec::new();
    let mut note = |what: String, to: Result<BootRecord, Forbidden>| {
        if let Ok(to) = to {
            next.push((what, to));
        }
    };
    for n in 1..=3 {
        let (sha256, _) = bundle(n);
        note(format!("begin {n}"), record.begin(sha256, TOTAL).map(|(_, to)| to));
        note(format!("activate {n}"), record.activate(sha256, 1, &at(1)));
        note(format!("force {n}"), record.force(sha256, forced()));
    }
    for id in SlotId::ALL {
        note(format!("received {id}"), record.received(id, 1));
        note(format!("emptied {id}"), record.emptied(id));
        if let Some(sha256) = record.slot(id).sha256 {
            note(format!("verified {id}"), record.verified(id, bundle(sha256.0[0]).1));
        }
        match record.slot(id).state {
            SlotState::Writing { .. } => {
                note(format!("{id} damaged"), Ok(record.fail(id, Cause::Damaged, "", &at(1))));
            }
            SlotState::Verified | SlotState::Trial { .. } => {
                note(format!("{id} fails"), Ok(record.fail(id, Cause::SelfTest, "", &at(1))));
            }
            _ => {}
        }
    }
    if let Some(proven) = proof(record, &at(1)) {
        note("confirm".into(), record.confirm(proven));
    }
    note("rollback".into(), record.rollback("asked", &at(1)));
    note("start".into(), Ok(record.started(&at(2))));
    let deaths = record.notes.deaths;
    note("daemon died".into(), Ok(record.died(deaths + 1, &at(1))));
    assert_eq!(&record.died(deaths, &at(1)), record, "a death that was counted before");
    let same = Moment { boot: record.notes.activation.boot, ..at(1) };
    if same.boot != BootId::UNKNOWN {
        assert_eq!(&record.started(&same), record, "an agent that starts again is no attempt");
    }
    next
}

/// The record without what only counts or tells.
fn state(record: &BootRecord) -> Vec<u8> {
    let told = BootRecord { generation: 0, last_failure: None, ..record.clone() };
    BootRecord { notes: Notes::default(), ..told }.to_bytes()
}

/// Records reachable from a new box, with every step between two of them.
fn explore(mut visit: impl FnMut(&BootRecord, &str, &BootRecord)) -> usize {
    let (mut seen, mut queue) = (HashSet::new(), VecDeque::from([BootRecord::new()]));
    seen.insert(state(&queue[0]));
    while let Some(record) = queue.pop_front() {
        for (what, next) in events(&record) {
            visit(&record, &what, &next);
            if seen.insert(state(&next)) {
                queue.push_back(next);
            }
        }
    }
    seen.len()
}

fn confirmed(record: &BootRecord) -> usize {
    record.slots.iter().filter(|slot| slot.state == SlotState::Confirmed).count()
}

#[test]
fn a_box_that_had_a_confirmed_slot_always_has_one() {
    let records = explore(|before, what, after| {
        let step = || format!("{what}: {before:?} -> {after:?}");
        assert!(after.is_sound(), "{}", step());
        if confirmed(before) > 0 {
            assert!(confirmed(after) > 0, "{}", step());
            assert!(after.active.is_some(), "{}", step());
        }
        let kept = before.active.is_some_and(|id| before.slot(id).sha256 == after.slot(id).sha256);
        assert!(before.active.is_none() || kept, "the running file was replaced, {}", step());
        assert!(after.floor >= before.floor, "{}", step());
        let changed = after != before;
        assert_eq!(after.generation, before.generation + u64::from(changed), "{}", step());
    });
    assert!(records > 500, "only {records} records were reached");
}

#[test]
fn a_trial_leaves_its_fallback_alone() {
    explore(|before, what, after| {
        let Some((_, fallback)) = before.trial().zip(before.fallback()) else { return };
        if after.trial().is_some() {
            assert_eq!(before.slot(fallback), after.slot(fallback), "{what}");
        } else {
            assert_eq!(after.slot(fallback).state, SlotState::Confirmed, "{what}");
        }
    });
}

#[test]
fn starting_counts_only_in_a_trial() {
    explore(|before, what, after| {
        if what == "start" && before.trial().is_none() {
            assert_eq!(before, after);
        }
    });
}

/// Two copies in memory; the power is cut after `bytes_left` bytes, and the rest of that copy is noise.
struct Cut {
    copies: [Option<Vec<u8>>; 2],
    bytes_left: usize,
}

impl Storage for Cut {
    type Error = &'static str;

    fn read(&mut self, copy: usize) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.copies[copy].clone())
    }

    fn write(&mut self, copy: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        let written = bytes.len().min(self.bytes_left);
        let noise = bytes[written..].iter().map(|byte| !byte);
        let torn = bytes[..written].iter().copied().chain(noise).collect();
        self.copies[copy] = Some(torn);
        self.bytes_left -= written;
        if written < bytes.len() { Err("power cut") } else { Ok(()) }
    }
}

fn cut_at(before: &BootRecord, after: &BootRecord, bytes: usize) -> BootRecord {
    let mut storage = Cut { copies: [None, None], bytes_left: usize::MAX };
    if before.generation > 0 {
        let older = BootRecord { generation: before.generation - 1, ..BootRecord::new() };
        commit(&mut storage, &older).unwrap();
    }
    commit(&mut storage, before).unwrap();
    storage.bytes_left = bytes;
    let _ = commit(&mut storage, after);
    load(&mut storage).unwrap().expect("one copy is whole")
}

#[test]
fn a_power_cut_leaves_the_old_record_or_the_new_one() {
    explore(|before, what, after| {
        if before == after {
            return;
        }
        let length = after.to_bytes().len();
        for bytes in [0, 1, length / 2, length - 1] {
            assert_eq!(&cut_at(before, after, bytes), before, "{what}, {bytes} of {length} bytes");
        }
        assert_eq!(&cut_at(before, after, length), after, "{what}");
    });
}

#[test]
fn a_power_cut_at_any_byte_of_a_full_cycle_leaves_a_whole_record() {
    let ((first, first_bundle), (second, second_bundle)) = (bundle(1), bundle(2));
    let mut record = BootRecord::new();
    let mut step = |next: BootRecord| {
        let length = next.to_bytes().len();
        for bytes in 0..length {
            assert_eq!(cut_at(&record, &next, bytes), record);
        }
        record = next;
        record.clone()
    };
    let r = step(BootRecord::new().begin(first, TOTAL).unwrap().1);
    let r = step(r.verified(SlotId::A, first_bundle).unwrap());
    let r = step(r.activate(first, 2, &at(1)).unwrap());
    let r = step(r.confirm(proof(&r, &at(1)).unwrap()).unwrap());
    let r = step(r.begin(second, TOTAL).unwrap().1);
    let r = step(r.received(SlotId::B, 1).unwrap());
    let r = step(r.verified(SlotId::B, second_bundle).unwrap());
    let r = step(r.activate(second, 2, &at(1)).unwrap());
    let r = step(r.started(&at(2)));
    let r = step(r.rollback("wrong findings", &at(2)).unwrap());
    assert_eq!(r.active, Some(SlotId::A));
    let failure = r.last_failure.unwrap();
    assert_eq!((failure.cause, failure.detail.as_str()), (Cause::Operator, "wrong findings"));
}

#[test]
fn a_trial_ends_when_its_attempts_are_used_up() {
    let (sha256, name) = bundle(1);
    let mut record = BootRecord::new().begin(sha256, TOTAL).unwrap().1;
    record = record.verified(SlotId::A, name).unwrap().activate(sha256, 2, &at(1)).unwrap();
    record = record.started(&at(1)).started(&at(2)).started(&at(2)).attempt("died", &at(2));
    assert_eq!(record.trial(), Some((SlotId::A, 0)));
    record = record.started(&at(3));
    assert_eq!(record.active, None);
    assert_eq!(record.last_failure.unwrap().cause, Cause::Attempts);
}

#[test]
fn one_step_back_stays_possible_and_two_do_not() {
    let mut record = BootRecord::new();
    for n in 1..=3 {
        let (sha256, name) = bundle(n);
        let (id, begun) = record.begin(sha256, TOTAL).unwrap();
        record = begun.verified(id, name).unwrap().activate(sha256, 1, &at(1)).unwrap();
        record = record.confirm(proof(&record, &at(1)).unwrap()).unwrap();
    }
    assert_eq!(record.floor, bundle(2).1.release);
    let (id, begun) = record.begin(bundle(1).0, TOTAL).unwrap();
    let refused = begun.verified(id, bundle(1).1);
    assert!(matches!(refused, Err(Forbidden::BelowFloor { .. })), "{refused:?}");
    assert!(record.activate(bundle(2).0, 1, &at(1)).is_ok());
}

#[test]
fn a_long_reason_keeps_its_end_and_the_record_its_bound() {
    let (sha256, _) = bundle(1);
    let record = BootRecord::new().begin(sha256, TOTAL).unwrap().1;
    let failed = record.fail(SlotId::A, Cause::SelfTest, &("ä".repeat(9000) + "the end"), &at(1));
    assert!(failed.last_failure.as_ref().unwrap().detail.ends_with("the end"));
    assert!(failed.to_bytes().len() < RECORD_LIMIT);
    assert_eq!(BootRecord::from_bytes(&failed.to_bytes()), Ok(failed));
}

/// Sees to it that whoever adds a way to confirm thinks of the proof.
#[test]
fn no_step_confirms_a_bundle_but_the_proven_and_the_forced_one() {
    explore(|before, what, after| {
        let Some((id, _)) = before.trial() else { return };
        if after.slot(id).state != SlotState::Confirmed {
            return;
        }
        let forced = after.notes.forced[id as usize].is_some();
        assert!(what == "confirm" && !forced || what.starts_with("force") && forced, "{what}");
    });
}

#[test]
fn a_proof_of_an_earlier_trial_of_the_same_bundle_confirms_nothing() {
    let (sha256, name) = bundle(1);
    let trial = |record: BootRecord| {
        let (id, begun) = record.begin(sha256, TOTAL).unwrap();
        begun.verified(id, name.clone()).unwrap().activate(sha256, 1, &at(1)).unwrap()
    };
    let first = trial(BootRecord::new());
    let proven = proof(&first, &at(1)).unwrap();
    let second = trial(first.fail(SlotId::A, Cause::Health, "", &at(1)));
    assert_eq!(second.candidate_on_trial().unwrap().digest, sha256);
    assert_eq!(second.confirm(proven), Err(Forbidden::OtherTrial));
    assert!(first.confirm(proven).is_ok());
}

#[test]
fn what_was_forced_is_told_until_the_slot_gets_another_bundle() {
    let (sha256, name) = bundle(1);
    let (id, begun) = BootRecord::new().begin(sha256, TOTAL).unwrap();
    let trial = begun.verified(id, name).unwrap().activate(sha256, 1, &at(1)).unwrap();
    let forced = trial.force(sha256, forced()).unwrap();
    assert_eq!(forced.notes.forced[0].as_ref().unwrap().reason, "wanted");
    assert_eq!(BootRecord::from_bytes(&forced.to_bytes()), Ok(forced.clone()));
    assert_eq!(
        forced.force(sha256, Forced { reason: "more".into(), ..self::forced() }),
        Ok(forced.clone())
    );
    let (other, begun) = forced.begin(bundle(2).0, TOTAL).unwrap();
    let next =
        begun.verified(other, bundle(2).1).unwrap().activate(bundle(2).0, 1, &at(1)).unwrap();
    assert!(next.notes.forced[0].is_some() && next.notes.forced[1].is_none());
    let next = next.confirm(proof(&next, &at(1)).unwrap()).unwrap();
    let (_, over) = next.begin(bundle(3).0, TOTAL).unwrap();
    assert_eq!(over.notes.forced, [None, None]);
}
