//! How a box is: the trial under way, the machine.

use crate::boot::Forced;
use crate::bytes::Digest;
use crate::slot::SlotId;
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// How a trial stands, and what was ever confirmed without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub on_trial: Option<OnTrial>,
    /// Slot A, slot B.
    pub forced: [Option<Forced>; 2],
    /// What the daemon says of itself: the JSON of `running.json`, or why there is none.
    pub running: Result<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTrial {
    pub slot: SlotId,
    pub sha256: Digest,
    pub attempts_left: u8,
    /// Seconds since the activation, or since the box started.
    pub seconds: u64,
    /// Whether the box confirms by itself once nothing is lacking.
    pub automatic: bool,
    /// What a confirm would lack now; empty: nothing.
    pub lacks: Vec<String>,
}

/// The machine's condition; `None` where it cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Seconds since the machine started.
    pub uptime: Option<f64>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f32; 3]>,
    /// Bytes.
    pub memory_total: Option<u64>,
    pub memory_available: Option<u64>,
    pub disk_free: Option<u64>,
    pub temperatures: Vec<Temperature>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Name of the sensor, `cpu-thermal`.
    pub sensor: String,
    pub celsius: f32,
}
