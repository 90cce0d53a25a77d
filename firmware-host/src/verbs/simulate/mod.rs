//! `simulate`: a [`controller`] that exposes by a schedule, or a [`machine`] that is a box without hardware.
//!
//! Both speak with real code; only what is behind them is made up. What goes wrong is thrown with a seed.

mod controller;
mod machine;

use crate::keys::Keys;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use clap::Args;
use controller::Controller;
use machine::Machine;
use serde::{Deserialize, Deserializer, de};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Plays an X-ray controller or a box, with faults on request
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// See examples/controller.toml and examples/box.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A box writes its addresses here once it listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A controller's, and of the box it talks to
    #[command(flatten)]
    keys: Keys,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    /// What goes wrong is the same for the same seed.
    #[serde(default)]
    seed: u64,
    controller: Option<Controller>,
    #[serde(rename = "box")]
    machine: Option<Machine>,
}

impl Simulate {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let path = self.config.display();
        let text =
            fs::read_to_string(&self.config).with_context(|| format!("cannot read {path}"))?;
        let scene: Scene = toml::from_str(&text).with_context(|| format!("{path} is no scene"))?;
        let folder = self.config.parent().unwrap_or(Path::new(""));
        match (scene.controller, scene.machine) {
            (Some(controller), None) => controller.play(scene.seed, &self.keys, output),
            (None, Some(machine)) => machine.play(scene.seed, folder, self.ready_file.as_deref()),
            _ => bail!("{path} needs exactly one of [controller] and [box]"),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("duration {text:?}, expected such as \"90s\": {error}"))
    })
}

/// A share of all: 0 to 1.
fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(de::Error::custom(format!("{share}, expected a share from 0 to 1")))
}
