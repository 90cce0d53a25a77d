//! `trainer evaluate`: a checkpoint on a split, in numbers with intervals and as a page to look at.
//!
//! ```text
//! scores          network → probabilities of every image
//! classification  probabilities + truth → AUROC, AUPRC, what happens at the operating points
//! report          the same as HTML with curves
//! ```

mod classification;
mod network;
mod report;

pub use classification::{ClassificationResult, FindingResult};
pub use network::Evaluated;

use crate::{
    device::DeviceArg,
    evaluate_text::{retrieval, zero_shot},
    finetune::{Targets, Uncertain, columns, logits, pictures::Pictures},
    index::{self, Record, Split, write_whole},
    metrics::bootstrap::Resampling,
    prior::Trained,
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::{fs, path::PathBuf};

/// Measures a checkpoint on one split of an index
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    #[arg(long)]
    pub task: TaskArg,
    /// Checkpoint to measure
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Index written by `trainer index`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[arg(long, default_value = "test")]
    split: Split,
    /// Only images of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Also write a page with curves (index.html) and every score (scores.csv)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Resamples of the patients for the intervals
    #[arg(long, default_value_t = 2000)]
    replicates: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Findings to tell apart without training, `Pneumonia,No Finding`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskArg {
    Classification,
    /// A PRIOR checkpoint names findings from prompts alone
    ZeroShot,
    /// A PRIOR checkpoint finds the report of an image
    Retrieval,
}

impl EvaluateArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        match self.task {
            TaskArg::Classification => self.classification(terminal),
            TaskArg::ZeroShot => {
                let (trained, records) = self.prior()?;
                let result = zero_shot(&trained, &records, self.split, &self.classes)?;
                terminal.json(&result)?;
                Ok(terminal.say(result.to_string())?)
            }
            TaskArg::Retrieval => {
                let (trained, records) = self.prior()?;
                let result = retrieval(&trained, &records, self.split)?;
                terminal.json(&result)?;
                Ok(terminal.say(result.to_string())?)
            }
        }
    }

    fn prior(&self) -> Result<(Trained, Vec<Record>)> {
        let trained = Trained::open(&self.checkpoint, self.device.open(0)?)?;
        let mut records = index::read(&self.data)?;
        records.retain(|r| self.source.as_ref().is_none_or(|source| r.source == *source));
        Ok((trained, records))
    }

    fn classification(self, terminal: &Terminal) -> Result<()> {
        ensure!(self.batch > 0 && self.replicates > 0, "--batch and --replicates are at least 1");
        let evaluated = Evaluated::open(&self.checkpoint, self.device.open(0)?)?;
        let labels = evaluated.labels(graph::Task::Classification)?;
        let mut records = index::read(&self.data)?;
        records.retain(|record| {
            record.split == Some(self.split)
                && self.source.as_ref().is_none_or(|source| record.source == *source)
        });
        let uncertain = Uncertain::Unknown;
        let truth = Targets::of(&records, &labels, uncertain).truth;
        let mut known = truth.iter().map(|row| row.iter().any(Option::is_some));
        records.retain(|_| known.next().unwrap_or(false));
        ensure!(
            !records.is_empty(),
            "{}: no image of the {} split has any of the labels {}",
            self.data.display(),
            self.split,
            labels.join(", ")
        );
        let bar = terminal.progress(records.len() as u64).with_message("reading");
        let pictures = Pictures::open(&records, evaluated.config.preprocess, &bar)?;
        bar.finish_and_clear();
        let scores =
            columns(&logits(&pictures, self.batch, &|images| evaluated.forward(images))?.sigmoid());
        ensure!(
            scores.iter().flatten().all(|score| score.is_finite()),
            "{}: the network says NaN",
            self.checkpoint.display()
        );
        let targets = Targets::of(&records, &labels, uncertain);
        let resampling = Resampling { replicates: self.replicates, seed: self.seed };
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        let result = ClassificationResult::of(
            &targets,
            &scores,
            &groups,
            &evaluated.operating_points()?,
            resampling,
            self.split,
        );
        if let Some(folder) = &self.report {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make folder {}", folder.display()))?;
            let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
            let table = report::scores_csv(&ids, &groups, &targets, &scores);
            write_whole(&folder.join("scores.csv"), table.as_bytes())?;
            let page = report::page(&self.checkpoint, &self.data, &result, &targets, &scores);
            write_whole(&folder.join("index.html"), page.as_bytes())?;
        }
        terminal.json(&result)?;
        terminal.say(result.to_string())?;
        Ok(())
    }
}
