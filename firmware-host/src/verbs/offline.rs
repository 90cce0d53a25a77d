//! `offline`: an image from a USB stick, through the agent that runs on this box.

use crate::output::Output;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use firmware_host::agent::Config;
use firmware_host::agent::offline::{News, Order, SOCKET};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Installs an SWU image from a file or a USB stick, through the agent that runs on this box
#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// An SWU image, or a folder with exactly one
    image: PathBuf,
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/cxr-edge/agent.toml")]
    config: PathBuf,
    /// Do not wait for the end of the trial
    #[arg(long)]
    no_wait: bool,
    /// Do not write a report beside the image
    #[arg(long)]
    no_report: bool,
}

/// How it ended.
struct Ended {
    device: String,
    outcome: &'static str,
    details: Vec<String>,
    clock: u64,
}

impl Offline {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let image = image(&self.image)?;
        let socket = Config::read(&self.config)?.slots.join(SOCKET);
        let stream = UnixStream::connect(&socket).with_context(|| {
            format!("no agent answers at {}: does it run, and are you its user?", socket.display())
        })?;
        let ended = self.follow(stream, &image)?;
        let mut report = json!({
            "box": ended.device, "image": image.file_name().map(|name| name.to_string_lossy()),
            "outcome": ended.outcome, "details": ended.details, "box_clock": ended.clock,
            "agent": concat!("firmware-host ", env!("CARGO_PKG_VERSION")),
        });
        let mut kept = Value::Null;
        if !self.no_report {
            let plain =
                |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
            let device: String = ended.device.chars().map(plain).collect();
            let path = image.with_added_extension(format!("{device}.report.json"));
            // A stick that cannot be written to is no failure of the installation.
            match durable::write(&path, format!("{report:#}\n").as_bytes()) {
                Ok(()) => kept = path.display().to_string().into(),
                Err(error) => log::warn!("no report: cannot write {}: {error}", path.display()),
            }
        }
        report["report"] = kept;
        output.say(&ended.details.join("\n"), &report)?;
        ensure!(ended.outcome != "failed", "{} was not taken", image.display());
        Ok(())
    }

    fn follow(&self, mut stream: UnixStream, image: &Path) -> Result<Ended> {
        // The agent says something every few seconds; a self-test may take minutes.
        stream.set_read_timeout(Some(Duration::from_secs(900)))?;
        let order = serde_json::to_string(&Order { image: image.to_owned() })?;
        stream.write_all(format!("{order}\n").as_bytes())?;
        let mut before = None;
        for line in BufReader::new(stream).lines() {
            let line = line.context("the agent fell silent")?;
            let news: News =
                serde_json::from_str(&line).context("the agent said something else")?;
            if before.as_ref() != Some(&news) {
                log::info!("{line}");
            }
            match &news {
                News::Trial { slot } if self.no_wait => {
                    let details = vec![format!("on trial in slot {slot}")];
                    return Ok(Ended { device: "box".into(), outcome: "trial", details, clock: 0 });
                }
                News::End { device, confirmed, details, clock } => {
                    let outcome = if *confirmed { "confirmed" } else { "failed" };
                    let (device, details) = (device.clone(), details.clone());
                    return Ok(Ended { device, outcome, details, clock: *clock });
                }
                _ => before = Some(news),
            }
        }
        bail!("the agent ended before the image was installed")
    }
}

/// The image meant, by its whole path: the agent's folder is another.
fn image(path: &Path) -> Result<PathBuf> {
    let path = fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !path.is_dir() {
        return Ok(path);
    }
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut images: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "swu"))
        .collect();
    let count = images.len();
    let only = images.pop().filter(|_| images.is_empty());
    only.with_context(|| format!("{}: {count} files named .swu, expected one", path.display()))
}
