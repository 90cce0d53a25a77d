//! What one slot holds and what can be said of it.

use crate::bytes::Digest;
use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotId {
    A,
    B,
}

impl SlotId {
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot's bundle, beside the boot record.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::A => "slot-a.bundle",
            Self::B => "slot-b.bundle",
        }
    }

    /// A bundle still being received.
    pub const fn partial_name(self) -> &'static str {
        match self {
            Self::A => "slot-a.partial",
            Self::B => "slot-b.partial",
        }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotState {
    Empty,
    /// The first `received` of `total` bytes are safe on the disk.
    Writing {
        received: u64,
        total: u64,
    },
    /// Whole, digests and signature right; never run.
    Verified,
    /// Runs; another start without a confirm takes one attempt.
    Trial {
        attempts_left: u8,
    },
    Confirmed,
    Bad {
        reason: Cause,
    },
}

/// Why a slot went bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The bytes are not what was announced, or not a bundle.
    Damaged,
    /// Not signed by a trusted key.
    Untrusted,
    /// The golden vectors were not reproduced.
    SelfTest,
    /// On trial for too long without a confirm.
    NotConfirmed,
    /// Started too often without a confirm.
    Attempts,
    /// An operator rolled back.
    Operator,
    /// The health check failed during the trial.
    Health,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Untrusted => "untrusted",
            Self::SelfTest => "self-test failed",
            Self::NotConfirmed => "not confirmed in time",
            Self::Attempts => "started too often without a confirm",
            Self::Operator => "rolled back by an operator",
            Self::Health => "unhealthy",
        })
    }
}

/// `1.4.0`; what is left out counts as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || alloc::format!("release {text:?}, expected MAJOR.MINOR.PATCH");
        let mut parts = [0; 3];
        let mut given = text.split('.');
        for part in &mut parts {
            let Some(digits) = given.next() else { break };
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            *part = plain.then(|| digits.parse().ok()).flatten().ok_or_else(wrong)?;
        }
        let [major, minor, patch] = parts;
        given.next().is_none().then_some(Self { major, minor, patch }).ok_or_else(wrong)
    }
}

/// A bundle that was verified, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub id: String,
    pub release: Release,
    /// Identity of the contents, signature apart.
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub state: SlotState,
    /// SHA-256 of the whole file; none when empty.
    pub sha256: Option<Digest>,
    /// Known once verified.
    pub bundle: Option<Bundle>,
}

impl Slot {
    pub(crate) const EMPTY: Self = Self { state: SlotState::Empty, sha256: None, bundle: None };

    /// Holds a whole bundle that may run.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.state, SlotState::Verified | SlotState::Trial { .. } | SlotState::Confirmed)
    }
}

/// What went wrong last, kept for whoever asks later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub slot: SlotId,
    pub bundle: Option<Bundle>,
    pub cause: Cause,
    /// For people: what was found and expected, or the last lines of the self-test.
    pub detail: String,
    /// Seconds since 1970 by the box's clock, which may be wrong.
    pub at: u64,
}
