//! `trainer phantom`: radiographs drawn from nothing.

use crate::{phantom::Drawing, terminal::Terminal};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Draws phantom radiographs with reports, masks, boxes and labels, laid out like cxr-mini
#[derive(Debug, Args)]
pub struct PhantomArgs {
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// The same seed draws the same pictures
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Rows of a picture
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..=4096))]
    size: u32,
    /// How many of them to write as DICOM too
    #[arg(long, value_name = "N", default_value_t = 4)]
    dicom: u32,
}

impl PhantomArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let Self { out, count, seed, size, dicom } = self;
        let progress = terminal.progress(u64::from(count));
        let (manifest, summary) = Drawing { out, count, seed, size, dicom }.draw(&progress)?;
        progress.finish_and_clear();
        terminal.json(&summary)?;
        terminal.say(format!("{}: {summary}", manifest.display()))?;
        Ok(())
    }
}
