//! `runtime analyze`: findings for files.

use crate::{
    Output,
    analysis::{Analysis, Loaded},
    durable, overlay, print_json,
    report::{Report, Status},
};
use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;
use clap::Args;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Findings for DICOM, PNG or JPEG files
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Bundle written by `exporter quantize`
    #[arg(long)]
    bundle: PathBuf,
    /// Where to draw the findings: a PNG, or a folder if there are several files
    #[arg(long, value_name = "OUT.png")]
    overlay: Option<PathBuf>,
    /// Longer side of the radiograph in the overlay, pixels
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=4096))]
    overlay_pixels: u32,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
}

impl Analyze {
    /// A file that cannot be read is an error of that file: the others are analysed, the exit code is 1.
    pub(crate) fn run(self, output: Output) -> Result<ExitCode> {
        let many = self.files.len() > 1;
        if let Some(folder) = self.overlay.as_ref().filter(|_| many) {
            ensure!(
                folder.is_dir(),
                "{}: expected a folder, since there are {} files",
                folder.display(),
                self.files.len()
            );
        }
        let bundle = Bundle::open(&self.bundle)?;
        let loaded = Loaded::new(&bundle, self.threads as usize)
            .with_context(|| format!("{}", self.bundle.display()))?;
        drop(bundle);
        let mut failed = 0;
        for file in &self.files {
            match self.one(&loaded, file) {
                Ok(analysis) if output.json => print_json(&analysis.report)?,
                Ok(analysis) => io::stdout().write_all(table(&analysis.report).as_bytes())?,
                Err(error) if many => {
                    log::error!("{error:#}");
                    failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if failed > 0 {
            bail!("{failed} of {} files could not be read", self.files.len());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn one(&self, loaded: &Loaded, file: &Path) -> Result<Analysis> {
        let analysis = loaded.analyse_file(file)?;
        if let (Some(out), Some(picture)) = (&self.overlay, &analysis.picture) {
            let path = if out.is_dir() {
                let name = file.file_name().unwrap_or_default();
                out.join(name).with_added_extension("png")
            } else {
                out.clone()
            };
            let png =
                overlay::png(picture, &analysis.masks, &analysis.report, self.overlay_pixels)?;
            durable::write(&path, &png)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(analysis)
    }
}

/// Findings for people.
fn table(report: &Report) -> String {
    let mut text = format!("{}\n", report.file);
    if report.status == Status::NotAnalysed {
        let _ = writeln!(text, "  not analysed: {}", report.reason.as_deref().unwrap_or_default());
        return text;
    }
    let width = report.findings.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    for finding in &report.findings {
        let filled = (finding.probability.clamp(0.0, 1.0) * 20.0).round() as usize;
        let _ = writeln!(
            text,
            "  {:width$}  {:20}  {:5.1} %  {}",
            finding.name,
            "▇".repeat(filled),
            finding.probability * 100.0,
            if finding.positive { "positive" } else { "" },
        );
    }
    if let Some(mask) = &report.mask {
        let _ =
            writeln!(text, "  {}: {:.1} % of the picture", mask.name, mask.area_fraction * 100.0);
    }
    for b in report.boxes.iter().flatten() {
        let _ = writeln!(
            text,
            "  {} {:.0} %: {:.0}x{:.0} pixels at ({:.0}, {:.0})",
            b.name,
            b.score * 100.0,
            b.width,
            b.height,
            b.x,
            b.y
        );
    }
    let _ = writeln!(
        text,
        "  {} · {} · {:.1} ms · not for diagnostic use",
        report.bundle.id,
        report.bundle.digest.get(..12).unwrap_or(&report.bundle.digest),
        report.milliseconds.total
    );
    text
}
