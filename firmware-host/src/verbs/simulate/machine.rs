//! A box without hardware: the real agent, beside a machine that is files and a daemon that is a clock.

use super::{duration, share};
use anyhow::{Context, Result};
use exposures::{Event, LampFile, Reader, Shown};
use firmware_host::agent::{self, Config};
use firmware_host::link::{Dice, Faults, Thrown};
use protocol::Lamp;
use protocol::exposure::Outcome;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    /// Everything of it; made if it is not there.
    folder: PathBuf,
    /// The agent's tables as in agent.toml, `[listen]` at least.
    agent: toml::Table,
    #[serde(default = "celsius")]
    celsius: f64,
    /// From an exposure to its result.
    #[serde(default = "analysis", deserialize_with = "duration")]
    analysis: Duration,
    /// What the lamp shows after each exposure, one after the other.
    #[serde(default = "results")]
    results: Vec<Shows>,
    #[serde(default)]
    faults: Wishes,
}

/// What is to go wrong with the box's answers; shares from 0 to 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wishes {
    #[serde(deserialize_with = "share")]
    drop: f64,
    #[serde(deserialize_with = "share")]
    duplicate: f64,
    #[serde(deserialize_with = "share")]
    flip: f64,
    #[serde(deserialize_with = "share")]
    delay: f64,
    #[serde(deserialize_with = "duration")]
    delay_for: Duration,
    half_open_after: Option<u64>,
}

/// A result, by the name of its [`Lamp`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Shows {
    Ready,
    Urgent,
    NotAnalysed,
    Trouble,
}

impl Machine {
    /// Runs until killed.
    pub(super) fn play(&self, seed: u64, base: &Path, ready: Option<&Path>) -> Result<()> {
        let folder = base.join(&self.folder);
        let room = folder.join("exposures");
        for (name, text) in [
            ("proc/uptime", "350735.47 234388.90\n".to_owned()),
            ("proc/loadavg", "0.20 0.18 0.12 1/80 11206\n".to_owned()),
            ("proc/meminfo", "MemTotal: 7802428 kB\nMemAvailable: 5802428 kB\n".to_owned()),
            ("proc/device-tree/model", "Simulated box\0".to_owned()),
            ("etc/os-release", "PRETTY_NAME=\"No system\"\n".to_owned()),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n".to_owned()),
            ("sys/class/thermal/thermal_zone0/temp", format!("{:.0}\n", self.celsius * 1e3)),
        ] {
            let path = folder.join("machine").join(name);
            durable::write(&path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let path = folder.join("agent.toml");
        let text = toml::to_string(&self.agent_tables())?;
        durable::write(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let lamp =
            LampFile::open(&room).with_context(|| format!("cannot use {}", room.display()))?;
        let (analysis, results) = (self.analysis, self.results.clone());
        thread::Builder::new().name("daemon".into()).spawn(move || {
            if let Err(error) = show(&room, lamp, analysis, &results) {
                log::error!("the simulated daemon ended: {error:#}");
            }
        })?;
        let Wishes { drop, duplicate, flip, delay, delay_for, half_open_after } = self.faults;
        let faults = Faults { drop, duplicate, flip, delay, delay_for, half_open_after };
        let thrown = Thrown { faults, dice: Dice::new(seed) };
        agent::run(Config { thrown: Some(thrown), ..Config::read(&path)? }, ready)
    }

    /// What the scene says, and what a box without hardware needs besides.
    fn agent_tables(&self) -> toml::Table {
        let mut tables = self.agent.clone();
        let defaults: toml::Table = toml::from_str(
            "slots = \"slots\"\ndevice = \"simulated\"\nsysroot = \"machine\"\n\
             [exposures]\nfolder = \"exposures\"\n\
             [bundles]\nallow_unsigned = true\n[activate]\nselftest = [\"true\"]\n",
        )
        .expect("a constant table");
        for (name, value) in defaults {
            tables.entry(name).or_insert(value);
        }
        tables
    }
}

/// Plays the daemon: analysing while an image may come, then the next result.
fn show(room: &Path, mut lamp: LampFile, analysis: Duration, results: &[Shows]) -> Result<()> {
    let mut reader = Reader::new(room, 1);
    let (mut pending, mut count) = (None::<Instant>, 0);
    lamp.show(Shown { lamp: Lamp::Idle, missing: 0, unexplained: 0 })?;
    loop {
        let complete = |event: &Event| matches!(event, Event::Exposure(exposure) if exposure.outcome == Outcome::Complete);
        if reader.read()?.entries.iter().any(|entry| complete(&entry.event)) {
            pending = Some(Instant::now());
            lamp.show(Shown { lamp: Lamp::Analysing, missing: 0, unexplained: 0 })?;
        }
        if pending.is_some_and(|since| since.elapsed() >= analysis) {
            pending = None;
            let result = results.get(count % results.len().max(1)).map_or(Lamp::Ready, Shows::lamp);
            count += 1;
            lamp.show(Shown { lamp: result, missing: 0, unexplained: 0 })?;
        }
        thread::sleep(POLL);
    }
}

impl Shows {
    fn lamp(&self) -> Lamp {
        match self {
            Self::Ready => Lamp::Ready,
            Self::Urgent => Lamp::Urgent,
            Self::NotAnalysed => Lamp::NotAnalysed,
            Self::Trouble => Lamp::Trouble,
        }
    }
}

const fn celsius() -> f64 {
    45.0
}

const fn analysis() -> Duration {
    Duration::from_secs(2)
}

fn results() -> Vec<Shows> {
    vec![Shows::Ready]
}
