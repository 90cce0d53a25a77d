//! What the daemon says of the bundle it runs, and whether that is enough to keep the bundle for good.
//!
//! ```text
//! daemon   loads the slot ─▶ reproduces the golden vectors ─▶ running.json, again every few seconds
//! agent    running.json ─▶ Running ─▶ prove ─▶ Proven ─▶ BootRecord::confirm
//!                                        └───▶ Unproven: what is lacking
//! ```
//!
//! There is no other way to a [`Proven`], and no way to confirm without one except by force, which is noted.

use crate::bytes::Digest;
use crate::moment::{BootId, Moment};
use crate::slot::SlotId;
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where the daemon writes [`Running`] as JSON, in the folder of the slots.
pub const RUNNING_FILE: &str = "running.json";

/// Longest such file in bytes; a longer one is none.
pub const RUNNING_LIMIT: u64 = 16 << 10;

/// What the daemon runs. Fields are added, never removed; readers skip those they do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// SHA-256 of the bundle's file, as in the boot record.
    pub digest: Digest,
    pub slot: SlotId,
    /// Of the machine's start during which this was written.
    pub boot_id: BootId,
    /// How many golden vectors came out right, bit by bit. None: the bundle does not answer.
    pub golden_vectors: u32,
    /// Images answered since the bundle was loaded.
    pub answered: u64,
    /// Refusals of the bundle, golden vectors that came out otherwise, analyses that failed.
    pub failures: u64,
    /// [`Activation::generation`](crate::Activation) of the record that says to run this bundle: tells this trial from
    /// an earlier one of the same bundle.
    pub generation: u64,
    /// The daemon's process, and when it started, in seconds since the machine did.
    pub process: u32,
    pub started_seconds: u64,
    /// When the golden vectors came out right after loading, and when this was written.
    pub loaded_seconds: u64,
    pub written_seconds: u64,
    /// The hottest sensor.
    pub celsius: Option<f32>,
    /// Bytes free where the slots are.
    pub free: Option<u64>,
    /// Why the last of `failures` happened.
    pub failure: Option<String>,
    /// The process ended because it was told to, and said so last of all.
    #[serde(default)]
    pub stopped: bool,
    /// Processes before this one that ran this bundle during this activation and start of the machine, and ended
    /// without having been told to.
    #[serde(default)]
    pub deaths: u64,
}

/// What is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub slot: SlotId,
    pub digest: Digest,
    pub generation: u64,
}

/// What a proof must show besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// An older word of the daemon does not count, in seconds.
    pub fresh: u64,
    /// Seconds the bundle must have run.
    pub soak: u64,
    /// Images it must have answered.
    pub images: u64,
    pub max_celsius: Option<f32>,
    /// Bytes.
    pub min_free: Option<u64>,
}

/// The bundle of one trial does its work. Only [`Running::prove`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven(Candidate);

impl Proven {
    pub fn candidate(&self) -> Candidate {
        self.0
    }
}

/// One thing that is lacking.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Lack {
    #[error("the daemon runs slot {found}, on trial is slot {expected}")]
    Slot { found: SlotId, expected: SlotId },
    #[error("the daemon runs bundle {found}, on trial is {expected}")]
    Digest { found: Digest, expected: Digest },
    #[error("the daemon's word is of another start of the box ({found}, this one is {expected})")]
    Boot { found: BootId, expected: BootId },
    #[error("the box does not say which start this is")]
    NoBoot,
    #[error(
        "the daemon's word is of another trial (generation {found}, this one is of {expected})"
    )]
    Trial { found: u64, expected: u64 },
    #[error("the daemon was last heard of {seconds} s ago, expected at most {limit} s")]
    Stale { seconds: u64, limit: u64 },
    #[error("the daemon's word is of second {found} of this start, now it is second {now}")]
    Future { found: u64, now: u64 },
    #[error("the daemon was told to stop, and runs nothing now")]
    Stopped,
    #[error("{count} failures, the last one: {last}")]
    Failures { count: u64, last: String },
    #[error("no golden vector was reproduced")]
    Golden,
    #[error("it has run for {found} s, expected {expected} s")]
    Soak { found: u64, expected: u64 },
    #[error("{found} images were answered, expected {expected}")]
    Images { found: u64, expected: u64 },
    #[error("the box has {found:?} degrees Celsius, expected at most {limit:?}")]
    Celsius { found: Option<f32>, limit: f32 },
    #[error("{found:?} bytes are free, expected at least {expected}")]
    Free { found: Option<u64>, expected: u64 },
}

/// All that is lacking, never nothing.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct Unproven(Vec<Lack>);

impl Unproven {
    pub fn lacks(&self) -> &[Lack] {
        &self.0
    }

    /// Whether the daemon speaks of this trial, but has something against the bundle: waiting does not help.
    pub fn failed(&self) -> Option<&Lack> {
        self.0.iter().find(|lack| matches!(lack, Lack::Failures { .. }))
    }

    /// Whether the daemon speaks of this very trial, and lately.
    pub fn is_heard(&self) -> bool {
        self.0.iter().all(|lack| {
            !matches!(
                lack,
                Lack::Slot { .. }
                    | Lack::Digest { .. }
                    | Lack::Boot { .. }
                    | Lack::NoBoot
                    | Lack::Trial { .. }
                    | Lack::Stale { .. }
                    | Lack::Future { .. }
            )
        })
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, lack) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(lack, f)?;
        }
        Ok(())
    }
}

impl Running {
    /// How many processes died before the one that speaks next of `to_run`, by the last word of the one before.
    pub fn deaths_before(&self, to_run: Candidate, now: &Moment) -> u64 {
        if !self.is_of_another(to_run, now).is_empty() {
            return 0;
        }
        self.deaths.saturating_add(u64::from(!self.stopped))
    }

    /// Whether this shows that what is on trial does its work. The wall clock has no say in it.
    pub fn prove(&self, trial: Candidate, terms: &Terms, now: &Moment) -> Result<Proven, Unproven> {
        let strangers = self.is_of_another(trial, now);
        if !strangers.is_empty() {
            return Err(Unproven(strangers));
        }
        let lacks = self.lacks(terms, now);
        if lacks.is_empty() { Ok(Proven(trial)) } else { Err(Unproven(lacks)) }
    }

    fn is_of_another(&self, trial: Candidate, now: &Moment) -> Vec<Lack> {
        let mut lacks = Vec::new();
        if now.boot == BootId::UNKNOWN {
            lacks.push(Lack::NoBoot);
        } else if !self.boot_id.same(now.boot) {
            lacks.push(Lack::Boot { found: self.boot_id, expected: now.boot });
        }
        if self.digest != trial.digest {
            lacks.push(Lack::Digest { found: self.digest, expected: trial.digest });
        }
        if self.slot != trial.slot {
            lacks.push(Lack::Slot { found: self.slot, expected: trial.slot });
        }
        if self.generation != trial.generation {
            lacks.push(Lack::Trial { found: self.generation, expected: trial.generation });
        }
        lacks
    }

    fn lacks(&self, terms: &Terms, now: &Moment) -> Vec<Lack> {
        let mut lacks = Vec::new();
        let mut need = |met: bool, lack: Lack| {
            if !met {
                lacks.push(lack);
            }
        };
        let now = now.uptime.as_secs();
        let seconds = now.saturating_sub(self.written_seconds);
        need(seconds <= terms.fresh, Lack::Stale { seconds, limit: terms.fresh });
        let latest = self.written_seconds.max(self.loaded_seconds).max(self.started_seconds);
        need(latest <= now, Lack::Future { found: latest, now });
        need(!self.stopped, Lack::Stopped);
        let last = self.failure.clone().unwrap_or_else(|| "not told".into());
        need(self.failures == 0, Lack::Failures { count: self.failures, last });
        need(self.golden_vectors > 0, Lack::Golden);
        let found = self.written_seconds.saturating_sub(self.loaded_seconds);
        need(found >= terms.soak, Lack::Soak { found, expected: terms.soak });
        let (found, expected) = (self.answered, terms.images);
        need(found >= expected, Lack::Images { found, expected });
        if let Some(limit) = terms.max_celsius {
            let found = self.celsius;
            need(found.is_some_and(|found| found <= limit), Lack::Celsius { found, limit });
        }
        if let Some(expected) = terms.min_free {
            let found = self.free;
            need(found.is_some_and(|found| found >= expected), Lack::Free { found, expected });
        }
        lacks
    }
}
