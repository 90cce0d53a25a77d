//! One box of a rollout: push, activate, wait, confirm; and what the box says when it does not work out.

use super::journal::{Fared, Outcome};
use crate::Target;
use anyhow::{Context, Result};
use firmware_host::random::random;
use firmware_host::rollout::{self, Next};
use firmware_host::{Device, DeviceError, Kind, Progress};
use protocol::{BootRecord, Digest, Refusal, RequestId, Standing};
use std::thread;
use std::time::{Duration, Instant};

/// How often a box on trial is asked.
const LOOK: Duration = Duration::from_millis(500);
/// Log lines kept of a failure.
const LINES: u64 = 20;

/// What goes to every box.
pub(super) struct Order {
    pub(super) file: Vec<u8>,
    pub(super) sha256: Digest,
    /// On trial at least so long before a confirm is asked for.
    pub(super) soak: Duration,
    /// A box that is not confirmed by then has failed.
    pub(super) limit: Duration,
}

/// Hears what a box is at.
pub(super) type Step<'a> = &'a dyn Fn(&str);

/// Takes a box all the way. Repeating it goes on where it ended.
pub(super) fn roll_out(target: &Target, order: &Order, step: Step<'_>) -> Fared {
    let start = Instant::now();
    let (outcome, detail, evidence) = match install(target, order, step) {
        Ok((outcome, record)) => (outcome, running(&record), Vec::new()),
        Err(error) if is_out_of_reach(&error) => {
            (Outcome::Unreachable, format!("{error:#}"), Vec::new())
        }
        Err(error) => (Outcome::Failed, format!("{error:#}"), evidence(target)),
    };
    Fared { outcome, detail, evidence, seconds: start.elapsed().as_secs_f64() }
}

fn install(target: &Target, order: &Order, step: Step<'_>) -> Result<(Outcome, BootRecord)> {
    step("connecting");
    let record = target.with(|device| Ok(device.slots()?))?;
    match rollout::next(record.standing(order.sha256)) {
        Next::Done => return Ok((Outcome::Already, record)),
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

fn push(target: &Target, order: &Order, step: Step<'_>) -> Result<()> {
    let sent = target.with(|device| {
        let percent = |sent: Progress| sent.received * 100 / sent.total.max(1);
        let told = |sent| step(&format!("{} % sent", percent(sent)));
        Ok(device.push(&order.file, order.sha256, told)?)
    });
    sent.map(drop).context("push")
}

fn activate(target: &Target, order: &Order, step: Step<'_>) -> Result<()> {
    step("self-test");
    let id = new_id()?;
    let done = target.with(|device| Ok(device.activate(id, order.sha256)?));
    done.map(drop).context("activate")
}

/// Waits for the soak, then asks until the box has its proof, the trial ends, or the time is over.
fn confirm(target: &Target, order: &Order) -> Result<BootRecord> {
    let start = Instant::now();
    let mut refused = None;
    loop {
        let record = target.with(|device| Ok(device.slots()?)).context("trial")?;
        match record.standing(order.sha256) {
            Standing::Runs(_) => return Ok(record),
            Standing::OnTrial(_) => {}
            _ => anyhow::bail!("the trial ended: {}", last_failure(&record)),
        }
        if start.elapsed() >= order.limit {
            let why = refused.map_or_else(String::new, |why| format!(": {why}"));
            give_up(target, &why);
            anyhow::bail!("not confirmed within {}{why}", humantime::format_duration(order.limit));
        }
        if start.elapsed() >= order.soak {
            match ask_to_confirm(target, order) {
                Ok(record) => return Ok(record),
                Err(error) => refused = Some(format!("{:#}", passing_refusal(error)?)),
            }
        }
        thread::sleep(LOOK);
    }
}

fn ask_to_confirm(target: &Target, order: &Order) -> Result<BootRecord> {
    let id = new_id()?;
    target.with(|device| Ok(device.confirm(id, order.sha256)?))
}

/// A refusal may pass: the box still gathers its proof. Anything else does not.
fn passing_refusal(error: anyhow::Error) -> Result<anyhow::Error> {
    match error.downcast_ref::<DeviceError>() {
        Some(DeviceError::Refused(Refusal::Unsupported | Refusal::NoHello)) => Err(error),
        Some(DeviceError::Refused(_)) => Ok(error),
        _ => Err(error),
    }
}

/// Ends the trial now, should the box have something to go back to. If not, its own limit ends it.
fn give_up(target: &Target, why: &str) {
    let reason = format!("rollout: not confirmed in time{why}");
    let rolled_back = new_id().and_then(|id| target.with(|d| Ok(d.rollback(id, &reason)?)));
    if let Err(error) = rolled_back {
        log::warn!("{}: cannot roll back: {error:#}", target.device);
    }
}

fn new_id() -> Result<RequestId> {
    Ok(RequestId(random().context("no random numbers")?))
}

fn is_out_of_reach(error: &anyhow::Error) -> bool {
    let device = error.downcast_ref::<DeviceError>();
    device.is_some_and(|e| matches!(e.kind(), Kind::Link | Kind::Timeout))
}

pub(super) fn running(record: &BootRecord) -> String {
    let Some((id, slot)) = record.running() else { return "nothing runs".into() };
    match &slot.bundle {
        Some(bundle) => format!("slot {id} runs {} {}", bundle.id, bundle.release),
        None => format!("slot {id} runs"),
    }
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
