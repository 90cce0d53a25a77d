//! What the verbs say: for people, or one JSON document.

use anyhow::{Error, Result};
use env_logger::fmt::Formatter;
use firmware_host::{DeviceError, Kind};
use protocol::{BootRecord, Failure, Forced, OnTrial, PackName, Slot, SlotId, SlotState, Trial};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

impl Output {
    /// Whether a moving line would be seen.
    pub(crate) fn has_progress(self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// `text` for people, or `document`.
    pub(crate) fn say(self, text: &str, document: &Value) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let line = if self.json { document.to_string() } else { text.to_owned() };
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            // A reader that has seen enough, such as `head`, is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    pub(crate) fn failure(self, error: &Error) {
        // The exit status says it too, should stdout be closed.
        let document = json!({ "error": format!("{error:#}"), "code": kind(error).code() });
        let _ = self.say("", &document);
    }
}

/// An end that is no failure of one call: its kind, and why.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Ended {
    kind: Kind,
    why: String,
}

impl Ended {
    pub(crate) fn new(kind: Kind, why: String) -> Self {
        Self { kind, why }
    }
}

/// A line of the agent's log for programs.
pub(crate) fn log_line(to: &mut Formatter, record: &log::Record<'_>) -> io::Result<()> {
    let level = record.level().as_str().to_lowercase();
    let line = json!({
        "at": to.timestamp_millis().to_string(), "level": level, "target": record.target(),
        "message": record.args().to_string(),
    });
    writeln!(to, "{line}")
}

/// What kind of failure an error is.
pub(crate) fn kind(error: &Error) -> Kind {
    let ended = error.downcast_ref().map(|ended: &Ended| ended.kind);
    ended.or_else(|| error.downcast_ref().map(DeviceError::kind)).unwrap_or(Kind::Failure)
}

pub(crate) fn record_json(record: &BootRecord) -> Value {
    let failure = record.last_failure.as_ref().map(|failure| {
        json!({
            "slot": failure.slot.to_string(),
            "bundle": failure.bundle.as_ref().map(bundle_json),
            "cause": failure.cause.to_string(),
            "detail": failure.detail,
            "at": failure.at,
        })
    });
    json!({
        "generation": record.generation,
        "active": record.active.map(|id| id.to_string()),
        "fallback": record.fallback().map(|id| id.to_string()),
        "floor": record.floor.to_string(),
        "slots": SlotId::ALL.map(|id| slot_json(id, record.slot(id))),
        "last_failure": failure,
    })
}

fn slot_json(id: SlotId, slot: &Slot) -> Value {
    let mut found = json!({
        "slot": id.to_string(),
        "sha256": slot.sha256,
        "bundle": slot.bundle.as_ref().map(bundle_json),
    });
    let (state, more) = match slot.state {
        SlotState::Empty => ("empty", json!({})),
        SlotState::Writing { received, total } => {
            ("writing", json!({ "received": received, "total": total }))
        }
        SlotState::Verified => ("verified", json!({})),
        SlotState::Trial { attempts_left } => ("trial", json!({ "attempts_left": attempts_left })),
        SlotState::Confirmed => ("confirmed", json!({})),
        SlotState::Bad { reason } => ("bad", json!({ "reason": reason.to_string() })),
    };
    found["state"] = state.into();
    if let (Value::Object(found), Value::Object(more)) = (&mut found, more) {
        found.extend(more);
    }
    found
}

pub(crate) fn packs_json(packs: &[PackName]) -> Value {
    let one = |pack: &PackName| json!({ "name": pack.name, "version": pack.version, "digest": pack.digest });
    packs.iter().map(one).collect()
}

/// `pack heart 1.0.0  digest …`, a line a pack.
pub(crate) fn packs_text(slot: SlotId, packs: &[PackName]) -> impl Iterator<Item = String> {
    packs.iter().map(move |pack| {
        let digest = pack.digest.to_string();
        format!("slot {slot} has pack {pack}  digest {}", &digest[..16])
    })
}

fn bundle_json(bundle: &protocol::Bundle) -> Value {
    json!({ "id": bundle.id, "release": bundle.release.to_string(), "digest": bundle.digest })
}

pub(crate) fn record_text(record: &BootRecord) -> String {
    let mut lines: Vec<_> = SlotId::ALL.map(|id| slot_text(record, id)).into();
    if let Some(failure) = &record.last_failure {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(failure.at);
        let at = humantime::format_rfc3339_seconds(at);
        let Failure { slot, cause, detail, .. } = failure;
        lines.push(format!("last failure: slot {slot}, {cause}, {at}: {detail}"));
    }
    lines.join("\n")
}

fn slot_text(record: &BootRecord, id: SlotId) -> String {
    let slot = record.slot(id);
    let mark = if record.active == Some(id) { '*' } else { ' ' };
    let state = match slot.state {
        SlotState::Empty => "empty".into(),
        SlotState::Writing { received, total } => format!("writing, {received} of {total} bytes"),
        SlotState::Verified => "verified".into(),
        SlotState::Trial { attempts_left } => format!("on trial, {attempts_left} starts left"),
        SlotState::Confirmed => "confirmed".into(),
        SlotState::Bad { reason } => format!("bad, {reason}"),
    };
    let name = slot.bundle.as_ref().map_or_else(String::new, |bundle| {
        let digest = bundle.digest.to_string();
        format!("  {} {}  digest {}", bundle.id, bundle.release, &digest[..16])
    });
    format!("{mark} {id}  {state}{name}")
}

pub(crate) fn trial_json(trial: &Trial) -> Result<Value> {
    let running = match &trial.running {
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Err(why) => json!({ "error": why }),
    };
    Ok(json!({
        "on_trial": serde_json::to_value(&trial.on_trial)?,
        "forced": forced_json(trial)?,
        "running": running,
    }))
}

/// What was confirmed by force.
pub(crate) fn forced_json(trial: &Trial) -> Result<Value> {
    let forced = SlotId::ALL.into_iter().zip(&trial.forced);
    let forced = forced.filter_map(|(slot, forced)| Some((slot, forced.as_ref()?)));
    forced
        .map(|(slot, Forced { reason, lacked, at })| {
            Ok(json!({ "slot": slot, "reason": reason, "lacked": lacked, "at": at }))
        })
        .collect()
}

pub(crate) fn trial_text(trial: &Trial) -> String {
    let mut lines = Vec::new();
    match &trial.on_trial {
        None => lines.push("nothing is on trial".into()),
        Some(OnTrial { slot, attempts_left, seconds, automatic, lacks, .. }) => {
            let by = if *automatic { "the box" } else { "an operator" };
            lines.push(format!(
                "slot {slot} is on trial for {seconds} s, {attempts_left} starts left, to be confirmed by {by}"
            ));
            if lacks.is_empty() {
                lines.push("proven: nothing is lacking".into());
            }
            lines.extend(lacks.iter().map(|lack| format!("lacking: {lack}")));
        }
    }
    lines.extend(forced_text(trial));
    lines.join("\n")
}

pub(crate) fn forced_text(trial: &Trial) -> impl Iterator<Item = String> {
    let forced = SlotId::ALL.into_iter().zip(&trial.forced);
    forced.filter_map(|(slot, forced)| {
        let Forced { reason, lacked, .. } = forced.as_ref()?;
        Some(format!("slot {slot} was confirmed BY FORCE: {reason}; it lacked: {lacked}"))
    })
}
