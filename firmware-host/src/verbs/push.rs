//! `push`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Error, Result};
use clap::Args;
use firmware_host::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Digest, Release};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

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
            let bundle = bundle::Bundle::read(&file[..]).with_context(unusable)?;
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
