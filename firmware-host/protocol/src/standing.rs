//! Where one bundle stands on a box: what whoever sent it wants to know of the boot record.

use crate::boot::BootRecord;
use crate::bytes::Digest;
use crate::slot::{SlotId, SlotState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not there, or not whole.
    Absent,
    /// Whole, and not the one to run.
    Waits(SlotId),
    OnTrial(SlotId),
    /// Confirmed, and the one to run.
    Runs(SlotId),
    /// Confirmed; another one runs.
    Kept(SlotId),
    Bad(SlotId),
}

impl BootRecord {
    /// By the SHA-256 of the bundle's file.
    pub fn standing(&self, sha256: Digest) -> Standing {
        let holds = |id: &SlotId| self.slot(*id).sha256 == Some(sha256);
        // A bad slot may hold what a good one holds too: it was sent again.
        let found = self.holder(sha256).or_else(|| SlotId::ALL.into_iter().find(holds));
        let Some(id) = found else { return Standing::Absent };
        match self.slot(id).state {
            SlotState::Empty | SlotState::Writing { .. } => Standing::Absent,
            SlotState::Verified => Standing::Waits(id),
            SlotState::Trial { .. } => Standing::OnTrial(id),
            SlotState::Confirmed if self.active == Some(id) => Standing::Runs(id),
            SlotState::Confirmed => Standing::Kept(id),
            SlotState::Bad { .. } => Standing::Bad(id),
        }
    }
}
