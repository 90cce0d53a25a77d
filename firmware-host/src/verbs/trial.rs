//! `verify`, `activate`, `trial`, `confirm`, `rollback`.

use crate::output::{Output, record_json, record_text, trial_json, trial_text};
use crate::{DryRun, Target};
use anyhow::{Context, Result, ensure};
use bundle::SealedPack;
use clap::Args;
use firmware_host::random::random;
use firmware_host::{Device, DeviceError};
use protocol::{BootId, BootRecord, Digest, Moment, Refusal, RequestId, SlotId, SlotState};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Between two tries to confirm.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Has the box check the files of its slots again
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    target: Target,
    /// a or b; both without it
    #[arg(long, value_parser = slot_id)]
    slot: Option<SlotId>,
}

impl Verify {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let checked = self.target.with(|device| {
            let record = device.slots()?;
            let whole = |id: &SlotId| {
                let state = record.slot(*id).state;
                matches!(
                    state,
                    SlotState::Verified | SlotState::Trial { .. } | SlotState::Confirmed
                )
            };
            let slots: Vec<_> = match self.slot {
                Some(id) => vec![id],
                None => SlotId::ALL.into_iter().filter(whole).collect(),
            };
            ensure!(!slots.is_empty(), "no slot holds a whole bundle");
            for &id in &slots {
                device.verify(id)?;
            }
            Ok(slots)
        })?;
        let names: Vec<_> = checked.iter().map(ToString::to_string).collect();
        output.say(&format!("right: slot {}", names.join(", slot ")), &json!({ "right": names }))
    }
}

/// Self-test on the box, then runs the pushed bundle on trial
#[derive(Debug, Args)]
pub(crate) struct Activate {
    #[command(flatten)]
    target: Target,
    /// The one that was pushed; without it the one that was pushed and did not run yet
    bundle: Option<PathBuf>,
    /// a or b
    #[arg(long, value_parser = slot_id, conflicts_with = "bundle")]
    slot: Option<SlotId>,
    #[command(flatten)]
    dry: DryRun,
}

impl Activate {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if self.dry.dry_run {
            let (record, sha256) =
                self.target.with(|device| Ok((device.slots()?, self.candidate(device)?)))?;
            // How many attempts there will be only the box knows.
            return say_dry(&record, record.activate(sha256, u8::MAX, &NO_MOMENT)?, output);
        }
        let id = new_id()?;
        let mut chosen = None;
        let record = self.target.with(|device| {
            // Once chosen it stays chosen: a repeated call must mean the same bundle.
            let sha256 = match chosen {
                Some(sha256) => sha256,
                None => *chosen.insert(self.candidate(device)?),
            };
            Ok(device.activate(id, sha256)?)
        })?;
        output.say(&record_text(&record), &record_json(&record))
    }

    fn candidate(&self, device: &mut Device) -> Result<Digest> {
        let record = device.slots()?;
        let slot = if let Some(path) = &self.bundle {
            let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            if !SealedPack::is_begun_by(&file) {
                return Ok(Digest(Sha256::digest(&file).into()));
            }
            let unusable = || format!("{} is not a usable pack", path.display());
            let digest = Digest(SealedPack::read(&file).with_context(unusable)?.digest());
            let packs = device.packs_if_known()?.unwrap_or_default();
            let has = |id: &SlotId| packs.of(*id).iter().any(|pack| pack.digest == digest);
            let with = SlotId::ALL.into_iter().filter(has);
            // Of two that were made with it, the one that does not run.
            let slot = with.min_by_key(|&id| record.active == Some(id));
            slot.with_context(|| format!("no slot has the pack {}", path.display()))?
        } else {
            let fresh = |id: &SlotId| record.slot(*id).state == SlotState::Verified;
            self.slot.or_else(|| SlotId::ALL.into_iter().find(fresh)).context(
                "no slot holds a bundle that was pushed and not yet run: name one with --slot",
            )?
        };
        record.slot(slot).sha256.with_context(|| format!("slot {slot} is empty"))
    }
}

/// Keeps the bundle on trial, once the daemon's word proves it; without it the old one comes back
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    #[command(flatten)]
    target: Target,
    /// Ask again for so long while the proof is not complete
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Without a proof; the box keeps the reason in the slot and in its log
    #[arg(long, requires = "reason", conflicts_with = "wait")]
    force: bool,
    /// Why by force
    #[arg(long, requires = "force")]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
}

impl Confirm {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if self.dry.dry_run {
            return trial_state(&self.target, output);
        }
        let start = Instant::now();
        let mut chosen = None;
        let mut id = new_id()?;
        let record = loop {
            let asked = self.target.with(|device| {
                let sha256 = match chosen {
                    Some(sha256) => sha256,
                    None => {
                        let running = device.slots()?.running().and_then(|(_, slot)| slot.sha256);
                        *chosen.insert(running.context("no bundle runs")?)
                    }
                };
                Ok(match &self.reason {
                    Some(reason) => device.force(id, sha256, reason)?,
                    None => device.confirm(id, sha256)?,
                })
            });
            let Err(error) = asked else { break asked? };
            let refused = error.downcast_ref();
            let waits = matches!(refused, Some(DeviceError::Refused(Refusal::Unproven { .. })));
            if !waits || start.elapsed() >= self.wait {
                return Err(error);
            }
            log::debug!("{error:#}");
            thread::sleep(ASK_AGAIN);
            // The box remembers its answer to a call by the call's id.
            id = new_id()?;
        };
        output.say(&record_text(&record), &record_json(&record))
    }
}

/// How the trial stands.
pub(crate) fn trial_state(target: &Target, output: Output) -> Result<()> {
    let trial = target.with(|device| Ok(device.trial()?))?;
    output.say(&trial_text(&trial), &trial_json(&trial)?)
}

/// Goes back to the other confirmed slot
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    target: Target,
    /// Kept by the box
    #[arg(long, default_value = "asked for by an operator")]
    reason: String,
    #[command(flatten)]
    dry: DryRun,
}

impl Rollback {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if self.dry.dry_run {
            let record = self.target.with(|device| Ok(device.slots()?))?;
            return say_dry(&record, record.rollback(&self.reason, &NO_MOMENT)?, output);
        }
        let id = new_id()?;
        let record = self.target.with(|device| Ok(device.rollback(id, &self.reason)?))?;
        output.say(&record_text(&record), &record_json(&record))
    }
}

/// When what does not happen happens.
const NO_MOMENT: Moment = Moment { boot: BootId::UNKNOWN, uptime: Duration::ZERO, wall: 0 };

/// The record that a change would make, by the same rules as the box's.
fn say_dry(before: &BootRecord, after: BootRecord, output: Output) -> Result<()> {
    let changes = if *before == after { "nothing would change" } else { "would become" };
    let document = json!({
        "dry_run": true, "before": record_json(before), "after": record_json(&after),
    });
    output.say(&format!("{changes}:\n{}", record_text(&after)), &document)
}

fn new_id() -> Result<RequestId> {
    Ok(RequestId(random().context("no random numbers")?))
}

fn slot_id(text: &str) -> Result<SlotId, String> {
    let named = SlotId::ALL.into_iter().find(|id| id.to_string() == text);
    named.ok_or_else(|| "expected a or b".into())
}
