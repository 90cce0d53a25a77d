//! `trainer evaluate`: flags to an [`Evaluation`].

use crate::{
    device::DeviceArg,
    evaluate::{Evaluation, What},
    index::{Selection, Split},
    measure::{BATCH, REPLICATES, Settings},
    metrics::bootstrap::Resampling,
    probe::LinearSettings,
    tasks::TaskArg,
    terminal::Terminal,
};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum, builder::PossibleValue};
use std::path::PathBuf;

/// Measures a checkpoint on one split of an index
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    #[arg(long)]
    task: Measurable,
    /// Checkpoint to measure; several, of runs with different seeds, give a mean over them too
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    checkpoint: Vec<PathBuf>,
    /// Index written by `trainer index`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[arg(long, default_value = "test")]
    split: Split,
    #[command(flatten)]
    selection: Selection,
    /// Also write a page with curves and cases (index.html), and every classifier's score (scores.csv)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Also write what was said of each image, one JSON object a line
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Resamples of the patients for the intervals
    #[arg(long, default_value_t = REPLICATES)]
    replicates: usize,
    /// Of the resamples, of the patients `--fraction` takes, and of the noise a checkpoint asks for by name
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = BATCH)]
    batch: usize,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Zero-shot: findings to tell apart without training, `Pneumonia,No Finding`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    classes: Vec<String>,
    /// Zero-shot: findings to score each for itself, by their phrases in a findings.toml
    #[arg(long, value_name = "TOML", conflicts_with = "classes")]
    prompts: Option<PathBuf>,
    /// Linear: findings to probe; default: every one that train and val have both with and without
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    labels: Vec<String>,
    /// Linear: share of the training patients to fit on [default: 1]
    #[arg(long, value_name = "SHARE")]
    fraction: Option<f64>,
    /// Linear: also write every image's embedding and truth, one JSON object a line
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measurable {
    Learnt(TaskArg),
    ZeroShot,
    Retrieval,
    Linear,
}

impl ValueEnum for Measurable {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Measurable; 6] = [
            Measurable::Learnt(TaskArg::Classification),
            Measurable::Learnt(TaskArg::Segmentation),
            Measurable::Learnt(TaskArg::Detection),
            Measurable::ZeroShot,
            Measurable::Retrieval,
            Measurable::Linear,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Learnt(task) => return task.to_possible_value(),
            Self::ZeroShot => ("zero-shot", "A PRIOR checkpoint names findings from prompts alone"),
            Self::Retrieval => ("retrieval", "A PRIOR checkpoint finds the report of an image"),
            Self::Linear => (
                "linear",
                "Any checkpoint's encoder, frozen, under a logistic regression for each finding",
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl EvaluateArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        self.evaluation()?.run(terminal)
    }

    fn evaluation(self) -> Result<Evaluation> {
        ensure!(self.batch > 0 && self.replicates > 0, "--batch and --replicates are at least 1");
        let (linear, zero_shot) = (Measurable::Linear, Measurable::ZeroShot);
        for (flag, given, task) in [
            ("--classes", !self.classes.is_empty(), zero_shot),
            ("--prompts", self.prompts.is_some(), zero_shot),
            ("--labels", !self.labels.is_empty(), linear),
            ("--fraction", self.fraction.is_some(), linear),
            ("--features", self.features.is_some(), linear),
        ] {
            let of = task.to_possible_value().expect("no task is hidden");
            ensure!(!given || self.task == task, "{flag} is for --task {} alone", of.get_name());
        }
        let what = match self.task {
            Measurable::Learnt(task) => What::Learnt(task),
            Measurable::ZeroShot => match self.prompts {
                Some(findings) => What::Prompts { findings },
                None => What::ZeroShot { classes: self.classes },
            },
            Measurable::Retrieval => What::Retrieval,
            Measurable::Linear => {
                let fraction = self.fraction.unwrap_or(1.0);
                ensure!(
                    fraction > 0.0 && fraction <= 1.0,
                    "--fraction is {fraction}, expected a share above 0 up to 1"
                );
                let several = self.checkpoint.len() > 1;
                ensure!(
                    !several || self.features.is_none(),
                    "--features is for one checkpoint, found {}",
                    self.checkpoint.len()
                );
                let (labels, seed, features) = (self.labels, self.seed, self.features);
                What::Linear(LinearSettings { labels, fraction, seed, features })
            }
        };
        let settings = Settings {
            data: self.data,
            split: self.split,
            selection: self.selection,
            report: self.report,
            predictions: self.predictions,
            resampling: Resampling { replicates: self.replicates, seed: self.seed },
            batch: self.batch,
            device: self.device,
        };
        Ok(Evaluation { what, checkpoints: self.checkpoint, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Evaluate {
        #[command(flatten)]
        args: EvaluateArgs,
    }

    fn refusal(task: &str, more: &[&str]) -> String {
        let args = ["evaluate", "--task", task, "--checkpoint", "a", "b", "--data", "i.jsonl"];
        let args = Evaluate::try_parse_from(args.iter().chain(more)).unwrap().args;
        args.evaluation().unwrap_err().to_string()
    }

    #[test]
    fn what_a_task_does_not_heed_is_refused() {
        for (flag, value, of) in [
            ("--classes", "Mass", "zero-shot"),
            ("--prompts", "findings.toml", "zero-shot"),
            ("--labels", "Mass", "linear"),
            ("--fraction", "0.1", "linear"),
            ("--features", "f.jsonl", "linear"),
        ] {
            let error = refusal("classification", &[flag, value]);
            assert_eq!(error, format!("{flag} is for --task {of} alone"));
        }
        let error = refusal("linear", &["--fraction", "0"]);
        assert!(error.contains("--fraction is 0, expected"), "{error}");
        let error = refusal("linear", &["--features", "f.jsonl"]);
        assert_eq!(error, "--features is for one checkpoint, found 2");
        assert!(refusal("detection", &["--batch", "0"]).contains("--batch"));
    }
}
