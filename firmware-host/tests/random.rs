//! Whatever operators, daemons, clocks, disks and the mains do, in any order: a confirmed bundle always boots, and no
//! bundle is confirmed without a proof but by force.
//!
//! `MODEL_CASES` says how many histories are tried; each has up to 60 steps.

#![expect(clippy::unwrap_used, reason = "tests")]

mod memory;
mod support;

use firmware_host::agent::{Policy, Slots};
use memory::{Cuttable, OUTCOMES, Survives};
use proptest::prelude::*;
use protocol::{
    BootId, BootRecord, Cause, Digest, Forced, Moment, Refusal, Running, SlotId, SlotState, Terms,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use support::{bundle, key, word};

const FILES: usize = 5;
const TERMS: Terms = Terms { fresh: 30, soak: 10, images: 1, max_celsius: None, min_free: None };

/// Bundles of growing releases; the fourth is signed by a stranger.
static BUNDLES: LazyLock<[Vec<u8>; FILES]> = LazyLock::new(|| {
    let stranger = bundle::SigningKey::from_bytes(&[9; 32]);
    std::array::from_fn(|n| {
        let key = if n == 3 { &stranger } else { &key() };
        bundle(&format!("1.{n}.0"), 2_000 + 500 * n, Some(key))
    })
});

fn digest(file: usize) -> Digest {
    static DIGESTS: LazyLock<[Digest; FILES]> =
        LazyLock::new(|| std::array::from_fn(|n| Digest(Sha256::digest(&BUNDLES[n]).into())));
    DIGESTS[file]
}

/// What the daemon says when somebody confirms.
#[derive(Clone, Copy, Debug)]
enum Word {
    Honest,
    OtherBundle,
    OtherSlot,
    EarlierStart,
    EarlierTrial,
    Failed,
    NoGolden,
    Stale,
    FromTheFuture,
    TooSoon,
    TooFew,
}

const WORDS: [Word; 11] = [
    Word::Honest,
    Word::OtherBundle,
    Word::OtherSlot,
    Word::EarlierStart,
    Word::EarlierTrial,
    Word::Failed,
    Word::NoGolden,
    Word::Stale,
    Word::FromTheFuture,
    Word::TooSoon,
    Word::TooFew,
];

#[derive(Clone, Copy, Debug)]
enum Op {
    // One operator or two, each with a file of their own: in pieces, so that they come between each other.
    Begin(usize),
    Write(usize, usize),
    Finish(usize),
    Push(usize),
    Verify(SlotId),
    Activate(usize),
    Confirm(Word),
    Force(usize),
    Rollback,
    /// What the watch does.
    EndTrial,
    /// The daemon's next process says that so many died before it, in all.
    DaemonDied(u64),
    AgentStarts,
    Reboot,
    Later(u64),
    WallJumps(u64),
    DiskFull(bool),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    /// The power goes after so many changes of the disk, and this is left.
    cut: Option<(usize, Survives)>,
    /// One change fails, this many from now.
    hiccup: Option<usize>,
}

fn ops() -> impl Strategy<Value = Op> {
    let file = 0..FILES;
    prop_oneof![
        2 => file.clone().prop_map(Op::Begin),
        4 => (file.clone(), 1..2_500_usize).prop_map(|(file, length)| Op::Write(file, length)),
        2 => file.clone().prop_map(Op::Finish),
        5 => file.clone().prop_map(Op::Push),
        1 => prop::sample::select(&SlotId::ALL[..]).prop_map(Op::Verify),
        6 => file.clone().prop_map(Op::Activate),
        4 => Just(Op::Confirm(Word::Honest)),
        3 => prop::sample::select(&WORDS[..]).prop_map(Op::Confirm),
        1 => file.prop_map(Op::Force),
        2 => Just(Op::Rollback),
        1 => Just(Op::EndTrial),
        1 => (0..4_u64).prop_map(Op::DaemonDied),
        2 => Just(Op::AgentStarts),
        1 => Just(Op::Reboot),
        1 => (0..1000_u64).prop_map(Op::Later),
        1 => any::<u64>().prop_map(Op::WallJumps),
        1 => any::<bool>().prop_map(Op::DiskFull),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(&OUTCOMES[..]);
    let cut = prop::option::weighted(0.15, (0..14_usize, outcome));
    let hiccup = prop::option::weighted(0.1, 1..14_usize);
    (ops(), cut, hiccup).prop_map(|(op, cut, hiccup)| Step { op, cut, hiccup })
}

/// A box, and what must be true of it.
struct World {
    disk: Cuttable,
    slots: Slots<Cuttable>,
    now: Moment,
    /// Files that may be found confirmed: with a proof, by force.
    proven: BTreeSet<[u8; 32]>,
    forced: BTreeSet<[u8; 32]>,
    was_confirmed: bool,
}

impl World {
    fn new() -> Self {
        let disk = Cuttable::default();
        let uptime = Duration::from_secs(100);
        let now = Moment { boot: BootId([1; 16]), uptime, wall: 0 };
        let slots = Slots::open(disk.clone(), policy(), &now).unwrap();
        let (proven, forced) = Default::default();
        Self { disk, slots, now, proven, forced, was_confirmed: false }
    }

    fn step(&mut self, Step { op, cut, hiccup }: Step) {
        self.disk.with(|disk| {
            disk.cut_after = cut.map(|(changes, _)| disk.changes + changes);
            disk.fails_at = hiccup.map(|changes| disk.changes + changes);
        });
        let outcome = self.apply(op);
        if let Some((_, survives)) = cut {
            let left = self.disk.with(|disk| disk.power_back(survives));
            self.disk = Cuttable(Arc::new(Mutex::new(left)));
            self.next_start();
            self.open();
        } else if let Err(Refusal::Disk { .. }) = outcome {
            let excuse = self.disk.with(|disk| disk.full || disk.fails_at.is_some());
            assert!(excuse, "{outcome:?} from a disk that is well");
        }
        self.disk.with(|disk| disk.fails_at = None);
    }

    fn apply(&mut self, op: Op) -> Result<(), Refusal> {
        let now = self.now;
        match op {
            Op::Begin(file) => self.slots.begin(digest(file), BUNDLES[file].len() as u64).map(drop),
            Op::Write(file, length) => self.write(file, length),
            Op::Finish(file) => self.slots.finish(digest(file), &now).map(drop),
            Op::Push(file) => {
                let length = BUNDLES[file].len();
                self.slots.begin(digest(file), length as u64)?;
                self.write(file, length)?;
                self.slots.finish(digest(file), &now).map(drop)
            }
            Op::Verify(slot) => self.slots.verify(slot, &now),
            Op::Activate(file) => {
                self.slots.candidate(digest(file))?;
                self.slots.activate(digest(file), 2, &now)
            }
            Op::Confirm(word) => self.confirm(word),
            Op::Force(file) => {
                let forced = Forced { reason: "wanted".into(), lacked: "all".into(), at: now.wall };
                if self
                    .slots
                    .record()
                    .candidate_on_trial()
                    .is_some_and(|t| t.digest == digest(file))
                {
                    self.forced.insert(digest(file).0);
                }
                self.slots.force(digest(file), forced)
            }
            Op::Rollback => self.slots.rollback("unwanted", &now),
            Op::EndTrial => match self.slots.record().trial() {
                Some((slot, _)) => self.slots.fail(slot, Cause::Health, "ill", &now),
                None => Ok(()),
            },
            Op::DaemonDied(deaths) => self.slots.died(deaths, &now),
            Op::AgentStarts => {
                let before = self.slots.record().clone();
                if self.open() {
                    assert_eq!(self.slots.record().trial(), before.trial(), "no attempt was taken");
                }
                Ok(())
            }
            Op::Reboot => {
                self.next_start();
                self.open();
                Ok(())
            }
            Op::Later(seconds) => {
                self.now.uptime += Duration::from_secs(seconds);
                Ok(())
            }
            Op::WallJumps(wall) => {
                self.now.wall = wall;
                Ok(())
            }
            Op::DiskFull(full) => {
                self.disk.with(|disk| disk.full = full);
                Ok(())
            }
        }
    }

    /// The next `length` bytes of a file, from where the box wants them.
    fn write(&mut self, file: usize, length: usize) -> Result<(), Refusal> {
        let bytes = &BUNDLES[file];
        let at = match self.slots.write(digest(file), u64::MAX, b"", Duration::ZERO) {
            Err(Refusal::Offset { expected }) => usize::try_from(expected).unwrap(),
            other => return other.map(drop),
        };
        let end = (at + length).min(bytes.len());
        let written =
            self.slots.write(digest(file), at as u64, &bytes[at..end], self.now.uptime)?;
        assert_eq!(written as usize, end);
        Ok(())
    }

    /// Any word but the honest one must be found wanting, whatever else is the case.
    fn confirm(&mut self, kind: Word) -> Result<(), Refusal> {
        let record = self.slots.record();
        let Some(trial) = record.candidate_on_trial() else { return Ok(()) };
        let running = said(kind, record, &self.now);
        let proven = match running.prove(trial, &TERMS, &self.now) {
            Ok(proven) => proven,
            Err(unproven) => {
                assert!(!matches!(kind, Word::Honest), "{unproven}");
                return Ok(());
            }
        };
        assert!(matches!(kind, Word::Honest), "{kind:?} was taken for a proof");
        self.proven.insert(trial.digest.0);
        self.slots.confirm(proven)
    }

    fn next_start(&mut self) {
        self.now.boot.0[0] = self.now.boot.0[0].wrapping_add(1).max(1);
        self.now.uptime = Duration::from_secs(100);
    }

    /// Starts the agent; `false` if the disk does not let it start, which changes nothing.
    fn open(&mut self) -> bool {
        for _ in 0..2 {
            match Slots::open(self.disk.clone(), policy(), &self.now) {
                Ok(slots) => {
                    self.slots = slots;
                    return true;
                }
                // systemd starts it again, on a disk that has room again in the end.
                Err(_) => self.disk.with(|disk| {
                    disk.full = false;
                    disk.fails_at = None;
                    disk.cut_after = None;
                }),
            }
        }
        panic!("the agent does not start on a disk that is well");
    }

    fn check(&mut self) {
        let record = self.slots.record();
        assert!(record.is_sound(), "{record:?}");
        let whole = |id: SlotId| {
            let file = firmware_host::agent::Disk::read(&mut self.disk.clone(), id.file_name());
            let file = file.unwrap().unwrap_or_default();
            record.slot(id).sha256 == Some(Digest(Sha256::digest(&file).into()))
        };
        if let Some((id, _)) = record.running() {
            assert!(whole(id), "slot {id} is to run and is damaged: {record:?}");
        }
        let confirmed: Vec<_> = SlotId::ALL
            .into_iter()
            .filter(|id| record.slot(*id).state == SlotState::Confirmed)
            .collect();
        for &id in &confirmed {
            assert!(whole(id), "slot {id} is confirmed and damaged: {record:?}");
            let sha256 = record.slot(id).sha256.unwrap().0;
            let forced = record.notes.forced[id as usize].is_some();
            let known = if forced { &self.forced } else { &self.proven };
            assert!(known.contains(&sha256), "slot {id} was confirmed without a proof: {record:?}");
            assert_ne!(sha256, digest(3).0, "a stranger's bundle is confirmed");
        }
        // What a power cut would leave: only that can be relied on.
        let durable = self.disk.with(|disk| disk.power_back(Survives::Synced));
        let mut durable = Cuttable(Arc::new(Mutex::new(durable)));
        let copies = protocol::RECORD_FILES
            .map(|name| firmware_host::agent::Disk::read(&mut durable, name).unwrap());
        let kept = protocol::newest([copies[0].as_deref(), copies[1].as_deref()]).unwrap();
        self.was_confirmed |= kept.is_some_and(|record| {
            record.slots.iter().any(|slot| slot.state == SlotState::Confirmed)
        });
        if self.was_confirmed {
            assert!(!confirmed.is_empty() && record.active.is_some(), "nothing boots: {record:?}");
        }
    }
}

fn said(kind: Word, record: &BootRecord, now: &Moment) -> Running {
    let honest = word(record, now).unwrap();
    let loaded_seconds = honest.written_seconds - 10;
    let honest = Running { answered: 1, loaded_seconds, ..honest };
    match kind {
        Word::Honest => honest,
        Word::OtherBundle => Running { digest: Digest([0; 32]), ..honest },
        Word::OtherSlot => Running { slot: honest.slot.other(), ..honest },
        Word::EarlierStart => Running { boot_id: BootId([0xEE; 16]), ..honest },
        Word::EarlierTrial => Running { generation: honest.generation - 1, ..honest },
        Word::Failed => Running { failures: 1, ..honest },
        Word::NoGolden => Running { golden_vectors: 0, ..honest },
        Word::Stale => Running {
            written_seconds: honest.written_seconds - 31,
            loaded_seconds: honest.loaded_seconds - 31,
            ..honest
        },
        Word::FromTheFuture => Running { written_seconds: honest.written_seconds + 1, ..honest },
        Word::TooSoon => Running { loaded_seconds: honest.loaded_seconds + 1, ..honest },
        Word::TooFew => Running { answered: 0, ..honest },
    }
}

fn policy() -> Policy {
    let trusted = vec![key().verifying_key()];
    Policy { trusted, allow_unsigned: false, keep_floor: true, limit: 1 << 20 }
}

fn cases() -> u32 {
    std::env::var("MODEL_CASES").map_or(300, |cases| cases.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_confirmed_bundle_always_boots_and_none_is_confirmed_unproven(steps in prop::collection::vec(steps(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
    }

    /// The wall clock may say what it likes.
    #[test]
    fn no_wall_clock_changes_a_proof(walls in any::<[u64; 2]>(), kind in prop::sample::select(&WORDS[..])) {
        let mut world = World::new();
        world.apply(Op::Push(0)).unwrap();
        world.apply(Op::Activate(0)).unwrap();
        let (record, trial) = (world.slots.record(), world.slots.record().candidate_on_trial().unwrap());
        let judged = walls.map(|wall| {
            let now = Moment { wall, ..world.now };
            said(kind, record, &now).prove(trial, &TERMS, &now)
        });
        prop_assert_eq!(&judged[0], &judged[1]);
        prop_assert_eq!(judged[0].is_ok(), matches!(kind, Word::Honest));
    }
}

/// The histories are worth something: without a proof in the way, the model would notice.
#[test]
fn the_model_would_notice_a_confirm_without_a_proof() {
    let mut world = World::new();
    for op in [Op::Push(0), Op::Activate(0), Op::Confirm(Word::Honest)] {
        world.apply(op).unwrap();
    }
    world.check();
    world.proven.clear();
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
    assert!(noticed.is_err());
}
