//! The boot record and the two files it speaks of, kept in step through power cuts.
//!
//! ```text
//! boot-record.0  boot-record.1     two copies, see `protocol`
//! slot-a.bundle  slot-b.bundle     whole files only
//! slot-a.partial slot-b.partial    files being received
//! ```
//!
//! The rule throughout: a file is durable before a record speaks of it, and a record that no longer speaks
//! of a file is durable before the file goes. So [`Slots::open`] finds at most half a step to finish.

use super::{
    check::{Checked, PIECE, Policy},
    disk::Disk,
};
use protocol::{
    BootRecord, Cause, Digest, Forbidden, Forced, LoadError, Moment, Proven, RECORD_FILES, Refusal,
    SlotId, SlotState,
};
use sha2::{Digest as _, Sha256};
use std::io::{self, BufReader};
use std::time::Duration;

/// What was received is made durable after so many bytes, or sooner where a second brings less: a power cut costs at
/// most this much of a push, and flash is spared.
const CHECKPOINT: u64 = 16 << 20;
/// Nor is it made durable for less than this.
const LEAST: u64 = 1 << 20;
/// Nor more often, up to a checkpoint.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Slots<D> {
    disk: D,
    policy: Policy,
    record: BootRecord,
    /// The file being received and how much of it was written, durable or not.
    writing: Option<(Digest, u64)>,
    /// When that was last made durable, by the clock of [`Slots::write`].
    kept_at: Duration,
}

impl<D: Disk> Slots<D> {
    /// Reads the record, finishes what a power cut interrupted, and counts the start.
    ///
    /// Fails, before it changes anything, if a newer agent wrote the record.
    pub fn open(mut disk: D, policy: Policy, now: &Moment) -> io::Result<Self> {
        let record = protocol::load(&mut Copies(&mut disk)).map_err(|error| match error {
            LoadError::Storage(error) => error,
            LoadError::Record(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        if record.is_none() {
            // Copies that are there, and neither is whole: no power cut does that. Kept for whoever looks.
            for name in RECORD_FILES {
                if disk.length(name)?.is_some() {
                    log::error!(
                        "{name} is damaged and kept as {name}.damaged; the slots count as empty"
                    );
                    disk.rename(name, &format!("{name}.damaged"))?;
                }
            }
            disk.sync_folder()?;
        }
        let mut slots = Self {
            disk,
            policy,
            record: record.unwrap_or_default(),
            writing: None,
            kept_at: Duration::ZERO,
        };
        for id in SlotId::ALL {
            slots.recover(id, now)?;
        }
        slots.commit(slots.record.started(now))?;
        Ok(slots)
    }

    pub fn record(&self) -> &BootRecord {
        &self.record
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Prepares to receive a file; returns where and how much of it is there.
    pub fn begin(&mut self, sha256: Digest, total: u64) -> Result<(SlotId, u64), Refusal> {
        let limit = self.policy.limit;
        if total == 0 || total > limit {
            return Err(Refusal::TooLarge { found: total, limit });
        }
        let (id, mut next) = self.record.begin(sha256, total).map_err(refused)?;
        if matches!(next.slot(id).state, SlotState::Writing { total: begun, .. } if begun != total)
        {
            // Announced with another length before: one of the two was wrong, so start over.
            let emptied = self.record.emptied(id).map_err(refused)?;
            (_, next) = emptied.begin(sha256, total).map_err(refused)?;
        }
        if next != self.record {
            self.commit(next).map_err(disk)?;
            self.clear(id).map_err(disk)?;
        }
        let SlotState::Writing { received, .. } = self.record.slot(id).state else {
            return Ok((id, total));
        };
        let received = match self.writing {
            Some((begun, written)) if begun == sha256 => written,
            _ => {
                self.recover_partial(id, received, total).map_err(disk)?;
                if self.record.slot(id).state == SlotState::Empty {
                    return self.begin(sha256, total);
                }
                received
            }
        };
        let free = self.disk.free().map_err(disk)?;
        if free < total - received {
            let detail = format!("{} bytes needed, {free} free", total - received);
            return Err(Refusal::Disk { detail });
        }
        self.writing = Some((sha256, received));
        Ok((id, received))
    }

    /// Takes a piece of the file; returns how much of it is there. What was there already is left alone.
    /// `clock`: any that only goes on.
    pub fn write(
        &mut self,
        sha256: Digest,
        offset: u64,
        chunk: &[u8],
        clock: Duration,
    ) -> Result<u64, Refusal> {
        let (id, received, total) = self.being_written(sha256)?;
        if offset > received {
            return Err(Refusal::Offset { expected: received });
        }
        let end = offset.saturating_add(chunk.len() as u64);
        if end > total {
            return Err(Refusal::TooLarge { found: end, limit: total });
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX).min(chunk.len());
        let news = &chunk[known..];
        if news.is_empty() {
            return Ok(received);
        }
        self.disk.write_at(id.partial_name(), received, news).map_err(disk)?;
        self.writing = Some((sha256, end));
        let fresh = end - self.kept(id);
        let rested = clock.saturating_sub(self.kept_at) >= PAUSE;
        if end == total || fresh >= CHECKPOINT || (fresh >= LEAST && rested) {
            self.keep(id, end).map_err(disk)?;
            self.kept_at = clock;
        }
        Ok(end)
    }

    /// Checks the complete file and keeps it. A file that is not right makes its slot bad.
    pub fn finish(&mut self, sha256: Digest, now: &Moment) -> Result<SlotId, Refusal> {
        if let Ok(id) = self.record.candidate(sha256) {
            return Ok(id);
        }
        let (id, received, total) = self.being_written(sha256)?;
        if received != total {
            return Err(Refusal::Offset { expected: received });
        }
        self.keep(id, total).map_err(disk)?;
        // An earlier try may have failed between the rename and the record.
        self.recover_partial(id, total, total).map_err(disk)?;
        let bundle = match self.check(id.partial_name(), sha256).map_err(disk)? {
            Ok(bundle) => bundle,
            Err((cause, detail)) => {
                self.fail(id, cause, &detail, now)?;
                return Err(Refusal::Bad { slot: id, cause, detail });
            }
        };
        let next = match self.record.verified(id, bundle) {
            Ok(next) => next,
            Err(forbidden) => {
                let emptied = self.record.emptied(id).map_err(refused)?;
                self.commit(emptied).map_err(disk)?;
                self.clear(id).map_err(disk)?;
                return Err(refused(forbidden));
            }
        };
        self.disk.rename(id.partial_name(), id.file_name()).map_err(disk)?;
        self.disk.sync_folder().map_err(disk)?;
        self.commit(next).map_err(disk)?;
        self.writing = None;
        Ok(id)
    }

    /// Reads a slot's file again. One that is not what it was makes the slot bad.
    pub fn verify(&mut self, id: SlotId, now: &Moment) -> Result<(), Refusal> {
        let slot = self.record.slot(id);
        let (Some(sha256), Some(_)) = (slot.sha256, &slot.bundle) else {
            return Err(Refusal::State { detail: format!("slot {id} holds no whole bundle") });
        };
        let is_bad = matches!(slot.state, SlotState::Bad { .. });
        let checked = self.check(id.file_name(), sha256).map_err(disk)?;
        let Err((cause, detail)) = checked else { return Ok(()) };
        if !is_bad {
            self.fail(id, cause, &detail, now)?;
        }
        Err(Refusal::Bad { slot: id, cause, detail })
    }

    /// Where the bundle is, if it may be activated, and whether it runs already.
    pub fn candidate(&self, sha256: Digest) -> Result<(SlotId, bool), Refusal> {
        let id = self.record.candidate(sha256).map_err(refused)?;
        Ok((id, self.record.active == Some(id)))
    }

    /// Puts the bundle on trial. The caller has run its self-test.
    pub fn activate(&mut self, sha256: Digest, attempts: u8, now: &Moment) -> Result<(), Refusal> {
        let next = self.record.activate(sha256, attempts, now).map_err(refused)?;
        self.commit(next).map_err(disk)
    }

    /// Who may sign bundles from now on.
    pub fn trust(&mut self, keys: Vec<bundle::VerifyingKey>) {
        self.policy.trusted = keys;
    }

    /// Whether a bundle runs confirmed; fails if it does not run.
    pub fn is_confirmed(&self, sha256: Digest) -> Result<bool, Refusal> {
        self.record.is_confirmed(sha256).map_err(refused)
    }

    /// Keeps what is on trial for good.
    pub fn confirm(&mut self, proven: Proven) -> Result<(), Refusal> {
        self.keep_for_good(self.record.confirm(proven).map_err(refused)?)
    }

    /// The same without a proof, which the record notes.
    pub fn force(&mut self, sha256: Digest, forced: Forced) -> Result<(), Refusal> {
        self.keep_for_good(self.record.force(sha256, forced).map_err(refused)?)
    }

    fn keep_for_good(&mut self, mut next: BootRecord) -> Result<(), Refusal> {
        if !self.policy.keep_floor {
            next.floor = self.record.floor;
        }
        self.commit(next).map_err(disk)
    }

    /// So many processes of the daemon died during the trial: each takes an attempt, or ends the trial.
    pub fn died(&mut self, deaths: u64, now: &Moment) -> Result<(), Refusal> {
        self.commit(self.record.died(deaths, now)).map_err(disk)
    }

    pub fn rollback(&mut self, reason: &str, now: &Moment) -> Result<(), Refusal> {
        let next = self.record.rollback(reason, now).map_err(refused)?;
        self.commit(next).map_err(disk)
    }

    /// Makes a slot bad; if it ran, its fallback runs now.
    pub fn fail(
        &mut self,
        id: SlotId,
        cause: Cause,
        detail: &str,
        now: &Moment,
    ) -> Result<(), Refusal> {
        self.commit(self.record.fail(id, cause, detail, now)).map_err(disk)?;
        self.disk.remove(id.partial_name()).map_err(disk)?;
        self.writing = None;
        Ok(())
    }

    /// Checks a file piece by piece: it may be larger than the memory.
    fn check(&mut self, name: &str, sha256: Digest) -> io::Result<Checked> {
        let found = self.digest(name)?;
        if found != sha256 {
            return Ok(Err((Cause::Damaged, differs(found, sha256))));
        }
        let (file, length) = self.disk.open(name)?.ok_or(io::ErrorKind::NotFound)?;
        self.policy.check(file, length)
    }

    /// SHA-256 of a file; one that is gone counts as empty.
    fn digest(&mut self, name: &str) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        if let Some((file, _)) = self.disk.open(name)? {
            io::copy(&mut BufReader::with_capacity(PIECE, file), &mut hasher)?;
        }
        Ok(Digest(hasher.finalize().into()))
    }

    fn being_written(&self, sha256: Digest) -> Result<(SlotId, u64, u64), Refusal> {
        let nothing = || Refusal::State { detail: format!("{sha256} was not begun") };
        let (begun, received) = self.writing.ok_or_else(nothing)?;
        let id = self.record.holder(sha256).filter(|_| begun == sha256).ok_or_else(nothing)?;
        match self.record.slot(id).state {
            SlotState::Writing { total, .. } => Ok((id, received, total)),
            _ => Err(nothing()),
        }
    }

    /// How much of a file being received is durable.
    fn kept(&self, id: SlotId) -> u64 {
        match self.record.slot(id).state {
            SlotState::Writing { received, .. } => received,
            _ => 0,
        }
    }

    /// Makes what was received durable, then says so.
    fn keep(&mut self, id: SlotId, received: u64) -> io::Result<()> {
        if self.kept(id) == received {
            return Ok(());
        }
        self.disk.sync(id.partial_name())?;
        self.disk.sync_folder()?;
        let next =
            self.record.received(id, received).expect("checked by the caller: being written");
        self.commit(next)
    }

    /// Removes both files of a slot the record no longer speaks of.
    fn clear(&mut self, id: SlotId) -> io::Result<()> {
        self.writing = None;
        self.disk.remove(id.file_name())?;
        self.disk.remove(id.partial_name())?;
        self.disk.sync_folder()
    }

    fn commit(&mut self, next: BootRecord) -> io::Result<()> {
        if next == self.record {
            return Ok(());
        }
        if let Err(error) = protocol::commit(&mut Copies(&mut self.disk), &next) {
            // It may have come as far as the file, which is what the daemon goes by: so do we.
            if let Ok(Some(found)) = protocol::load(&mut Copies(&mut self.disk)) {
                self.record = found;
            }
            return Err(error);
        }
        self.record = next;
        Ok(())
    }

    /// Brings a slot's files in step with the record after a start.
    fn recover(&mut self, id: SlotId, now: &Moment) -> io::Result<()> {
        let slot = self.record.slot(id).clone();
        match slot.state {
            SlotState::Writing { received, total } => self.recover_partial(id, received, total),
            SlotState::Verified | SlotState::Trial { .. } | SlotState::Confirmed => {
                self.disk.remove(id.partial_name())?;
                let found = self.digest(id.file_name())?;
                let Some(expected) = slot.sha256.filter(|&expected| expected != found) else {
                    return Ok(());
                };
                let detail = differs(found, expected);
                log::error!("slot {id}: {detail}");
                self.commit(self.record.fail(id, Cause::Damaged, &detail, now))
            }
            SlotState::Empty | SlotState::Bad { .. } => self.disk.remove(id.partial_name()),
        }
    }

    /// Brings the file being received in step: `received` bytes of it count, and no other file is there.
    fn recover_partial(&mut self, id: SlotId, received: u64, total: u64) -> io::Result<()> {
        let partial = self.disk.length(id.partial_name())?;
        if partial.is_none() && received == total {
            // Cut between the rename and the record: the file waits under its final name.
            if self.disk.length(id.file_name())? == Some(total) {
                self.disk.rename(id.file_name(), id.partial_name())?;
                return self.disk.sync_folder();
            }
        }
        if partial.unwrap_or(0) < received {
            log::warn!(
                "slot {id}: {received} bytes were received, {} are there",
                partial.unwrap_or(0)
            );
            let emptied = self.record.emptied(id).expect("checked by the caller: being written");
            self.commit(emptied)?;
            return self.clear(id);
        }
        self.disk.remove(id.file_name())?;
        if partial.is_some_and(|partial| partial > received) {
            self.disk.truncate(id.partial_name(), received)?;
        }
        Ok(())
    }
}

/// The two copies of the boot record on a disk.
struct Copies<'a, D>(&'a mut D);

impl<D: Disk> protocol::Storage for Copies<'_, D> {
    type Error = io::Error;

    fn read(&mut self, copy: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.read(RECORD_FILES[copy])
    }

    fn write(&mut self, copy: usize, bytes: &[u8]) -> io::Result<()> {
        let name = RECORD_FILES[copy];
        let aside = format!("{name}.tmp");
        self.0.remove(&aside)?;
        self.0.write_at(&aside, 0, bytes)?;
        self.0.sync(&aside)?;
        self.0.rename(&aside, name)?;
        self.0.sync_folder()
    }
}

fn differs(found: Digest, expected: Digest) -> String {
    format!("SHA-256 of the file is {found}, expected {expected}")
}

fn disk(error: io::Error) -> Refusal {
    Refusal::Disk { detail: error.to_string() }
}

fn refused(forbidden: Forbidden) -> Refusal {
    match forbidden {
        Forbidden::BelowFloor { found, floor } => Refusal::Floor { found, floor },
        other => Refusal::State { detail: other.to_string() },
    }
}
