//! Who may ask for what.

use crate::bytes::Digest;
use crate::message::Request;
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

    /// One arm for every request and none for "the rest": a new request has to choose.
    pub const fn allows(self, request: &Request) -> bool {
        match request {
            Request::Hello { .. }
            | Request::Ping { .. }
            | Request::Find
            | Request::Enrol { .. } => true,
            Request::Exposure(_) | Request::Detector(_) | Request::Interlock(_) => {
                matches!(self, Self::Report | Self::Operate | Self::Administer)
            }
            Request::Lamp => true,
            Request::Info
            | Request::Room
            | Request::Slots
            | Request::Logs { .. }
            | Request::Telemetry
            | Request::Trial
            | Request::Journal { .. }
            | Request::Keys => matches!(self, Self::Look | Self::Operate | Self::Administer),
            Request::Keyring { .. } | Request::Force { .. } => matches!(self, Self::Administer),
            Request::Begin { .. }
            | Request::Write { .. }
            | Request::Finish { .. }
            | Request::Verify { .. }
            | Request::Activate { .. }
            | Request::Confirm { .. }
            | Request::Rollback { .. }
            | Request::Sink { .. }
            | Request::Source { .. } => matches!(self, Self::Operate | Self::Administer),
        }
    }
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

impl Request {
    /// What a key that the box does not know may ask for, as long as the box waits for an enrolment.
    pub const fn is_for_strangers(&self) -> bool {
        matches!(self, Self::Hello { .. } | Self::Enrol { .. })
    }
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
