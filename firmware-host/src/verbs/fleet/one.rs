//! One box of a rollout: push, activate, wait, confirm; and what the box says when it does not work out.

use super::journal::{Fared, Outcome};
use crate::Target;
use anyhow::{Context, Result};
use firmware_host::random::random;
use firmware_host::rollout::{self, Next};
use firmware_host::{Device, DeviceError, Kind, Progress};
use protocol::{BootRecord, Digest, Refusal, RequestId, SlotId, Standing};
use std::thread;
use std::time::{Duration, Instant};

/// How often a box on trial is asked.
const LOOK: Duration = Duration::from_millis(500);
/// Log lines kept of a failure.
const LINES: u64 = 20;

/// What goes to every box.
pub(super) struct Order {
    pub(super) file: Vec<u8>,
    pub(super) what: What,
    /// On trial at least so long before a confirm is asked for.
    pub(super) soak: Duration,
    /// A box that is not confirmed by then has failed.
    pub(super) limit: Duration,
}

/// By what a box knows it again.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// SHA-256 of the bundle's file.
    Bundle(Digest),
    /// Digest of the pack. What lies in a slot is that box's bundle and this pack.
    Pack(Digest),
}

impl What {
    /// How a box stands to it, and the SHA-256 of the slot's file with it, if one has it.
    pub(super) fn seen(self, device: &mut Device) -> Result<Seen, DeviceError> {
        let record = device.slots()?;
        let file = match self {
            Self::Bundle(sha256) => Some(sha256),
            Self::Pack(digest) => {
                let packs = device.packs_if_known()?.unwrap_or_default();
                let has = |id: &SlotId| packs.of(*id).iter().any(|pack| pack.digest == digest);
                let with: Vec<_> = SlotId::ALL.into_iter().filter(has).collect();
                let first = with.iter().find(|&&id| record.active == Some(id)).or(with.first());
                first.and_then(|&id| record.slot(id).sha256)
            }
        };
        let standing = file.map_or(Standing::Absent, |file| record.standing(file));
        Ok(Seen { record, standing, file })
    }
}

/// A box, as far as it concerns a rollout.
pub(super) struct Seen {
    pub(super) record: BootRecord,
    pub(super) standing: Standing,
    file: Option<Digest>,
}

impl Seen {
    fn file(&self) -> Result<Digest> {
        self.file
            .with_context(|| format!("no slot has it any more: {}", last_failure(&self.record)))
    }
}

/// Hears what a box is at.
pub(super) type Step<'a> = &'a dyn Fn(&str);

/// Takes a box all the way. Repeating it goes on where it ended.
pub(super) fn roll_out(target: &Target, order: &Order, step: Step<'_>) -> Fared {
    let start = Instant::now();
    let (outcome, detail, evidence) = match install(target, order, step) {
        Ok((outcome, record)) => {
            (outcome, format!("{}{}", running(&record), packs(target)), Vec::new())
        }
        Err(error) => match error.downcast_ref::<DeviceError>().map(DeviceError::kind) {
            Some(Kind::Link | Kind::Timeout) => {
                (Outcome::Unreachable, format!("{error:#}"), Vec::new())
            }
            _ => (Outcome::Failed, format!("{error:#}"), evidence(target)),
        },
    };
    Fared { outcome, detail, evidence, seconds: start.elapsed().as_secs_f64() }
}

fn install(target: &Target, order: &Order, step: Step<'_>) -> Result<(Outcome, BootRecord)> {
    step("connecting");
    let seen = look(target, order)?;
    match rollout::next(seen.standing) {
        Next::Done => return Ok((Outcome::Already, seen.record)),
        Next::Push => {
            push(target, order, step)?;
            activate(target, order, step)?;
        }
        Next::Activate => activate(target, order, step)?,
        Next::Confirm => {}
    }
    step("on trial");
    confirm(target, order).map(|record| (Outcome::Confirmed, record))
}

fn look(target: &Target, order: &Order) -> Result<Seen> {
    target.with(|device| Ok(order.what.seen(device)?))
}

fn push(target: &Target, order: &Order, step: Step<'_>) -> Result<()> {
    let sent = target.with(|device| {
        let sha256 = match order.what {
            What::Bundle(sha256) => sha256,
            What::Pack(_) => {
                let told = |sent| step(&format!("{sent} bytes of the pack sent"));
                return Ok(device.push_pack(&order.file, told)?.0);
            }
        };
        let percent = |sent: Progress| sent.received * 100 / sent.total.max(1);
        let told = |sent| step(&format!("{} % sent", percent(sent)));
        Ok(device.push(&order.file, sha256, told)?)
    });
    sent.map(drop).context("push")
}

fn activate(target: &Target, order: &Order, step: Step<'_>) -> Result<()> {
    step("self-test");
    let id = new_id()?;
    let done = target.with(|device| {
        let file = order.what.seen(device)?.file()?;
        Ok(device.activate(id, file)?)
    });
    done.map(drop).context("activate")
}

/// Waits for the soak, then asks until the box has its proof, the trial ends, or the time is over.
fn confirm(target: &Target, order: &Order) -> Result<BootRecord> {
    let start = Instant::now();
    let mut refused = None;
    loop {
        let seen = look(target, order).context("trial")?;
        match seen.standing {
            Standing::Runs(_) => return Ok(seen.record),
            Standing::OnTrial(_) => {}
            _ => anyhow::bail!("the trial ended: {}", last_failure(&seen.record)),
        }
        if start.elapsed() >= order.limit {
            let why = refused.map_or_else(String::new, |why| format!(": {why}"));
            // The trial ends now, should the box have something to go back to. If not, its own limit ends it.
            let reason = format!("rollout: not confirmed in time{why}");
            let rolled_back = new_id().and_then(|id| target.with(|d| Ok(d.rollback(id, &reason)?)));
            if let Err(error) = rolled_back {
                log::warn!("{}: cannot roll back: {error:#}", target.device);
            }
            anyhow::bail!("not confirmed within {}{why}", humantime::format_duration(order.limit));
        }
        if start.elapsed() >= order.soak {
            let id = new_id()?;
            let asked = target.with(|device| {
                let file = order.what.seen(device)?.file()?;
                Ok(device.confirm(id, file)?)
            });
            let error = match asked {
                Ok(record) => return Ok(record),
                Err(error) => error,
            };
            // A refusal may pass: the box still gathers its proof. Anything else does not.
            match error.downcast_ref() {
                Some(DeviceError::Refused(why))
                    if !matches!(why, Refusal::Unsupported | Refusal::NoHello) =>
                {
                    refused = Some(format!("{error:#}"));
                }
                _ => return Err(error),
            }
        }
        thread::sleep(LOOK);
    }
}

fn new_id() -> Result<RequestId> {
    Ok(RequestId(random().context("no random numbers")?))
}

pub(super) fn running(record: &BootRecord) -> String {
    let Some((id, slot)) = record.running() else { return "nothing runs".into() };
    match &slot.bundle {
        Some(bundle) => format!("slot {id} runs {} {}", bundle.id, bundle.release),
        None => format!("slot {id} runs"),
    }
}

/// What the bundle has that runs. A box that cannot be asked any more has done its part.
fn packs(target: &Target) -> String {
    let asked = target.with(|device| {
        let running = device.slots()?.active;
        Ok(device.packs_if_known()?.zip(running))
    });
    let Ok(Some((packs, slot))) = asked else { return String::new() };
    packs.of(slot).iter().map(|pack| format!(", pack {pack}")).collect()
}

fn last_failure(record: &BootRecord) -> String {
    let told = |failure: &protocol::Failure| format!("{}: {}", failure.cause, failure.detail);
    record.last_failure.as_ref().map_or_else(|| "for no known reason".into(), told)
}

/// The box's own words. What cannot be had is left out: the failure itself is known.
fn evidence(target: &Target) -> Vec<String> {
    let asked = target.with(|device: &mut Device| {
        let record = device.slots()?;
        let end = device.log_end(None)?;
        let (lines, ..) = device.logs(None, end.saturating_sub(LINES))?;
        let lines = lines.into_iter().map(|line| format!("log: {:?} {}", line.level, line.message));
        let told = [last_failure(&record), format!("now: {}", running(&record))];
        Ok(told.into_iter().chain(lines).collect())
    });
    asked.unwrap_or_default()
}
