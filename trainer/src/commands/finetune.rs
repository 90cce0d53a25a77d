//! `trainer finetune`: a run, and its evaluation if asked for.

use crate::{
    evaluate::{Evaluation, What},
    finetune::Finetuning,
    index::Split,
    measure::{BATCH, REPLICATES, Settings},
    metrics::bootstrap::Resampling,
    terminal::Terminal,
};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Trains a head, or everything, for one task
#[derive(Clone, Debug, Args)]
pub struct FinetuneArgs {
    #[command(flatten)]
    finetuning: Finetuning,
    /// Then measure what was learnt on the test split, as `trainer evaluate --report DIR` does
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl FinetuneArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let Self { finetuning, report } = self;
        let what = What::Learnt(finetuning.task);
        let (data, selection) = (finetuning.data.clone(), finetuning.selection.clone());
        let device = finetuning.device;
        let checkpoints = finetuning.run(terminal)?;
        let Some(report) = report else { return Ok(()) };
        let settings = Settings {
            data,
            split: Split::Test,
            selection,
            report: Some(report),
            predictions: None,
            resampling: Resampling { replicates: REPLICATES, seed: 0 },
            batch: BATCH,
            device,
        };
        Evaluation { what, checkpoints, settings }.run(terminal)
    }
}
