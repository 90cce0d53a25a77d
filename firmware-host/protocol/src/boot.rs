//! Two slots and the record that says which of them runs: pure data, pure transitions.
//!
//! ```text
//!            begin        verified        activate          confirm
//!   Empty ─────────▶ Writing ────▶ Verified ────▶ Trial ──────────────▶ Confirmed   with proof, or by force
//!     ▲  any slot       │             │    ▲        │ no confirm, failed     │ rollback
//!     │  not running    │ damaged     │    └────────┼────────────────────────┘
//!     └ (next begin) ◀──┴──── Bad ◀───┴─ selftest ──┘ rollback
//! ```
//!
//! Every transition takes a record and returns the next one, or says why it is forbidden; the caller writes
//! it down with [`commit`](crate::commit) before acting on it. What they keep true, whatever the order:
//!
//! - a slot that runs is never written to, nor is the fallback of a trial;
//! - once a bundle was confirmed there is always a confirmed slot, unless its file was found damaged;
//! - a bundle is confirmed with a [`Proven`] of this very trial, or by force, and the record says which;
//! - attempts are counted in a trial only: power cuts cannot wear down a confirmed slot;
//! - a release older than the floor is refused; the floor rises to the fallback's release at each confirm,
//!   so that one step back stays possible and two do not.

use crate::bytes::Digest;
use crate::moment::{BootId, Moment};
use crate::proof::{Candidate, Proven};
use crate::slot::{Bundle, Cause, Failure, Release, Slot, SlotId, SlotState};
use alloc::string::{String, ToString};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest [`Failure::detail`] kept, in bytes.
const DETAIL_LIMIT: usize = 2048;
/// Longest text of a [`Forced`].
const FORCED_LIMIT: usize = 512;

/// Which bundle runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// One more with every change.
    pub generation: u64,
    /// Slot A, slot B.
    pub slots: [Slot; 2],
    /// The slot to run: on trial or confirmed. None before the first activation.
    pub active: Option<SlotId>,
    pub floor: Release,
    pub last_failure: Option<Failure>,
    /// Not on the wire, where a record has the form it was released with; at the end of the record's file.
    #[serde(skip)]
    pub notes: Notes,
}

/// What a record also knows. Older records have none, older builds skip them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    pub activation: Activation,
    /// Slot A, slot B: confirmed without a proof.
    pub forced: [Option<Forced>; 2],
    /// Of the daemon's processes during this trial and this start of the machine; each took an attempt. In the
    /// record's file behind the rest, where there were any.
    #[serde(skip)]
    pub deaths: u64,
}

/// Since when the active slot is the one to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Of the record that first said so: no other activation has the same.
    pub generation: u64,
    /// The machine's start during which that was, or the latest one a trial has seen.
    pub boot: BootId,
    /// Milliseconds after that start: of the activation, or of the agent's first look.
    pub millis: u64,
}

impl Activation {
    fn at(generation: u64, at: &Moment) -> Self {
        let millis = u64::try_from(at.uptime.as_millis()).unwrap_or(u64::MAX);
        Self { generation, boot: at.boot, millis }
    }

    /// How long it has been, as far as this start of the machine goes.
    pub fn age(&self, now: &Moment) -> Duration {
        let since = if self.boot.same(now.boot) { self.millis } else { 0 };
        now.uptime.saturating_sub(Duration::from_millis(since))
    }
}

/// A confirm without a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// The operator's.
    pub reason: String,
    /// What was lacking.
    pub lacked: String,
    /// Seconds since 1970 by the box's clock, which may be wrong.
    pub at: u64,
}

/// Why a transition does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    #[error("slot {slot} is on trial: confirm it or roll back first")]
    OnTrial { slot: SlotId },
    #[error("no slot holds bundle {sha256} whole")]
    NoSuchBundle { sha256: Digest },
    #[error("nothing is on trial")]
    NoTrial,
    #[error("the bundle that runs is {running}, not {asked}")]
    NotRunning { running: Digest, asked: Digest },
    #[error("no other confirmed slot to go back to")]
    NoFallback,
    #[error("slot {slot} is not being written")]
    NotWriting { slot: SlotId },
    #[error("release {found} is older than {floor}, the oldest this box accepts")]
    BelowFloor { found: Release, floor: Release },
    #[error("the proof is of another trial")]
    OtherTrial,
}

impl BootRecord {
    /// A box nothing was ever sent to.
    pub const fn new() -> Self {
        Self {
            generation: 0,
            slots: [Slot::EMPTY, Slot::EMPTY],
            active: None,
            floor: Release { major: 0, minor: 0, patch: 0 },
            last_failure: None,
            notes: Notes {
                activation: Activation { generation: 0, boot: BootId::UNKNOWN, millis: 0 },
                forced: [None, None],
                deaths: 0,
            },
        }
    }

    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id as usize]
    }

    /// The slot to run.
    pub fn running(&self) -> Option<(SlotId, &Slot)> {
        self.active.map(|id| (id, self.slot(id)))
    }

    /// The slot on trial and the attempts it has left.
    pub fn trial(&self) -> Option<(SlotId, u8)> {
        let (id, slot) = self.running()?;
        match slot.state {
            SlotState::Trial { attempts_left } => Some((id, attempts_left)),
            _ => None,
        }
    }

    /// What is to run, confirmed or on trial.
    pub fn to_run(&self) -> Option<Candidate> {
        let (slot, Slot { sha256, .. }) = self.running()?;
        let generation = self.notes.activation.generation;
        Some(Candidate { slot, digest: (*sha256)?, generation })
    }

    /// What a proof must speak of.
    pub fn candidate_on_trial(&self) -> Option<Candidate> {
        self.trial().and_then(|_| self.to_run())
    }

    /// The slot a rollback goes to.
    pub fn fallback(&self) -> Option<SlotId> {
        let other = self.active?.other();
        (self.slot(other).state == SlotState::Confirmed).then_some(other)
    }

    /// The slot that holds this file, whole or in part.
    pub fn holder(&self, sha256: Digest) -> Option<SlotId> {
        SlotId::ALL.into_iter().find(|&id| {
            let slot = self.slot(id);
            slot.sha256 == Some(sha256) && !matches!(slot.state, SlotState::Bad { .. })
        })
    }

    /// No state that no transition leads to: what a reader checks besides the CRC.
    pub fn is_sound(&self) -> bool {
        SlotId::ALL.into_iter().all(|id| {
            let slot = self.slot(id);
            let runs = self.active == Some(id);
            match slot.state {
                SlotState::Empty => !runs && slot.sha256.is_none() && slot.bundle.is_none(),
                SlotState::Writing { received, total } => {
                    !runs && slot.sha256.is_some() && received <= total
                }
                SlotState::Verified => !runs && slot.sha256.is_some() && slot.bundle.is_some(),
                SlotState::Trial { .. } => runs && slot.sha256.is_some() && slot.bundle.is_some(),
                SlotState::Confirmed => slot.sha256.is_some() && slot.bundle.is_some(),
                SlotState::Bad { .. } => !runs,
            }
        })
    }

    /// Starts receiving a file into the slot that does not run; continues if it was begun before.
    pub fn begin(&self, sha256: Digest, total: u64) -> Result<(SlotId, Self), Forbidden> {
        if let Some(id) = self.holder(sha256) {
            return Ok((id, self.clone()));
        }
        if let Some((slot, _)) = self.trial() {
            return Err(Forbidden::OnTrial { slot });
        }
        let id = match self.active {
            Some(active) => active.other(),
            None => {
                let free = SlotId::ALL.into_iter().find(|&id| !self.slot(id).is_whole());
                free.unwrap_or(SlotId::A)
            }
        };
        let state = SlotState::Writing { received: 0, total };
        Ok((id, self.with(id, Slot { state, sha256: Some(sha256), bundle: None })))
    }

    /// Notes that the first `received` bytes are safe on the disk.
    pub fn received(&self, id: SlotId, received: u64) -> Result<Self, Forbidden> {
        let SlotState::Writing { total, .. } = self.slot(id).state else {
            return Err(Forbidden::NotWriting { slot: id });
        };
        let state = SlotState::Writing { received: received.min(total), total };
        Ok(self.with(id, Slot { state, ..self.slot(id).clone() }))
    }

    /// The file is whole and was found right.
    pub fn verified(&self, id: SlotId, bundle: Bundle) -> Result<Self, Forbidden> {
        if !matches!(self.slot(id).state, SlotState::Writing { .. }) {
            return Err(Forbidden::NotWriting { slot: id });
        }
        self.allows(bundle.release)?;
        let state = SlotState::Verified;
        Ok(self.with(id, Slot { state, bundle: Some(bundle), ..self.slot(id).clone() }))
    }

    /// Whether a release may be installed.
    pub fn allows(&self, found: Release) -> Result<(), Forbidden> {
        let floor = self.floor;
        if found < floor { Err(Forbidden::BelowFloor { found, floor }) } else { Ok(()) }
    }

    /// Whether `sha256` may be activated, and where it is. It may be active already.
    pub fn candidate(&self, sha256: Digest) -> Result<SlotId, Forbidden> {
        let id = self
            .holder(sha256)
            .filter(|&id| self.slot(id).is_whole())
            .ok_or(Forbidden::NoSuchBundle { sha256 })?;
        if let Some((slot, _)) = self.trial().filter(|&(slot, _)| slot != id) {
            return Err(Forbidden::OnTrial { slot });
        }
        if let Some(bundle) = self.slot(id).bundle.as_ref().filter(|_| self.active != Some(id)) {
            self.allows(bundle.release)?;
        }
        Ok(id)
    }

    /// Runs the bundle on trial. Nothing changes if it runs already.
    pub fn activate(&self, sha256: Digest, attempts: u8, at: &Moment) -> Result<Self, Forbidden> {
        let id = self.candidate(sha256)?;
        if self.active == Some(id) {
            return Ok(self.clone());
        }
        let state = SlotState::Trial { attempts_left: attempts };
        let mut next = self.with(id, Slot { state, ..self.slot(id).clone() });
        next.notes.forced[id as usize] = None;
        Ok(next.running_from(Some(id), at))
    }

    /// Whether the bundle runs confirmed already; fails if it does not run at all.
    pub fn is_confirmed(&self, sha256: Digest) -> Result<bool, Forbidden> {
        let (_, slot) = self.running().ok_or(Forbidden::NoTrial)?;
        if let Some(running) = slot.sha256.filter(|&running| running != sha256) {
            return Err(Forbidden::NotRunning { running, asked: sha256 });
        }
        Ok(slot.state == SlotState::Confirmed)
    }

    /// Ends the trial for good.
    pub fn confirm(&self, proven: Proven) -> Result<Self, Forbidden> {
        let trial = self.candidate_on_trial().ok_or(Forbidden::NoTrial)?;
        if proven.candidate() != trial {
            return Err(Forbidden::OtherTrial);
        }
        Ok(self.confirmed(trial.slot))
    }

    /// Ends the trial for good without a proof, and says so. Nothing changes if the bundle is confirmed already.
    pub fn force(&self, sha256: Digest, forced: Forced) -> Result<Self, Forbidden> {
        if self.is_confirmed(sha256)? {
            return Ok(self.clone());
        }
        let (slot, _) = self.trial().ok_or(Forbidden::NoTrial)?;
        let mut next = self.confirmed(slot);
        let Forced { reason, lacked, at } = forced;
        let reason = shortened(&reason, FORCED_LIMIT);
        let lacked = shortened(&lacked, FORCED_LIMIT);
        next.notes.forced[slot as usize] = Some(Forced { reason, lacked, at });
        Ok(next)
    }

    fn confirmed(&self, id: SlotId) -> Self {
        let kept = self.fallback().and_then(|id| self.slot(id).bundle.as_ref());
        let floor = kept.map_or(self.floor, |bundle| bundle.release.max(self.floor));
        let slot = Slot { state: SlotState::Confirmed, ..self.slot(id).clone() };
        let mut next = Self { floor, ..self.with(id, slot) };
        next.notes.deaths = 0;
        next
    }

    /// Goes back to the other confirmed slot. A bundle on trial goes bad; one that was confirmed stays
    /// verified, so that it can be tried again.
    pub fn rollback(&self, detail: &str, at: &Moment) -> Result<Self, Forbidden> {
        let (id, slot) = self.running().ok_or(Forbidden::NoFallback)?;
        let fallback = self.fallback().ok_or(Forbidden::NoFallback)?;
        if self.trial().is_some() {
            return Ok(self.fail(id, Cause::Operator, detail, at));
        }
        let kept = Slot { state: SlotState::Verified, ..slot.clone() };
        let next = self.noting(id, Cause::Operator, detail, at).with(id, kept);
        Ok(next.since(self).running_from(Some(fallback), at))
    }

    /// A slot is found to be unusable. If it ran, its fallback runs now, or nothing.
    pub fn fail(&self, id: SlotId, reason: Cause, detail: &str, at: &Moment) -> Self {
        let bad = Slot { state: SlotState::Bad { reason }, ..self.slot(id).clone() };
        let next = self.noting(id, reason, detail, at).with(id, bad).since(self);
        if self.active == Some(id) { next.running_from(self.fallback(), at) } else { next }
    }

    /// The agent starts. If the box did too, that takes an attempt from a trial, or ends it, and the trial's clock
    /// begins anew. Nothing else is counted.
    pub fn started(&self, at: &Moment) -> Self {
        if self.trial().is_none() || self.notes.activation.boot.same(at.boot) {
            return self.clone();
        }
        let mut next = self.attempt("no attempt was left when the box started again", at);
        next.notes.activation = Activation::at(next.notes.activation.generation, at);
        next.notes.deaths = 0;
        next
    }

    /// The daemon says that so many of its processes died during this trial and start of the machine: each takes an
    /// attempt, once, however often it is said.
    pub fn died(&self, deaths: u64, at: &Moment) -> Self {
        let fresh = deaths.saturating_sub(self.notes.deaths);
        if fresh == 0 || self.trial().is_none() {
            return self.clone();
        }
        let mut next = self.attempts(fresh, "the daemon died, and no attempt was left", at);
        if next.trial().is_some() {
            next.notes.deaths = deaths;
        }
        next
    }

    /// Takes an attempt from a trial, or ends it if none is left. What takes it: the box or the daemon started again.
    pub fn attempt(&self, detail: &str, at: &Moment) -> Self {
        self.attempts(1, detail, at)
    }

    fn attempts(&self, taken: u64, detail: &str, at: &Moment) -> Self {
        let Some((id, attempts_left)) = self.trial() else { return self.clone() };
        let left = u8::try_from(taken).ok().and_then(|taken| attempts_left.checked_sub(taken));
        let Some(attempts_left) = left else {
            return self.fail(id, Cause::Attempts, detail, at);
        };
        let state = SlotState::Trial { attempts_left };
        self.with(id, Slot { state, ..self.slot(id).clone() })
    }

    /// A partial file turned out to be gone.
    pub fn emptied(&self, id: SlotId) -> Result<Self, Forbidden> {
        if !matches!(self.slot(id).state, SlotState::Writing { .. }) {
            return Err(Forbidden::NotWriting { slot: id });
        }
        Ok(self.with(id, Slot::EMPTY))
    }

    fn with(&self, id: SlotId, slot: Slot) -> Self {
        let mut next = Self { generation: self.generation + 1, ..self.clone() };
        if !slot.is_whole() {
            next.notes.forced[id as usize] = None;
        }
        next.slots[id as usize] = slot;
        next
    }

    /// This record says first that `active` is to run.
    fn running_from(mut self, active: Option<SlotId>, at: &Moment) -> Self {
        self.notes.activation = Activation::at(self.generation, at);
        self.notes.deaths = 0;
        Self { active, ..self }
    }

    fn noting(&self, slot: SlotId, cause: Cause, detail: &str, at: &Moment) -> Self {
        let bundle = self.slot(slot).bundle.clone();
        let detail = shortened(detail, DETAIL_LIMIT);
        let last_failure = Some(Failure { slot, bundle, cause, detail, at: at.wall });
        Self { last_failure, ..self.clone() }
    }

    /// One generation after `before`, however many steps it took.
    fn since(self, before: &Self) -> Self {
        Self { generation: before.generation + 1, ..self }
    }
}

impl Default for BootRecord {
    fn default() -> Self {
        Self::new()
    }
}

/// The end of a long text: the last lines of a log say more than the first.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let mut start = text.len() - limit + '…'.len_utf8();
    while !text.is_char_boundary(start) {
        start += 1;
    }
    alloc::format!("…{}", &text[start..])
}
