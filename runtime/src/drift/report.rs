//! `runtime drift`: how close images are to an alarm, from what is on disk.

use super::kept;
use crate::{Output, config::Config, print_json};
use ::drift::{FeatureSummary, StreamSummary, Summary, WindowSummary};
use anyhow::Result;
use clap::Args;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
};

/// Whether images look as they did when the network was calibrated, by source
#[derive(Debug, Args)]
pub(crate) struct DriftVerb {
    /// Configuration of the daemon; it may run or not
    #[arg(long, default_value = "runtime.toml")]
    config: PathBuf,
    /// Show so many features of each source, those nearest to an alarm first
    #[arg(long, value_name = "N", default_value_t = 5)]
    features: usize,
}

impl DriftVerb {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let spool = Config::read(&self.config)?.spool.path;
        let (known, monitor) = kept::read(&spool)?;
        let summary = monitor.summary(&known.reference);
        if output.json {
            return print_json(&summary);
        }
        Ok(io::stdout().write_all(text(&summary, self.features)?.as_bytes())?)
    }
}

fn text(summary: &Summary, features: usize) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "compared with {} calibration images", summary.reference_images)?;
    for stream in &summary.streams {
        let StreamSummary { source, images, alarms, .. } = stream;
        writeln!(text, "\n{source}: {images} images")?;
        for alarm in alarms {
            let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(alarm.since);
            let since = humantime::format_rfc3339_seconds(since);
            writeln!(text, "  ALARM since {since}: {} {}", alarm.feature, alarm.text)?;
        }
        let mut order: Vec<usize> = (0..stream.features.len()).collect();
        order.sort_by(|a, b| {
            let of = |at: &usize| stream.features[*at].of_limit;
            of(b).total_cmp(&of(a))
        });
        writeln!(
            text,
            "  {:<28} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "FEATURE", "OF LIMIT", "WEEK KS", "PSI", "MONTH KS", "PSI"
        )?;
        for at in order.into_iter().take(features) {
            let FeatureSummary { name, of_limit, .. } = &stream.features[at];
            let percent = format!("{:.0} %", 100.0 * of_limit);
            write!(text, "  {name:<28} {percent:>9}")?;
            for window in &stream.windows {
                let distance = window.distances[at];
                write!(text, " {:>9.3} {:>9.3}", distance.ks, distance.psi)?;
            }
            writeln!(text)?;
        }
        limits(&mut text, &stream.windows)?;
    }
    Ok(text)
}

fn limits(text: &mut String, windows: &[WindowSummary]) -> Result<()> {
    write!(text, "  {:<28} {:>9}", "limits", "100 %")?;
    for window in windows {
        match window.limits {
            Some(limits) => write!(text, " {:>9.3} {:>9.3}", limits.ks, limits.psi)?,
            None => write!(text, " {:>19}", format!("{} are too few", window.images))?,
        }
    }
    Ok(writeln!(text)?)
}
