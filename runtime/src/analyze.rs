//! `runtime analyze`: findings for files.

use crate::{
    Output,
    analysis::{AnalyseError, Analysis, Loaded},
    device, overlay, packs, print_json,
};
use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;
use clap::Args;
use radiograph::File;
use results::{Finding, Kind, NearSentence, Record, Status};
use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
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
    /// Packs to add to it, written by `exporter prompts`: who signed them is not asked here; may be repeated
    #[arg(long, value_name = "PACK")]
    prompts: Vec<PathBuf>,
    /// Where to draw the findings: a PNG, or a folder if there are several files
    #[arg(long, value_name = "OUT.png")]
    overlay: Option<PathBuf>,
    /// Longer side of the radiograph in the overlay, pixels
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=4096))]
    overlay_pixels: u32,
    /// Folder for the findings as DICOM objects: NAME.sr.dcm, NAME.seg.dcm, NAME.sc.dcm, and NAME.heat.dcm where phrases
    /// find something, for each DICOM file NAME
    #[arg(long, value_name = "DIR")]
    dicom: Option<PathBuf>,
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
        if let Some(folder) = &self.dicom {
            ensure!(folder.is_dir(), "{}: expected a folder", folder.display());
            let mut names = BTreeSet::new();
            let again = self.files.iter().find(|file| !names.insert(file.file_name()));
            if let Some(file) = again {
                bail!("{}: a second file of this name, expected one for --dicom", file.display());
            }
        }
        let bundle = packs::with(Bundle::open(&self.bundle)?, &self.prompts)?;
        let loaded = Loaded::new(&bundle, self.threads as usize)
            .with_context(|| format!("{}", self.bundle.display()))?;
        drop(bundle);
        let mut failed = Failed::default();
        for file in &self.files {
            match self.one(&loaded, file, output, &mut failed) {
                Err(error) if many => log::error!("{error:#}"),
                done => done?,
            }
        }
        let what = failed.to_string();
        ensure!(what.is_empty(), "of {} files {what}", self.files.len());
        Ok(ExitCode::SUCCESS)
    }

    /// Prints the findings of a file, then draws them.
    fn one(&self, loaded: &Loaded, file: &Path, output: Output, failed: &mut Failed) -> Result<()> {
        let (analysis, image) = loaded.analyse_file(file).inspect_err(|error| match error {
            AnalyseError::Read(_) => failed.read += 1,
            AnalyseError::Run(_) => failed.analyse += 1,
        })?;
        if output.json {
            print_json(&analysis.report.clone().accounted()?.shown())?;
        } else {
            io::stdout().write_all(table(&analysis.report).as_bytes())?;
        }
        self.draw(&analysis, &image, file).inspect_err(|_| failed.draw += 1)?;
        self.write_objects(analysis, &image, file).inspect_err(|_| failed.write += 1)
    }

    /// Writes every object that there is something to put into.
    fn write_objects(&self, analysis: Analysis, image: &File, file: &Path) -> Result<()> {
        let Some(folder) = &self.dicom else { return Ok(()) };
        let (device, pixels) = (device::this_box(), self.overlay_pixels);
        let record = device::sign(analysis.report, pixels).accounted()?;
        for kind in Kind::ALL {
            let drawing = || {
                let picture = image.read()?.image;
                overlay::rgb(&picture, &analysis.masks, &record, pixels).context("it has no pixels")
            };
            let object = results::object(kind, &record, image.bytes(), device, drawing);
            let object = object.with_context(|| format!("{}: no {kind}", file.display()))?;
            let Some(object) = object else { continue };
            let name = file.file_name().unwrap_or_default();
            let path = folder.join(name).with_added_extension(format!("{kind}.dcm"));
            durable::write(&path, &object.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn draw(&self, analysis: &Analysis, image: &File, file: &Path) -> Result<()> {
        if let Some(out) = &self.overlay {
            let path = if out.is_dir() {
                let name = file.file_name().unwrap_or_default();
                out.join(name).with_added_extension("png")
            } else {
                out.clone()
            };
            let png = overlay::png(
                &image.read()?.image,
                &analysis.masks,
                &analysis.report,
                self.overlay_pixels,
                None,
            )?;
            durable::write(&path, &png)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// How many files failed, by what failed.
#[derive(Debug, Default)]
struct Failed {
    read: usize,
    analyse: usize,
    draw: usize,
    write: usize,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.read, "could not be read"),
            (self.analyse, "could not be analysed"),
            (self.draw, "have findings but no overlay"),
            (self.write, "have no DICOM objects"),
        ];
        let said: Vec<_> = kinds.iter().filter(|(count, _)| *count > 0).collect();
        for (number, (count, what)) in said.iter().enumerate() {
            write!(f, "{}{count} {what}", if number > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Findings for people.
fn table(report: &Record) -> String {
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
            remarks(report, finding),
        );
    }
    for mask in report.all_masks() {
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
    if !report.nearest.is_empty() {
        text.push_str("  nearest training sentences, not a report:\n");
    }
    for near in &report.nearest {
        let NearSentence { sentence, similarity, x, y } = near;
        let _ = writeln!(text, "    {similarity:.3}  {sentence}, at ({x:.0}, {y:.0})");
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

/// `positive, zero-shot, looks most at (120, 340)`
fn remarks(report: &Record, finding: &Finding) -> String {
    let positive = finding.positive.then(|| "positive".to_owned());
    let looks = report
        .heat_map(&finding.name)
        .map(|heat| format!("zero-shot, looks most at ({:.0}, {:.0})", heat.x, heat.y));
    positive.into_iter().chain(looks).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use results::{BundleId, HeatMap, MaskSummary};

    #[test]
    fn findings_by_phrases_and_sentences_are_marked_as_what_they_are() {
        let finding = |name: &str, positive| Finding {
            name: name.into(),
            probability: 0.75,
            threshold: 0.5,
            positive,
        };
        let heat = HeatMap {
            name: "Effusion".into(),
            rows: 7,
            columns: 7,
            x: 120.4,
            y: 340.0,
            most: 0.8,
            area: [0.0, 0.0, 500.0, 500.0],
            values: Vec::new(),
        };
        let sentence = "there is a small effusion".into();
        let near = NearSentence { sentence, similarity: 0.6128, x: 12.0, y: 34.6 };
        let report = Record {
            status: Status::Analysed,
            findings: vec![finding("Cardiomegaly", true), finding("Effusion", true)],
            heat_maps: vec![heat],
            nearest: vec![near],
            ..Record::not_analysed("x.dcm".into(), BundleId::default(), String::new())
        };
        let said = table(&report);
        let line = |start: &str| said.lines().find(|line| line.trim().starts_with(start)).unwrap();
        assert!(line("Cardiomegaly").ends_with("75.0 %  positive"), "{said}");
        assert!(
            line("Effusion").ends_with("positive, zero-shot, looks most at (120, 340)"),
            "{said}"
        );
        assert_eq!(line("nearest"), "  nearest training sentences, not a report:");
        assert_eq!(line("0.613"), "    0.613  there is a small effusion, at (12, 35)");
    }

    #[test]
    fn every_mask_is_in_the_table() {
        let id = BundleId { id: "test".into(), digest: "00".into(), ..BundleId::default() };
        let mask = |name: &str| MaskSummary { name: name.into(), area_fraction: 0.25 };
        let mut report = Record {
            status: Status::Analysed,
            mask: Some(mask("Left lung")),
            masks: vec![mask("Left lung"), mask("Right lung")],
            ..Record::not_analysed("x.dcm".into(), id, String::new())
        };
        let both = table(&report);
        for name in ["Left lung", "Right lung"] {
            assert_eq!(
                both.matches(&format!("{name}: 25.0 % of the picture")).count(),
                1,
                "{both}"
            );
        }
        report.masks.clear();
        assert!(table(&report).contains("Left lung") && !table(&report).contains("Right lung"));
    }
}
