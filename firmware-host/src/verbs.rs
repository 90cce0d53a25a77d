//! The verbs of the workstation: each opens a session, says a thing or two, and prints what came back.

use crate::Target;
use crate::output::{Output, record_json, record_text};
use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use firmware_host::discover::discover;
use firmware_host::{Device, DeviceError, Patience, Progress, random::random};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{BootRecord, Digest, LogLine, Release, RequestId, SlotId, SlotState};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Between two tries to reach the box.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks for new log lines.
const FOLLOW: Duration = Duration::from_millis(500);

impl Target {
    fn open(&self) -> Result<Device> {
        let patience = Patience { silence: self.timeout, call: self.deadline };
        let device = Device::open(self.device.connect()?, patience);
        device.with_context(|| self.device.to_string())
    }

    /// Does `work` with the box; again over a new connection for `--retry`, should the link break.
    fn with<T>(&self, mut work: impl FnMut(&mut Device) -> Result<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let error = match self.open().and_then(|mut device| work(&mut device)) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let passing = error.downcast_ref::<DeviceError>().map_or_else(
                || error.downcast_ref::<std::io::Error>().is_some(),
                DeviceError::is_passing,
            );
            if !passing || start.elapsed() >= self.retry {
                return Err(error);
            }
            log::warn!("{error:#}; trying again");
            thread::sleep(PAUSE);
        }
    }
}

fn new_id() -> Result<RequestId> {
    Ok(RequestId(random().context("no random numbers")?))
}

pub(crate) fn info(target: &Target, output: Output) -> Result<()> {
    let (info, hello) = target.with(|device| Ok((device.info()?, device.hello().clone())))?;
    let document = json!({
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
    output.say(&text, &document)
}

pub(crate) fn slots(target: &Target, output: Output) -> Result<()> {
    let record = target.with(|device| Ok(device.slots()?))?;
    output.say(&record_text(&record), &record_json(&record))
}

/// Measures the way there and back
#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    target: Target,
    /// How often
    #[arg(long, default_value_t = 5)]
    count: u32,
}

impl Ping {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        ensure!(self.count > 0, "--count is 0, expected at least 1");
        let mut times = self.target.with(|device| {
            let times = (0..self.count).map(|_| device.ping(b"ping"));
            Ok(times.collect::<Result<Vec<_>, _>>()?)
        })?;
        times.sort_unstable();
        let median = times[times.len() / 2];
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (least, most) = (milliseconds(times[0]), milliseconds(times[times.len() - 1]));
        let median = milliseconds(median);
        let document = json!({ "count": times.len(), "milliseconds": { "least": least, "median": median, "most": most } });
        output.say(
            &format!("{median:.3} ms (of {}, {least:.3} to {most:.3})", times.len()),
            &document,
        )
    }
}

/// Sends a bundle into the slot that does not run; continues where an earlier push broke off
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Written by `exporter quantize`
    bundle: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Send the file as it is and leave all checks to the box
    #[arg(long)]
    no_check: bool,
}

impl Push {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let file = fs::read(&self.bundle)
            .with_context(|| format!("cannot read {}", self.bundle.display()))?;
        if !self.no_check {
            let unusable = || format!("{} is not a usable bundle", self.bundle.display());
            let bundle = bundle::Bundle::read(&file).with_context(unusable)?;
            let release: Result<Release, _> = bundle.manifest.version.parse();
            release.map_err(Error::msg).with_context(unusable)?;
        }
        let sha256 = Digest(Sha256::digest(&file).into());
        let bar = self.bar(output);
        let mut last = None;
        let mut resumed = None;
        let start = Instant::now();
        let slot = self.target.with(|device| {
            let slot = device.push(&file, sha256, |progress: Progress| {
                resumed.get_or_insert(progress.resumed);
                bar.set_length(progress.total);
                bar.set_position(progress.received);
                last = Some(progress);
            })?;
            Ok(slot)
        });
        bar.finish_and_clear();
        let slot = slot.with_context(|| format!("cannot push {}", self.bundle.display()))?;
        let resumed = resumed.unwrap_or(0);
        let total = file.len() as u64;
        let seconds = start.elapsed().as_secs_f64();
        let document = json!({
            "slot": slot.to_string(), "sha256": sha256, "bytes": total, "resumed": resumed, "seconds": seconds,
        });
        let sent = total - resumed;
        let text = format!(
            "slot {slot} holds {}, verified ({sent} of {total} bytes sent in {seconds:.1} s)",
            self.bundle.display()
        );
        output.say(&text, &document)
    }

    fn bar(&self, output: Output) -> ProgressBar {
        if !output.has_progress() {
            return ProgressBar::hidden();
        }
        let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        ProgressBar::new(0)
            .with_style(ProgressStyle::with_template(style).expect("a constant template"))
    }
}

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
}

impl Activate {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let id = new_id()?;
        let mut chosen = None;
        let record = self.target.with(|device| {
            // Once chosen it stays chosen: a repeated call must mean the same bundle.
            let sha256 = match chosen {
                Some(sha256) => sha256,
                None => *chosen.insert(self.candidate(&device.slots()?)?),
            };
            Ok(device.activate(id, sha256)?)
        })?;
        output.say(&record_text(&record), &record_json(&record))
    }

    fn candidate(&self, record: &BootRecord) -> Result<Digest> {
        if let Some(path) = &self.bundle {
            let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(Digest(Sha256::digest(&file).into()));
        }
        let fresh = |id: &SlotId| record.slot(*id).state == SlotState::Verified;
        let slot = self.slot.or_else(|| SlotId::ALL.into_iter().find(fresh));
        let Some(id) = slot else {
            bail!("no slot holds a bundle that was pushed and not yet run")
        };
        record.slot(id).sha256.with_context(|| format!("slot {id} is empty"))
    }
}

/// Looks for boxes on the local network
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// Where to ask: a box, or a broadcast address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "255.255.255.255:7700")]
    to: SocketAddr,
    /// How long to listen for answers
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
}

impl Discover {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let boxes =
            discover(self.to, self.time).with_context(|| format!("cannot ask at {}", self.to))?;
        let lines: Vec<_> = boxes
            .iter()
            .map(|(at, hello)| format!("tcp://{at}  {}, protocol {}", hello.device, hello.version))
            .collect();
        let found: Vec<_> = boxes
            .iter()
            .map(|(at, hello)| {
                let (device, protocol) = (&hello.device, hello.version.to_string());
                json!({ "address": format!("tcp://{at}"), "device": device, "protocol": protocol })
            })
            .collect();
        let text = if lines.is_empty() { "no box answered".into() } else { lines.join("\n") };
        output.say(&text, &json!({ "boxes": found }))
    }
}

/// Keeps the bundle on trial; without it the old one comes back
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    target: Target,
}

impl Change {
    pub(crate) fn confirm(self, output: Output) -> Result<()> {
        let id = new_id()?;
        let record = self.target.with(|device| {
            let record = device.slots()?;
            let running = record.running().and_then(|(_, slot)| slot.sha256);
            Ok(device.confirm(id, running.context("no bundle runs")?)?)
        })?;
        output.say(&record_text(&record), &record_json(&record))
    }
}

/// Goes back to the other confirmed slot
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    target: Target,
    /// Kept by the box
    #[arg(long, default_value = "asked for by an operator")]
    reason: String,
}

impl Rollback {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let id = new_id()?;
        let record = self.target.with(|device| Ok(device.rollback(id, &self.reason)?))?;
        output.say(&record_text(&record), &record_json(&record))
    }
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
}

impl LogsArgs {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut from = self.from;
        let mut boot = None;
        self.target.with(|device| {
            if boot.replace(device.hello().boot).is_some_and(|before| before != device.hello().boot)
            {
                log::warn!("the agent was started again");
                from = 0;
            }
            // Lines that come while we read, of our reading perhaps, are for `--follow` only.
            let end = if self.follow { u64::MAX } else { device.log_end()? };
            while from < end {
                let (lines, next, lost) = device.logs(from)?;
                if lost > 0 {
                    log::warn!("{lost} lines are lost");
                }
                for line in &lines {
                    output.say(&line_text(line), &line_json(line))?;
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

fn line_text(line: &LogLine) -> String {
    let seconds = line.nanos as f64 / 1e9;
    let level = format!("{:?}", line.level).to_uppercase();
    format!("{seconds:12.6} {level:5} {}: {}", line.target, line.message)
}

fn line_json(line: &LogLine) -> serde_json::Value {
    json!({
        "number": line.number, "nanos": line.nanos, "level": format!("{:?}", line.level).to_lowercase(),
        "target": line.target, "message": line.message,
    })
}

pub(crate) fn telemetry(target: &Target, output: Output) -> Result<()> {
    let telemetry = target.with(|device| Ok(device.telemetry()?))?;
    let document = serde_json::to_value(&telemetry)?;
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
    output.say(&lines.join("\n"), &document)
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
            let (mut lines, mut from) = (String::new(), 0);
            let end = device.log_end()?;
            while from < end {
                let (some, next, lost) = device.logs(from)?;
                if lost > 0 {
                    lines.push_str(&format!("{}\n", json!({ "lost": lost })));
                }
                some.iter().for_each(|line| lines.push_str(&format!("{}\n", line_json(line))));
                from = next;
            }
            Ok([
                ("info.json", serde_json::to_string_pretty(&info)?),
                ("slots.json", serde_json::to_string_pretty(&record_json(&record))?),
                ("telemetry.json", serde_json::to_string_pretty(&telemetry)?),
                ("log.jsonl", lines),
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

/// Measures the speed of the link
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    target: Target,
    /// How long, each way
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
}

impl Bench {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let (length, to, from, dropped) = self.target.with(|device| {
            let length = device.payload_limit().min(32 << 10);
            let to = rate(self.time, length, || device.sink(length))?;
            let from = rate(self.time, length, || device.source(length as u32))?;
            Ok((length, to, from, device.dropped()))
        })?;
        let document = json!({
            "payload": length, "to_box_bytes_per_second": to, "from_box_bytes_per_second": from, "frames_dropped": dropped,
        });
        let (to, from) = (to / 1e6, from / 1e6);
        output.say(
            &format!(
                "to the box {to:.1} MB/s, from the box {from:.1} MB/s ({length} bytes a call)"
            ),
            &document,
        )
    }
}

/// Bytes a second, one call after the other.
fn rate(
    time: Duration,
    length: usize,
    mut call: impl FnMut() -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    let start = Instant::now();
    let mut bytes = 0.0;
    while start.elapsed() < time {
        call()?;
        bytes += length as f64;
    }
    Ok(bytes / start.elapsed().as_secs_f64())
}

fn slot_id(text: &str) -> Result<SlotId, String> {
    let named = SlotId::ALL.into_iter().find(|id| id.to_string() == text);
    named.ok_or_else(|| "expected a or b".into())
}
