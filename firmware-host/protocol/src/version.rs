//! Which protocol a peer speaks.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Version of the protocol. A minor one adds requests, a major one changes their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    /// What this build speaks.
    pub const CURRENT: Self = Self { major: 1, minor: 2 };
    /// The oldest peer this build understands.
    pub const OLDEST: Self = Self { major: 1, minor: 0 };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version two peers can speak; each says what it speaks and the oldest it understands.
pub fn negotiate(ours: (Version, Version), theirs: (Version, Version)) -> Option<Version> {
    let common = ours.0.min(theirs.0);
    (common >= ours.1 && common >= theirs.1).then_some(common)
}
