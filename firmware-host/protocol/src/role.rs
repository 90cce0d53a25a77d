//! Which key may do what.

use crate::bytes::Digest;
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a key may do on the link. Each of look, operate and administer may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A controller that tells of exposures and asks for the result lamp; also over a line without TLS.
    Report,
    /// Reads what the box is, does and did.
    Look,
    /// Brings bundles, starts and ends trials.
    Operate,
    /// Says who may do what.
    Administer,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Report, Self::Look, Self::Operate, Self::Administer];
}

/// Whose key may do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The signed text in force, if there is any.
    pub keyring: Option<String>,
    /// Admitted at the box, besides the keyring.
    pub admitted: Vec<AdmittedKey>,
}

/// A key that was enrolled, or written into the box's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedKey {
    pub key: Digest,
    pub role: Role,
    /// For people.
    pub name: String,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "report",
            Self::Look => "look",
            Self::Operate => "operate",
            Self::Administer => "administer",
        })
    }
}

impl core::str::FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "report" => Ok(Self::Report),
            "look" => Ok(Self::Look),
            "operate" => Ok(Self::Operate),
            "administer" => Ok(Self::Administer),
            _ => Err("expected report, look, operate or administer"),
        }
    }
}
