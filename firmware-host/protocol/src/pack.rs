//! Packs that were added to bundles, by name.

use crate::bytes::Digest;
use crate::slot::SlotId;
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// A pack that was checked together with its bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackName {
    pub name: String,
    /// Chosen by who made it, `1.0.0`.
    pub version: String,
    /// Identity of the contents, signature apart.
    pub digest: Digest,
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// What lies behind the bundles in slot A and in slot B; nothing where a slot holds no whole bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPacks {
    pub slots: [Vec<PackName>; 2],
}

impl SlotPacks {
    pub fn of(&self, slot: SlotId) -> &[PackName] {
        &self.slots[slot as usize]
    }
}
