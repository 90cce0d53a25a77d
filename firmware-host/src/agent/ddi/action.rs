//! An action of the server, from its order to its report: pure data, pure steps.
//!
//! ```text
//!            whole in a slot        activated             confirmed, or not
//!   Download ───────────────▶ Ready ─────────▶ Trial ───────────────────────▶ Ended ──▶ reported
//!      │ cancelled               │ cancelled      cancel: rejected
//!      └───────── forgotten ◀────┘
//! ```
//!
//! The boot record is what counts: the action only remembers which bundle the server meant and what it was told. So
//! a power cut between a change of the record and the note of it here changes nothing: [`next`] finds out.

use protocol::{BootRecord, Digest, SlotId, Standing};
use serde::{Deserialize, Serialize};

/// What the box must not forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub action: Option<Action>,
    /// What the server was told of the box last.
    pub told: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub id: String,
    /// SHA-256 of the bundle, in hexadecimal, once it is known.
    pub sha256: Option<String>,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// To be downloaded, or being downloaded.
    Download,
    /// Whole in a slot; `told` once the server knows that it waits there.
    Ready { told: bool },
    /// Was activated.
    Trial,
    /// The report is due, was perhaps sent, or was taken.
    Ended { success: bool, details: Vec<String>, report: Report },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    Due,
    /// Sent; whether the server took it is not known.
    Sent,
    Taken,
}

impl Action {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), sha256: None, phase: Phase::Download }
    }

    pub fn digest(&self) -> Option<Digest> {
        let bytes = hex::decode(self.sha256.as_deref()?).ok()?;
        bytes.try_into().ok().map(Digest)
    }

    /// Whether a cancel comes too late.
    pub fn is_activated(&self, record: &BootRecord) -> bool {
        let standing = self.standing(record);
        let runs = matches!(standing, Standing::OnTrial(_) | Standing::Runs(_));
        match self.phase {
            Phase::Download => runs,
            // Cut between its end and the note of it.
            Phase::Ready { .. } => runs || matches!(standing, Standing::Bad(_)),
            Phase::Trial => true,
            Phase::Ended { report, .. } => report != Report::Taken,
        }
    }

    /// Whether an order of this number may take its place.
    pub fn gives_way_to(&self, id: &str, record: &BootRecord) -> bool {
        match self.phase {
            Phase::Trial | Phase::Ended { report: Report::Due | Report::Sent, .. } => false,
            Phase::Ended { report: Report::Taken, .. } => true,
            Phase::Download | Phase::Ready { .. } => self.id != id && !self.is_activated(record),
        }
    }

    fn standing(&self, record: &BootRecord) -> Standing {
        self.digest().map_or(Standing::Absent, |sha256| record.standing(sha256))
    }

    pub fn end(&mut self, success: bool, details: Vec<String>) {
        self.phase = Phase::Ended { success, details, report: Report::Due };
    }
}

/// What the server lets the box do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    pub download: bool,
    pub update: bool,
}

/// What to do next about an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until the server permits more.
    Wait,
    Download,
    /// The bundle is whole in a slot: note that.
    Stored,
    /// Tell the server that the bundle waits for its permission.
    TellReady,
    Activate,
    /// The bundle was activated: note that.
    Activated,
    /// Nothing until the trial ends.
    Watch,
    Succeed,
    Fail(Failed),
    Report,
    /// The server took the report before; what it wants now is a new try.
    Again,
    Forget,
}

/// How a bundle that was to run does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Its slot went bad; the boot record says why.
    Bad(SlotId),
    /// It ran, and somebody at the box went back.
    RolledBack(SlotId),
    /// No slot holds it any more.
    Gone,
}

/// `permits` is what the server offers under this action's number; none if it does not offer it.
pub fn next(action: &Action, record: &BootRecord, permits: Option<Permits>) -> Step {
    let standing = action.standing(record);
    match (&action.phase, standing) {
        (Phase::Ended { report: Report::Due, .. }, _) => Step::Report,
        (Phase::Ended { report: Report::Sent, .. }, _) => match permits {
            Some(_) => Step::Report,
            // Whoever still waited for the report would still offer the action.
            None => Step::Forget,
        },
        (Phase::Ended { success, report: Report::Taken, .. }, standing) => {
            match (success, standing, permits) {
                (_, _, None) => Step::Wait,
                // The success was reported. Somebody may have gone back at the box since; a server that offers the same
                // again is told so once, before it is obeyed.
                (true, Standing::Waits(id), Some(_)) => Step::Fail(Failed::RolledBack(id)),
                (true, Standing::Bad(id), Some(_)) => Step::Fail(Failed::Bad(id)),
                // It runs, and the server was told. One that calls the release otherwise than the box offers it for ever.
                (true, Standing::Runs(_), Some(_)) => Step::Wait,
                (_, _, Some(_)) => Step::Again,
            }
        }
        (Phase::Trial, Standing::OnTrial(_)) => Step::Watch,
        (Phase::Trial, Standing::Runs(_) | Standing::Kept(_)) => Step::Succeed,
        (Phase::Trial, Standing::Bad(id)) => Step::Fail(Failed::Bad(id)),
        (Phase::Trial, Standing::Waits(id)) => Step::Fail(Failed::RolledBack(id)),
        (Phase::Trial, Standing::Absent) => Step::Fail(Failed::Gone),
        (Phase::Download | Phase::Ready { .. }, Standing::OnTrial(_) | Standing::Runs(_)) => {
            Step::Activated
        }
        (Phase::Ready { .. }, Standing::Bad(id)) => Step::Fail(Failed::Bad(id)),
        (phase, standing) => match permits {
            None => Step::Forget,
            Some(permits) => before_activation(phase, standing, permits),
        },
    }
}

fn before_activation(phase: &Phase, standing: Standing, permits: Permits) -> Step {
    let is_whole = matches!(standing, Standing::Waits(_) | Standing::Kept(_));
    match (phase, is_whole) {
        (Phase::Ready { told }, true) => match (permits.update, told) {
            (true, _) => Step::Activate,
            (false, false) => Step::TellReady,
            (false, true) => Step::Wait,
        },
        (_, true) => Step::Stored,
        (_, false) if permits.download => Step::Download,
        (_, false) => Step::Wait,
    }
}

#[cfg(test)]
mod tests;
