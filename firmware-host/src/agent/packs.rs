//! Packs as a running agent takes and names them.

use super::compose::{Change, Composed, compose};
use super::{Agent, check::PIECE};
use bundle::{Envelope, SealedPack};
use protocol::{Digest, PackName, Refusal, Response, SlotId, SlotPacks, SlotState};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

impl Agent {
    /// Takes a pack as it was sent: into the slot that does not run, with the bundle that runs.
    pub(super) fn add_pack(&self, bytes: &[u8]) -> Result<Response, Refusal> {
        let policy = self.slots().policy().clone();
        self.compose(Change::Add(Box::new(policy.admit(bytes)?)))
    }

    /// The same for whoever has not the right to change something yet.
    pub(super) fn add_pack_alone(&self, bytes: &[u8]) -> Result<Response, Refusal> {
        let _change = self.begin_change("pack")?;
        self.add_pack(bytes)
    }

    /// Makes the slot that does not run of the bundle that runs and other packs than it has. The caller has the right
    /// to change something.
    pub(super) fn compose(&self, change: Change) -> Result<Response, Refusal> {
        let refused = |detail: &str| Refusal::Pack { detail: detail.into() };
        let running = {
            let slots = self.slots();
            let record = slots.record();
            let (slot, found) = record.running().ok_or_else(|| refused("no bundle runs"))?;
            match found.state {
                SlotState::Confirmed => slot,
                _ => {
                    let said = format!("slot {slot} is on trial: confirm it or roll back first");
                    return Err(refused(&said));
                }
            }
        };
        let told = match &change {
            Change::Add(pack) => format!("with pack {} {}", pack.name(), pack.version()),
            Change::Remove(name) => format!("without pack {name}"),
        };
        let file = self.file(running)?;
        let Composed { sha256, total, mut reader } = compose(file, change)?;
        let (slot, received) = self.slots().begin(sha256, total)?;
        log::info!(
            "slot {slot} gets the bundle of slot {running} {told}: {received} of {total} bytes are there"
        );
        if received < total {
            // What the slot has already it leaves alone.
            let (mut piece, mut offset) = (vec![0; PIECE], 0);
            while let length @ 1.. = reader.read(&mut piece).map_err(disk)? {
                // A piece at a time, so that others may look at the slots between two.
                self.slots().write(sha256, offset, &piece[..length], Duration::ZERO)?;
                offset += length as u64;
            }
        }
        let slot = self.slots().finish(sha256, &self.now())?;
        Ok(Response::Composed { slot, sha256 })
    }

    fn file(&self, slot: SlotId) -> Result<File, Refusal> {
        File::open(self.config.slots.join(slot.file_name())).map_err(disk)
    }

    /// What lies behind the bundles in both slots.
    pub(super) fn packs(&self) -> Result<SlotPacks, Refusal> {
        let record = self.slots().record().clone();
        let mut found = SlotPacks::default();
        for id in SlotId::ALL {
            let (SlotState::Verified | SlotState::Trial { .. } | SlotState::Confirmed) =
                record.slot(id).state
            else {
                continue;
            };
            let path = self.config.slots.join(id.file_name());
            let unreadable = |why: &dyn std::fmt::Display| Refusal::Disk {
                detail: format!("{}: {why}", path.display()),
            };
            let file = File::open(&path).map_err(|error| unreadable(&error))?;
            let packs = Envelope::packs_of(file).map_err(|error| unreadable(&error))?;
            let name = |pack: &SealedPack| PackName {
                name: pack.name().into(),
                version: pack.version().into(),
                digest: Digest(pack.digest()),
            };
            found.slots[id as usize] = packs.iter().map(name).collect();
        }
        Ok(found)
    }

    /// The packs of the bundle that runs, for people; why not where they cannot be read.
    pub(super) fn running_packs(&self) -> String {
        let Some(slot) = self.slots().record().active else { return "none".into() };
        match self.packs() {
            Ok(packs) if packs.of(slot).is_empty() => "none".into(),
            Ok(packs) => {
                packs.of(slot).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Err(refusal) => refusal.to_string(),
        }
    }
}

fn disk(error: std::io::Error) -> Refusal {
    Refusal::Disk { detail: error.to_string() }
}
