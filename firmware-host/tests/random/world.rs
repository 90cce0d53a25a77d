//! A box, and what must be true of it whatever happens.

use crate::memory::{Cuttable, Survives};
use crate::server::{Line, Server};
use crate::support::{bundle, key, word};
use firmware_host::agent::action::{Memory, Permits};
use firmware_host::agent::{Policy, Slots};
use firmware_host::rollout::{self, Next};
use protocol::{
    BootId, BootRecord, Cause, Digest, Forced, Moment, Refusal, Running, SlotId, SlotState, Terms,
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

pub(crate) const FILES: usize = 5;
pub(crate) const TERMS: Terms =
    Terms { fresh: 30, soak: 10, images: 1, max_celsius: None, min_free: None };

/// Bundles of growing releases; the fourth is signed by a stranger.
pub(crate) static BUNDLES: LazyLock<[Vec<u8>; FILES]> = LazyLock::new(|| {
    let stranger = bundle::SigningKey::from_bytes(&[9; 32]);
    std::array::from_fn(|n| {
        let key = if n == 3 { &stranger } else { &key() };
        bundle(&format!("1.{n}.0"), 2_000 + 500 * n, Some(key))
    })
});

pub(crate) fn digest(file: usize) -> Digest {
    static DIGESTS: LazyLock<[Digest; FILES]> =
        LazyLock::new(|| std::array::from_fn(|n| Digest(Sha256::digest(&BUNDLES[n]).into())));
    DIGESTS[file]
}

/// What the daemon says when somebody confirms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Honest,
    OtherBundle,
    OtherSlot,
    EarlierStart,
    EarlierTrial,
    Failed,
    NoGolden,
    Stopped,
    Stale,
    FromTheFuture,
    TooSoon,
    TooFew,
}

pub(crate) const WORDS: [Word; 12] = [
    Word::Honest,
    Word::OtherBundle,
    Word::OtherSlot,
    Word::EarlierStart,
    Word::EarlierTrial,
    Word::Failed,
    Word::NoGolden,
    Word::Stopped,
    Word::Stale,
    Word::FromTheFuture,
    Word::TooSoon,
    Word::TooFew,
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
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
    /// The server orders a file, unless it still waits for the end of its last order.
    Order(usize),
    /// The agent asks the server, and does what can be done.
    Poll(Option<Permits>, Line),
    /// The agent looks at the end of a trial without the server.
    Look(Line),
    Cancel,
    /// The next step of `firmware-host fleet` for this box.
    Fleet(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    /// The power goes after so many changes of the disk, and this is left.
    pub(crate) cut: Option<(usize, Survives)>,
    /// One change fails, this many from now.
    pub(crate) hiccup: Option<usize>,
}

impl Op {
    /// For the counts.
    const fn name(self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Write(..) => "write",
            Self::Finish(_) => "finish",
            Self::Push(_) => "push",
            Self::Verify(_) => "verify",
            Self::Activate(_) => "activate",
            Self::Confirm(_) => "confirm",
            Self::Force(_) => "force",
            Self::Rollback => "rollback",
            Self::EndTrial => "end of a trial",
            Self::DaemonDied(_) => "daemon died",
            Self::AgentStarts => "agent started",
            Self::Reboot => "box started",
            Self::Later(_) => "time passed",
            Self::WallJumps(_) => "clock set",
            Self::DiskFull(_) => "disk full or free",
            Self::Order(_) => "order",
            Self::Poll(..) => "poll",
            Self::Look(_) => "look",
            Self::Cancel => "cancel",
            Self::Fleet(_) => "fleet step",
        }
    }
}

/// A box, and what must be true of it.
pub(crate) struct World {
    pub(crate) disk: Cuttable,
    pub(crate) slots: Slots<Cuttable>,
    pub(crate) now: Moment,
    /// Files that may be found confirmed: with a proof, by force.
    pub(crate) proven: BTreeSet<[u8; 32]>,
    forced: BTreeSet<[u8; 32]>,
    was_confirmed: bool,
    /// Files that were found confirmed.
    pub(crate) confirmed: BTreeSet<[u8; 32]>,
    pub(crate) server: Server,
    pub(crate) memory: Memory,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let disk = Cuttable::default();
        let uptime = Duration::from_secs(100);
        let now = Moment { boot: BootId([1; 16]), uptime, wall: 0 };
        let slots = Slots::open(disk.clone(), policy(), &now).unwrap();
        let (proven, forced, confirmed) = Default::default();
        let (server, memory, counts) = Default::default();
        let was_confirmed = false;
        Self { disk, slots, now, proven, forced, was_confirmed, confirmed, server, memory, counts }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn step(&mut self, Step { op, cut, hiccup }: Step) {
        self.disk.with(|disk| {
            disk.cut_after = cut.map(|(changes, _)| disk.changes + changes);
            disk.fails_at = hiccup.map(|changes| disk.changes + changes);
        });
        let outcome = self.apply(op);
        self.count("steps");
        if outcome.is_ok() {
            self.count(op.name());
        }
        if let Some((_, survives)) = cut {
            self.count("power cuts");
            let left = self.disk.with(|disk| disk.power_back(survives));
            self.disk = Cuttable(Arc::new(Mutex::new(left)));
            self.next_start();
            self.open();
        } else if let Err(Refusal::Disk { .. }) = outcome {
            self.count("disk refusals");
            let excuse = self.disk.with(|disk| disk.full || disk.fails_at.is_some());
            assert!(excuse, "{outcome:?} from a disk that is well");
        }
        self.disk.with(|disk| disk.fails_at = None);
    }

    pub(crate) fn apply(&mut self, op: Op) -> Result<(), Refusal> {
        let now = self.now;
        match op {
            Op::Begin(file) => self.slots.begin(digest(file), BUNDLES[file].len() as u64).map(drop),
            Op::Write(file, length) => self.write(file, length),
            Op::Finish(file) => self.slots.finish(digest(file), &now).map(drop),
            Op::Push(file) => self.push(file),
            Op::Verify(slot) => self.slots.verify(slot, &now),
            Op::Activate(file) => self.activate(file),
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
            Op::Order(file) => {
                self.server.order(file);
                Ok(())
            }
            Op::Poll(permits, line) => self.poll(permits, line),
            Op::Look(line) => self.look(line),
            Op::Cancel => self.cancel(),
            Op::Fleet(file) => match rollout::next(self.slots.record().standing(digest(file))) {
                Next::Push => self.push(file),
                Next::Activate => self.activate(file),
                Next::Confirm => self.confirm(Word::Honest),
                Next::Done => Ok(()),
            },
        }
    }

    pub(crate) fn push(&mut self, file: usize) -> Result<(), Refusal> {
        let length = BUNDLES[file].len();
        self.slots.begin(digest(file), length as u64)?;
        self.write(file, length)?;
        self.slots.finish(digest(file), &self.now).map(drop)
    }

    pub(crate) fn activate(&mut self, file: usize) -> Result<(), Refusal> {
        self.slots.candidate(digest(file))?;
        self.slots.activate(digest(file), 2, &self.now)
    }

    /// The next `length` bytes of a file, from where the box wants them.
    pub(crate) fn write(&mut self, file: usize, length: usize) -> Result<(), Refusal> {
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
    pub(crate) fn confirm(&mut self, kind: Word) -> Result<(), Refusal> {
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
                    self.memory = self.remembered();
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

    pub(crate) fn check(&mut self) {
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
            self.confirmed.insert(sha256);
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
        self.server.check(&self.confirmed);
    }
}

pub(crate) fn said(kind: Word, record: &BootRecord, now: &Moment) -> Running {
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
        Word::Stopped => Running { stopped: true, ..honest },
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
