//! `push`.

use super::pack::{self, Parcel};
use crate::output::Output;
use crate::{DryRun, Target};
use anyhow::{Context, Error, Result};
use bundle::SealedPack;
use clap::Args;
use firmware_host::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Digest, Release, SlotState};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Sends a bundle into the slot that does not run, and continues where an earlier push broke off; or a pack, of which
/// and the bundle that runs the box makes that slot
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A bundle written by `exporter quantize`, or a pack written by `exporter prompts`
    #[arg(required_unless_present = "remove")]
    bundle: Option<PathBuf>,
    /// Make that slot of the bundle that runs without this pack
    #[arg(long, value_name = "PACK", conflicts_with_all = ["bundle", "no_check"])]
    remove: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Send the file as it is and leave all checks to the box
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    dry: DryRun,
}

impl Push {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if let Some(name) = &self.remove {
            return match self.dry.dry_run {
                true => pack::rehearse(&self.target, &format!("without pack {name}"), output),
                false => pack::remove(&self.target, name, output),
            };
        }
        let path = self.bundle.as_deref().context("neither a file nor --remove")?;
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if SealedPack::is_begun_by(&file) {
            let parcel = Parcel::read(path, file, !self.no_check)?;
            return match self.dry.dry_run {
                true => pack::rehearse(&self.target, &pack::told(path, &parcel), output),
                false => pack::push(&self.target, path, &parcel, output),
            };
        }
        self.push_bundle(path, &file, output)
    }

    fn push_bundle(&self, path: &Path, file: &[u8], output: Output) -> Result<()> {
        let mut release = None;
        if !self.no_check {
            let unusable = || format!("{} is not a usable bundle", path.display());
            let bundle = bundle::Bundle::read(file).with_context(unusable)?;
            let parsed: Result<Release, _> = bundle.manifest.version.parse();
            release = Some(parsed.map_err(Error::msg).with_context(unusable)?);
        }
        let sha256 = Digest(Sha256::digest(file).into());
        if self.dry.dry_run {
            return self.say_dry(file.len() as u64, sha256, release, output);
        }
        let bar = self.bar(output);
        let mut last = None;
        let mut resumed = None;
        let start = Instant::now();
        let slot = self.target.with(|device| {
            let slot = device.push(file, sha256, |progress: Progress| {
                resumed.get_or_insert(progress.resumed);
                bar.set_length(progress.total);
                bar.set_position(progress.received);
                last = Some(progress);
            })?;
            Ok(slot)
        });
        bar.finish_and_clear();
        let slot = slot.with_context(|| format!("cannot push {}", path.display()))?;
        let resumed = resumed.unwrap_or(0);
        let total = file.len() as u64;
        let seconds = start.elapsed().as_secs_f64();
        let document = json!({
            "slot": slot.to_string(), "sha256": sha256, "bytes": total, "resumed": resumed, "seconds": seconds,
        });
        let sent = total - resumed;
        let text = format!(
            "slot {slot} holds {}, verified ({sent} of {total} bytes sent in {seconds:.1} s)",
            path.display()
        );
        output.say(&text, &document)
    }

    /// Which slot would receive the file, by the same rules as the box's.
    fn say_dry(
        &self,
        total: u64,
        sha256: Digest,
        release: Option<Release>,
        output: Output,
    ) -> Result<()> {
        let record = self.target.with(|device| Ok(device.slots()?))?;
        release.map_or(Ok(()), |release| record.allows(release))?;
        let (slot, after) = record.begin(sha256, total)?;
        let there = match after.slot(slot).state {
            SlotState::Writing { received, .. } => received,
            _ => total,
        };
        let document = json!({
            "dry_run": true, "slot": slot.to_string(), "sha256": sha256, "bytes": total, "resumed": there,
        });
        let text = format!("slot {slot} would receive {} of {total} bytes", total - there);
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
