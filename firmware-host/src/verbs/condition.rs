//! `info`, `slots`, `telemetry`, `logs`, `dump`.

use crate::Target;
use crate::output::{
    Output, forced_json, forced_text, packs_json, packs_text, record_json, record_text, trial_json,
};
use anyhow::{Context, Result};
use clap::Args;
use firmware_host::{Device, DeviceError};
use protocol::{Journal, LogLine, PackName, Refusal, SlotId, SlotPacks};
use serde_json::json;
use std::fs;
use std::iter;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Between two looks for new log lines.
const FOLLOW: Duration = Duration::from_millis(500);

pub(crate) fn info(target: &Target, output: Output) -> Result<()> {
    let (info, hello, packs) = target
        .with(|device| Ok((device.info()?, device.hello().clone(), running_packs(device)?)))?;
    let document = json!({
        "packs": packs.as_deref().map(packs_json),
        "device": info.device, "agent": info.agent, "system": info.system, "board": info.board,
        "machine": info.machine, "uptime": info.uptime, "disk_free": info.disk_free,
        "disk_total": info.disk_total, "frames_dropped": info.frames_dropped,
        "signatures_required": info.signatures_required,
        "protocol": hello.version.to_string(), "max_frame": hello.max_frame,
        "boot": hello.boot.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    let text = format!(
        "{}: {}, protocol {}\n{} on {} ({})\nup {}, disk {} of {} MiB free, {} frames dropped, signatures {}",
        info.device,
        info.agent,
        hello.version,
        info.system,
        info.board.as_deref().unwrap_or("an unnamed board"),
        info.machine,
        humantime::format_duration(Duration::from_secs(info.uptime)),
        info.disk_free >> 20,
        info.disk_total >> 20,
        info.frames_dropped,
        if info.signatures_required { "required" } else { "NOT required" },
    );
    let packs = packs.iter().flatten().map(|pack| format!("runs with pack {pack}"));
    let text = iter::once(text).chain(packs).collect::<Vec<_>>().join("\n");
    output.say(&text, &document)
}

pub(crate) fn slots(target: &Target, output: Output) -> Result<()> {
    let (record, packs, trial) = target
        .with(|device| Ok((device.slots()?, device.packs_if_known()?, device.trial_if_known()?)))?;
    let mut document = record_json(&record);
    add_packs(&mut document, packs.as_ref());
    let of = |slot| packs_text(slot, packs.as_ref().map_or(&[], |packs| packs.of(slot)));
    let packs = SlotId::ALL.into_iter().flat_map(of);
    let forced = trial.iter().flat_map(forced_text);
    let lines = iter::once(record_text(&record)).chain(packs).chain(forced);
    output.say(&lines.collect::<Vec<_>>().join("\n"), &document)
}

/// What the bundle that runs has; `None` from a box that is too old to have any.
fn running_packs(device: &mut Device) -> Result<Option<Vec<PackName>>, DeviceError> {
    let Some(packs) = device.packs_if_known()? else { return Ok(None) };
    let running = device.slots()?.active;
    Ok(Some(running.map_or_else(Vec::new, |slot| packs.of(slot).to_vec())))
}

/// To each slot of a record: its packs.
fn add_packs(record: &mut serde_json::Value, packs: Option<&SlotPacks>) {
    for slot in SlotId::ALL {
        record["slots"][slot as usize]["packs"] =
            packs.map(|packs| packs_json(packs.of(slot))).into();
    }
}

pub(crate) fn telemetry(target: &Target, output: Output) -> Result<()> {
    let (telemetry, trial, profile, packs) = target.with(|device| {
        let (telemetry, trial) = (device.telemetry()?, device.trial_if_known()?);
        Ok((telemetry, trial, device.profile_if_known()?, running_packs(device)?))
    })?;
    let mut document = serde_json::to_value(&telemetry)?;
    document["packs"] = packs.as_deref().map(packs_json).into();
    if let Some(profile) = &profile {
        document["profile"] = serde_json::to_value(profile)?;
    }
    if let Some(trial) = &trial {
        document["forced"] = forced_json(trial)?;
    }
    let mebibytes = |bytes: Option<u64>| bytes.map_or("?".into(), |b| (b >> 20).to_string());
    let mut lines = vec![
        format!("up {} s", telemetry.uptime.map_or("?".into(), |s| format!("{s:.0}"))),
        format!("load {}", telemetry.load.map_or("?".into(), |load| format!("{load:?}"))),
        format!(
            "memory {} of {} MiB available",
            mebibytes(telemetry.memory_available),
            mebibytes(telemetry.memory_total)
        ),
        format!("disk {} MiB free", mebibytes(telemetry.disk_free)),
    ];
    lines
        .extend(telemetry.temperatures.iter().map(|t| format!("{} {:.1} °C", t.sensor, t.celsius)));
    lines.extend(profile.iter().flat_map(machine::describe));
    lines.extend(packs.iter().flatten().map(|pack| format!("runs with pack {pack}")));
    lines.extend(trial.iter().flat_map(forced_text));
    output.say(&lines.join("\n"), &document)
}

/// Prints the box's latest log lines
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    target: Target,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Begin with this line
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The daemon's log instead of the agent's
    #[arg(long)]
    daemon: bool,
    /// Why the last trial failed, with the end of both logs
    #[arg(long, conflicts_with_all = ["daemon", "follow"])]
    evidence: bool,
}

impl LogsArgs {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut from = self.from;
        let mut boot = None;
        let journal = match (self.daemon, self.evidence) {
            (true, _) => Some(Journal::Daemon),
            (_, true) => Some(Journal::Evidence),
            _ => None,
        };
        self.target.with(|device| {
            let again = boot.replace(device.hello().boot).is_some_and(|b| b != device.hello().boot);
            if again && journal.is_none() {
                log::warn!("the agent was started again");
                from = 0;
            }
            // Lines that come while we read, of our reading perhaps, are for `--follow` only.
            let end = if self.follow { u64::MAX } else { device.log_end(journal)? };
            while from < end {
                let (lines, next, lost) = device.logs(journal, from)?;
                if lost > 0 && !(from == 0 && journal.is_some()) {
                    log::warn!("{lost} lines are lost");
                }
                for line in &lines {
                    let seconds = line.nanos as f64 / 1e9;
                    let level = format!("{:?}", line.level).to_uppercase();
                    let text =
                        format!("{seconds:12.6} {level:5} {}: {}", line.target, line.message);
                    output.say(&text, &line_json(line))?;
                }
                if lines.is_empty() {
                    thread::sleep(FOLLOW);
                }
                from = next;
            }
            Ok(())
        })
    }
}

/// Writes all that is known of the box into a folder, for a support case
#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    target: Target,
    /// Made; must not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Dump {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let files = self.target.with(|device| {
            let (info, record, telemetry) = (device.info()?, device.slots()?, device.telemetry()?);
            let profile = device.profile_if_known()?;
            let mut slots = record_json(&record);
            add_packs(&mut slots, device.packs_if_known()?.as_ref());
            let trial = device.trial_if_known()?.as_ref().map(trial_json).transpose()?;
            let journals = [None, Some(Journal::Daemon), Some(Journal::Evidence)];
            let [ours, daemon, evidence] = journals.map(|journal| whole_log(device, journal));
            Ok([
                ("info.json", serde_json::to_string_pretty(&info)?),
                ("slots.json", serde_json::to_string_pretty(&slots)?),
                ("trial.json", serde_json::to_string_pretty(&trial)?),
                ("telemetry.json", serde_json::to_string_pretty(&telemetry)?),
                ("profile.json", serde_json::to_string_pretty(&profile)?),
                ("log.jsonl", ours?),
                ("daemon.jsonl", daemon?),
                ("evidence.jsonl", evidence?),
            ])
        })?;
        fs::create_dir(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        for (name, text) in &files {
            let path = self.out.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let names = files.map(|(name, _)| name);
        let text = format!("{}: {}", self.out.display(), names.join(", "));
        output.say(&text, &json!({ "out": self.out, "files": names }))
    }
}

/// A log, a line of JSON a line; nothing from a box that is too old to tell.
fn whole_log(device: &mut Device, journal: Option<Journal>) -> Result<String, DeviceError> {
    let end = match device.log_end(journal) {
        Err(DeviceError::Refused(Refusal::Unsupported)) => return Ok(String::new()),
        end => end?,
    };
    let (mut text, mut from) = (String::new(), 0);
    while from < end {
        let (some, next, lost) = device.logs(journal, from)?;
        if lost > 0 {
            text.push_str(&format!("{}\n", json!({ "lost": lost })));
        }
        some.iter().for_each(|line| text.push_str(&format!("{}\n", line_json(line))));
        from = next;
    }
    Ok(text)
}

fn line_json(line: &LogLine) -> serde_json::Value {
    json!({
        "number": line.number, "nanos": line.nanos, "level": format!("{:?}", line.level).to_lowercase(),
        "target": line.target, "message": line.message,
    })
}
