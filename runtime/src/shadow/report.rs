//! `runtime shadow report`: how far the two bundles agree, from the pairs on disk.

use super::{
    agreement::{BoxSummary, FindingSummary, MaskSummary, Summary},
    figures::{called, difference, figure, times},
    html, kept,
    work::Order,
};
use crate::{Output, config::Config, print_json};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use results::BundleId;
use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    path::PathBuf,
};

/// A second bundle that looks at the same images: how far it agrees with the one that answers
#[derive(Debug, Args)]
pub(crate) struct ShadowVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints how far the two agree, for each two bundles that were compared
    Report(Report),
    /// The process of the second bundle; the daemon starts it
    #[command(hide = true)]
    Work(Order),
}

#[derive(Debug, Args)]
struct Report {
    /// Configuration of the daemon; it may run or not
    #[arg(long, default_value = "runtime.toml")]
    config: PathBuf,
    /// Also write a page with a drawing for each finding, about the two bundles that were compared last
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl ShadowVerb {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self.verb {
            Verb::Report(report) => report.run(output),
            Verb::Work(order) => order.run(),
        }
    }
}

impl Report {
    fn run(self, output: Output) -> Result<()> {
        let spool = Config::read(&self.config)?.spool.path;
        kept::must_exist(&spool)?;
        let mut summaries: Vec<Summary> =
            kept::agreements(&spool)?.iter().map(|agreement| agreement.summary()).collect();
        // The last first: that is what people ask about.
        summaries.reverse();
        if let (Some(path), Some(summary)) = (&self.html, summaries.first()) {
            let digests = |bundles: &[BundleId; 2]| bundles.each_ref().map(|b| b.digest.clone());
            let (wanted, mut pairs) = (digests(&summary.bundles), Vec::new());
            kept::read(&spool, |pair| {
                pairs.extend(Some(pair).filter(|pair| digests(&pair.bundles) == wanted));
            })?;
            let page = html::page(summary, &pairs);
            durable::write(path, page.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if output.json {
            return print_json(&summaries);
        }
        let text: Vec<String> = summaries.iter().map(Summary::to_string).collect();
        let text =
            if text.is_empty() { "nothing was compared yet\n".into() } else { text.join("\n") };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [answer, shadow] = &self.bundles;
        writeln!(f, "{} answered, {} looked on", called(answer), called(shadow))?;
        let [first, last] = self.span.clone().unwrap_or_default();
        writeln!(f, "{} images, {first} to {last}", self.pairs)?;
        if self.not_analysed > 0 {
            writeln!(f, "{} of them the second one did not analyse", self.not_analysed)?;
        }
        let [ours, theirs] = self.milliseconds.each_ref().map(|t| times(t.as_ref()));
        writeln!(f, "an image took {ours}; and {theirs}")?;
        for (names, which) in self.alone.iter().zip(["first", "second"]) {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                writeln!(f, "only the {which} one speaks of {}", names.join(", "))?;
            }
        }
        findings(f, &self.findings)?;
        masks(f, &self.masks)?;
        boxes(f, &self.boxes)
    }
}

fn findings(f: &mut fmt::Formatter<'_>, findings: &[FindingSummary]) -> fmt::Result {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\n{:<28} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  SECOND LESS FIRST [95 %]",
        "FINDING", "N", "BOTH", "FIRST", "SECOND", "NONE", "KAPPA"
    )?;
    for row in findings {
        writeln!(
            f,
            "{:<28} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  {}",
            row.name,
            row.n,
            row.both_positive,
            row.only_answer,
            row.only_shadow,
            row.both_negative,
            figure(row.kappa),
            difference(&row.difference)
        )?;
    }
    Ok(())
}

fn masks(f: &mut fmt::Formatter<'_>, masks: &[MaskSummary]) -> fmt::Result {
    if masks.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{:<28} {:>7} {:>9} {:>9} {:>9}", "MASK", "N", "MEAN DICE", "LOWEST", "NONE")?;
    for row in masks {
        let [mean, lowest] = [row.mean_dice, row.lowest_dice].map(figure);
        writeln!(f, "{:<28} {:>7} {mean:>9} {lowest:>9} {:>9}", row.name, row.n, row.both_empty)?;
    }
    Ok(())
}

fn boxes(f: &mut fmt::Formatter<'_>, boxes: &[BoxSummary]) -> fmt::Result {
    if boxes.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\n{:<28} {:>7} {:>7} {:>7} {:>9}",
        "BOXES", "BOTH", "FIRST", "SECOND", "MEAN IOU"
    )?;
    for row in boxes {
        let iou = figure(row.mean_iou);
        writeln!(
            f,
            "{:<28} {:>7} {:>7} {:>7} {iou:>9}",
            row.name, row.same, row.only_answer, row.only_shadow
        )?;
    }
    f.write_char('\n')
}
